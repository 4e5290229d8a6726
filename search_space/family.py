"""One family of a space: what its parameters may be, checked against the family's own signature."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, get_origin

from graphs.edits import edited
from graphs.errors import TopologyError
from graphs.families import FAMILIES
from graphs.topology import Topology
from search_space import domain
from search_space.document import Document
from search_space.domain import Domain, Fixed, FloatRange
from search_space.errors import Key, unknown
from search_space.point import Answers, Point, Suggest, Value
from search_space.schema import shown, value
from search_space.wiring import EDITS, WIRING, Edge, Encoding, gate

PERIOD = "period"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a family's function that a YAML file can give; ``default`` is None if there is none."""

    name: str
    annotation: Any
    default: Value | None


@dataclass(frozen=True, slots=True)
class Family:
    """A family with the domain of each of its parameters, in the order of its signature.

    Those that the file leaves out are fixed at their published defaults. ``encoding`` is wiring's alone, ``edits``
    that of every other family where the space has that layer; ``gates`` is what the weight of such an edge may be.
    """

    name: str
    domains: tuple[tuple[str, Domain], ...] = ()
    encoding: Encoding | None = None
    edits: Encoding | None = None
    gates: FloatRange | Fixed | None = None

    @classmethod
    def published(cls, name: str) -> "Family":
        """The family at its published defaults."""
        known = parameters(FAMILIES[name])
        return cls(name, tuple((one.name, Fixed(one.default)) for one in known if one.default is not None))

    @classmethod
    def read(cls, document: Document, at: Key, depth: Domain, sublayers: int = 1) -> "Family":
        """The family at a key path ending in its name; SpaceError on a parameter that it has not or cannot take."""
        name = str(at[-1])
        if name not in FAMILIES:
            raise document.error(at, unknown("family", name, FAMILIES))
        data = document.get(at)
        if not isinstance(data, dict):
            problem = (
                f"{'empty' if data is None else shown(data)}; must be a mapping of parameters: write {{}} for none"
            )
            raise document.error(at, problem)
        known = {parameter.name: parameter for parameter in parameters(FAMILIES[name], sublayers)}
        encoded = ("edges", "in_degree") if name == WIRING else ()
        for key in data:
            if key not in known and key not in encoded:
                raise document.error((*at, key), unknown(f"parameter of {name}", key, [*encoded, *known]))
        family = cls(
            name,
            tuple((key, _domain(parameter, document, at)) for key, parameter in known.items()),
            _encoding(document, at, depth) if encoded else None,
        )
        family._try(document, at, depth)
        return family

    def ask(self, depth: int, suggest: Suggest) -> Iterator[tuple[str, Value]]:
        """The family's own values of a point, each named "FAMILY.PARAMETER"."""
        for name, known in self.domains:
            full = f"{self.name}.{name}"
            yield full, known.ask(full, suggest)
        if self.edges is None:
            return
        answers = dict(self.edges.ask(depth, suggest))
        yield from answers.items()
        if self.gates is not None:
            for edge in self.edges.decode(depth, answers):
                yield gate(edge, depth), self.gates.ask(gate(edge, depth), suggest)

    @property
    def edges(self) -> Encoding | None:
        """How the family's free edges are encoded: those of wiring, or the edits; None where it has neither."""
        return self.edits if self.encoding is None else self.encoding

    def edges_of(self, point: Point) -> tuple[Edge, ...]:
        """The free edges of a point of this family."""
        return () if self.edges is None else self.edges.decode(point.depth, point.to_dict())

    def point(self, depth: int, suggest: Suggest) -> Point:
        """A point of this family at a depth."""
        return Point((("family", self.name), ("depth", depth), *self.ask(depth, suggest)))

    def build(self, point: Point) -> Topology:
        """The topology of a point of this family, whose values must be in their domains."""
        values = point.to_dict()
        arguments: dict[str, Any] = {name: values[f"{self.name}.{name}"] for name, _ in self.domains}
        edges = self.edges_of(point)
        weights = {edge: float(values.get(gate(edge, point.depth), 1)) for edge in edges}
        if self.encoding is None:
            return edited(FAMILIES[self.name](point.depth, **arguments), weights)
        gated = {} if self.gates is None else {"weights": weights}
        return FAMILIES[self.name](point.depth, edges=edges, **gated, **arguments)

    def baseline(self, depth: int, sublayers: int = 1) -> Point:
        """The point of published defaults, each replaced by the nearest declared value if it is not declared."""
        nearest = {f"{self.name}.{name}": value for name, value in self._published(sublayers).items()}
        return self.point(depth, Answers(nearest | {f"{EDITS}.edges": 0}))

    def baseline_depths(self, depths: Iterable[int], sublayers: int = 1) -> list[int]:
        """Those of ``depths`` that hold whole published blocks, or all where none does; deepest first."""
        period = int(self._published(sublayers).get(PERIOD, 1))
        deepest = sorted(depths, reverse=True)
        return [depth for depth in deepest if depth % period == 0] or deepest

    def _published(self, sublayers: int) -> dict[str, Value]:
        defaults = {parameter.name: parameter.default for parameter in parameters(FAMILIES[self.name], sublayers)}
        nearest: dict[str, Value] = {}
        for name, declared in self.domains:
            default = defaults[name]
            nearest[name] = declared.extremes()[0] if default is None else declared.nearest(default)
        return nearest

    def corners(self, depths: tuple[int, ...]) -> Iterator[Point]:
        """Every combination of the extremes of depth and parameters, all lowest first; priorities are 0."""
        spans = [(f"{self.name}.{name}", known.extremes()) for name, known in self.domains]
        if self.edges is not None:
            spans.append((f"{self.edges.layer}.edges", self.edges.edges.extremes()))
        names = [name for name, _ in spans]
        for depth, *values in product(depths, *(extremes for _, extremes in spans)):
            yield self.point(int(depth), Answers(dict(zip(names, values, strict=True)), otherwise=0.0))

    def plain(self) -> dict[str, object]:
        """The family as in a YAML file, nothing left out."""
        data: dict[str, object] = {name: known.plain() for name, known in self.domains}
        if self.encoding is not None:
            data["edges"] = self.encoding.edges.plain()
            if self.encoding.in_degree is not None:
                data["in_degree"] = self.encoding.in_degree
        return data

    def _try(self, document: Document, at: Key, depth: Domain) -> None:
        """SpaceError at a parameter if one of its extremes is illegal at both the least and the greatest depth."""
        depths = tuple(int(extreme) for extreme in depth.extremes())
        data = document.get(at)
        # Others stay at their defaults, so that it is this parameter that is to blame.
        defaults = {parameter.name: parameter.default for parameter in parameters(FAMILIES[self.name])}
        needed = {name: known.extremes()[0] for name, known in self.domains if defaults[name] is None}
        for name, known in self.domains:
            for extreme in known.extremes():
                problem = _refusal(self.name, depths, needed | {name: extreme})
                if problem is not None:
                    below = domain.where(extreme, data[name]) if name in data else ()
                    raise document.error((*at, name, *below), problem)


def parameters(family: Callable[..., Topology], sublayers: int = 1) -> tuple[Parameter, ...]:
    """The parameters of a family after depth whose annotation a YAML file can serve: numbers, truth values, names.

    ``sublayers`` of the backbone's blocks make one published block: where the family takes it, its ``period``.
    """
    annotations = inspect.get_annotations(family, eval_str=True)
    found = []
    for name, parameter in list(inspect.signature(family).parameters.items())[1:]:
        annotation: Any = annotations[name]
        if annotation in (bool, int, float) or get_origin(annotation) == Literal:
            default = None if parameter.default is parameter.empty else parameter.default
            default = sublayers if name == PERIOD else default
            found.append(Parameter(name, annotation, default))
    return tuple(found)


def _domain(parameter: Parameter, document: Document, at: Key) -> Domain:
    here = (*at, parameter.name)
    if parameter.name in document.get(at):
        return domain.read(parameter.annotation, document, here)
    if parameter.default is None:
        raise document.error(here, "missing; it has no default")
    return Fixed(parameter.default)


def _encoding(document: Document, at: Key, depth: Domain) -> Encoding:
    data = document.get(at)
    here = (*at, "edges")
    if "edges" not in data:
        raise document.error(here, "missing; how many extra edges, for example 'edges: {low: 2, high: 12}'")
    edges = domain.read(int, document, here)
    domain.at_least(0, edges, document, here)
    in_degree = None
    if "in_degree" in data:
        in_degree = value(int, document, (*at, "in_degree"))
        domain.at_least(1, Fixed(in_degree), document, (*at, "in_degree"))
    encoding = Encoding(edges, in_degree)
    deepest = max(int(extreme) for extreme in depth.extremes())
    fewest = min(int(extreme) for extreme in edges.extremes())
    if fewest > encoding.capacity(deepest):
        within = "" if in_degree is None else f" and in_degree {in_degree}"
        problem = (
            f"at least {fewest} extra edges, but depth {deepest}{within} has room for {encoding.capacity(deepest)}"
        )
        raise document.error((*here, *domain.where(fewest, data["edges"])), f"{problem}; ask for fewer")
    return encoding


def _refusal(name: str, depths: tuple[int, ...], arguments: dict[str, Any]) -> str | None:
    """Why a family takes these arguments at none of the depths; None if it takes them at one."""
    problem = None
    for depth in depths:
        try:
            FAMILIES[name](depth, **arguments)
        except TopologyError as error:
            problem = problem or str(error)
        else:
            return None
    return problem
