"""A search space: depth, families and their parameters, as declared in a YAML file."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from math import prod
from typing import Any

from pydantic import Field

from graphs.errors import UserError
from graphs.topology import Topology
from search_space import domain
from search_space.document import Document
from search_space.domain import Choice, Domain, Fixed, FloatRange, IntRange
from search_space.errors import Key, unknown
from search_space.family import Family
from search_space.point import Answers, RandomSuggest, Suggest, Value
from search_space.point import Point as Point
from search_space.schema import Strict, parse
from search_space.wiring import EDITS, GATES, WIRING, Encoding

MAX_DEPTH = 1000
RESIDUAL = "residual"


class _Form(Strict):
    depth: Any = Field(examples=["{low: 4, high: 8}"])
    families: dict[str, Any] = Field(examples=["{residual: {}}"], min_length=1)
    edits: Any = Field(default=None, examples=["{edges: 2}"])
    gates: Any = Field(default=None, examples=["{low: 0.25, high: 2.0, log: true}"])


class _Edits(Strict):
    edges: int = Field(ge=1, le=domain.LARGEST, examples=[2])


@dataclass(frozen=True, slots=True)
class Row:
    """One line of :meth:`Space.describe`; ``condition`` is empty where the parameter is always there."""

    name: str
    kind: str  # fixed, choice, int or float
    domain: str
    condition: str


@dataclass(frozen=True, slots=True)
class Space:
    """The topologies that a file describes. Families keep the file's order, parameters that of the signature.

    ``sublayers`` of the blocks that are wired make one block of the papers. ``edits`` is the encoding of the edges
    that may be switched on top of any family but wiring, ``gates`` what the weight of a free edge may be.
    """

    depth: Domain
    families: tuple[Family, ...]
    sublayers: int = 1
    edits: Encoding | None = None
    gates: FloatRange | Fixed | None = None

    @classmethod
    def parse(cls, document: Document, at: Key = ("space",), *, sublayers: int = 1) -> "Space":
        """The space at a key path of a document; SpaceError for the first thing that is wrong.

        Family names, parameters, their types and defaults come from the functions in ``graphs.families``, and the
        published ``period`` is ``sublayers``; the least and greatest value of each parameter is tried on the family
        itself.
        """
        parse(_Form, document, at)
        here = (*at, "depth")
        depth = domain.read(int, document, here)
        domain.at_least(1, depth, document, here)
        if max(_depths(depth)) > MAX_DEPTH:
            raise document.error(here, f"{depth} is too deep; at most {MAX_DEPTH}")
        names = document.get((*at, "families"))
        families = [Family.read(document, (*at, "families", name), depth, sublayers) for name in names]
        edits, gates = _edits(document, at, families), _gates(document, at)
        families = [replace(one, edits=edits if one.encoding is None else None, gates=gates) for one in families]
        if gates is not None and all(one.edges is None for one in families):
            raise document.error((*at, GATES), "no edge to weigh; declare edits or the family wiring beside it")
        return cls(depth, tuple(families), sublayers, edits, gates)

    def ask(self, suggest: Suggest) -> Point:
        """One point. The questions: "family" if there are several, "depth", then the chosen family's parameters.

        Parameters are named "hyper.streams"; fixed ones are in the point without being asked. Wiring asks
        "wiring.edges" and, for each edge that can be at that depth, "wiring.priority.I-J" in [0, 1]; every other family
        asks the same of "edits" if the space has them. Then come "gates.I-J" of the edges that were chosen.
        """
        names = [family.name for family in self.families]
        name = suggest.choice("family", names) if len(names) > 1 else names[0]
        family = self.families[names.index(str(name))]
        return family.point(self._ask_depth(suggest), suggest)

    def topology(self, point: Point) -> Topology:
        """The topology of a point of this space or of one of its baselines; UserError if it is neither."""
        family = self._family(point.family)
        given = point.to_dict()
        answers = Answers(given)
        legal = family.point(self._ask_depth(answers), answers).to_dict()
        if legal != given:
            raise _difference(given, legal)
        return family.build(point)

    def baselines(self) -> tuple[Point, ...]:
        """The deepest point of each known design, the residual network always first; see :meth:`designs`."""
        return tuple(points[0] for points in self.designs())

    def designs(self) -> tuple[tuple[Point, ...], ...]:
        """The declared families at their published defaults, residual always first: each at its depths, deepest first.

        A default that is not declared is replaced by the nearest declared value. A family whose site is several
        blocks takes the depths that hold whole sites, if there are any. Wiring is no published design.
        """
        known = [family for family in self.families if family.name not in (RESIDUAL, WIRING)]
        every = _every_depth(self.depth)
        return tuple(
            tuple(family.baseline(depth, self.sublayers) for depth in family.baseline_depths(every, self.sublayers))
            for family in (self._family(RESIDUAL), *known)
        )

    def residual(self, depth: int) -> Point:
        """The residual network of a depth of this space."""
        return self._family(RESIDUAL).baseline(depth)

    def example(self, name: str, rng: random.Random) -> Point:
        """A point of one declared family, drawn as :meth:`random` draws."""
        suggest = RandomSuggest(rng)
        return self._family(name).point(self._ask_depth(suggest), suggest)

    def random(self, rng: random.Random) -> Point:
        """A point of uniformly drawn values; wirings are uniform over the edge budget, not over graphs."""
        return self.ask(RandomSuggest(rng))

    def corners(self, limit: int = 256) -> Iterator[Point]:
        """At most ``limit`` points at the ends of the space, each family's least ones first, families in turn.

        If none of them meets a limit on cost, it is likely that no point does.
        """
        depths = tuple(dict.fromkeys(_depths(self.depth)))
        turns = zip_longest(*(family.corners(depths) for family in self.families))
        return islice((point for turn in turns for point in turn if point is not None), limit)

    def describe(self) -> tuple[Row, ...]:
        """What is asked, in order, for people."""
        names = [family.name for family in self.families]
        rows = [Row("family", "choice" if len(names) > 1 else "fixed", " | ".join(names), "")]
        rows.append(Row("depth", self.depth.kind, str(self.depth), ""))
        for family in self.families:
            condition = f"family = {family.name}" if len(names) > 1 else ""
            for name, known in family.domains:
                rows.append(Row(f"{family.name}.{name}", known.kind, str(known), condition))
            if family.encoding is not None:
                rows += _rows(family.encoding, condition)
        others = " | ".join(family.name for family in self.families if family.encoding is None)
        if self.edits is not None:
            rows += _rows(self.edits, f"family = {others}" if len(self.families) > 1 else "")
        if self.gates is not None:
            rows.append(Row(f"{GATES}.I-J", self.gates.kind, str(self.gates), "for each free edge that is there"))
        return tuple(rows)

    def size(self) -> int | None:
        """The number of points, or None if a parameter is continuous (an edge's priority is)."""
        counts = [known.count() for family in self.families for _, known in family.domains]
        if None in counts or any(family.edges is not None for family in self.families):
            return None
        per_family = (prod(known.count() or 1 for _, known in family.domains) for family in self.families)
        return (self.depth.count() or 1) * sum(per_family)

    def to_dict(self) -> dict[str, Any]:
        """The space as in a YAML file with every default filled in; it parses to an equal space."""
        layers: dict[str, Any] = {
            "depth": self.depth.plain(),
            "families": {family.name: family.plain() for family in self.families},
        }
        if self.edits is not None:
            layers[EDITS] = {"edges": self.edits.edges.extremes()[-1]}
        if self.gates is not None:
            layers[GATES] = _ends(self.gates)
        return layers

    def _ask_depth(self, suggest: Suggest) -> int:
        return int(self.depth.ask("depth", suggest))

    def _family(self, name: str) -> Family:
        """A declared family, or the residual network, which is always in the race."""
        for family in self.families:
            if family.name == name:
                return family
        if name == RESIDUAL:
            return Family.published(RESIDUAL)
        raise UserError(f"point: {unknown('family', name, [family.name for family in self.families])}")


def _edits(document: Document, at: Key, families: list[Family]) -> Encoding | None:
    here = (*at, EDITS)
    if document.get(at).get(EDITS) is None:
        return None
    if all(family.encoding is not None for family in families):
        raise document.error(here, "nothing to edit: the edges of wiring are free already; declare another family")
    return Encoding(IntRange(low=0, high=parse(_Edits, document, here).edges), layer=EDITS)


def _gates(document: Document, at: Key) -> FloatRange | Fixed | None:
    here = (*at, GATES)
    if document.get(at).get(GATES) is None:
        return None
    span = parse(FloatRange, document, here)
    return Fixed(span.low) if span.low == span.high else span


def _ends(gates: FloatRange | Fixed) -> object:
    return {"low": gates.value, "high": gates.value} if isinstance(gates, Fixed) else gates.plain()


def _rows(edges: Encoding, condition: str) -> list[Row]:
    name = f"{edges.layer}.edges"
    return [
        Row(name, edges.edges.kind, str(edges.edges), condition),
        Row(edges.priorities, "float", "[0, 1] for each optional edge", condition),
    ]


def _every_depth(depth: Domain) -> list[int]:
    if isinstance(depth, IntRange):
        return list(range(depth.low, depth.high + 1, depth.step))
    return [int(one) for one in (depth.options if isinstance(depth, Choice) else depth.extremes())]


def _depths(depth: Domain) -> tuple[int, ...]:
    return tuple(int(extreme) for extreme in depth.extremes())


def _difference(given: Mapping[str, Value], legal: Mapping[str, Value]) -> UserError:
    """The first thing that keeps a point from being one of its family."""
    for name, value in legal.items():
        if name not in given:
            return UserError(f"point: {name} is missing")
        if given[name] != value:
            return UserError(f"point: {name} is {given[name]!r}; this space fixes it at {value!r}")
    name = next(name for name in given if name not in legal)
    return UserError(f"point: {unknown('name', name, legal)}")
