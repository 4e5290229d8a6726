"""What a search looked at of the space it declared: how often each family, parameter and free edge was asked for."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphs.families.wiring import candidates
from nas.ledger import Ask, Ledger
from search_space.domain import Domain, FloatRange, IntRange
from search_space.family import Family
from search_space.point import Value
from search_space.space import Space

MOST_VALUES = 12  # of whole numbers that are listed one by one; a longer range is in bins
BINS = 4


@dataclass(frozen=True, slots=True)
class Marginal:
    """One value, or range of values, of one parameter.

    ``declared`` is its share of uniform draws from the points that have the parameter. ``asked`` of ``asks`` proposals
    that have it fell there, baselines left out, and ``trained`` trials, baselines included.
    """

    parameter: str
    value: str
    declared: float
    asked: int
    asks: int
    trained: int


@dataclass(frozen=True, slots=True)
class EdgeCount:
    """A free edge at a depth: asked for in ``asked`` of the ``asks`` proposals that could have had it."""

    layer: str
    depth: int
    edge: str
    asked: int
    asks: int
    trained: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """``edges`` has every free edge at each depth that was asked for; ``depths`` with free edges were declared."""

    asks: int
    marginals: tuple[Marginal, ...]
    edges: tuple[EdgeCount, ...]

    @property
    def missed(self) -> tuple[Marginal, ...]:
        """What the space declares and nobody trained."""
        return tuple(one for one in self.marginals if not one.trained)

    @property
    def missed_edges(self) -> tuple[EdgeCount, ...]:
        return tuple(one for one in self.edges if not one.trained)

    def to_dict(self) -> dict[str, Any]:
        def plain(one: Any) -> dict[str, Any]:
            return {name: getattr(one, name) for name in one.__slots__}

        return {
            "asks": self.asks,
            "marginals": [plain(one) for one in self.marginals],
            "edges": [plain(one) for one in self.edges],
        }


def coverage(space: Space, ledger: Ledger) -> Coverage:
    """Count the proposals of a log against its space. Rejected and repeated ones are proposals too."""
    names = [family.name for family in space.families]
    # What came from outside the space covers none of it.
    inside = [ask for ask in ledger.asks if ask.source == "baseline" or ask.point.family in names]
    asked = [ask for ask in inside if ask.source != "baseline"]
    trained = [ask for ask in inside if ask.verdict == "job"]
    marginals = list(_counted("family", [(name, name) for name in names], 1 / len(names), asked, trained))
    marginals += _parameter("depth", space.depth, asked, trained)
    for family in space.families:
        for name, domain in family.domains:
            marginals += _parameter(f"{family.name}.{name}", domain, asked, trained)
        if family.edges is not None and family.encoding is not None:
            marginals += _parameter(f"{family.edges.layer}.edges", family.edges.edges, asked, trained)
    if space.edits is not None:
        marginals += _parameter(f"{space.edits.layer}.edges", space.edits.edges, asked, trained)
    return Coverage(len(asked), tuple(marginals), tuple(_edges(space, asked, trained)))


def _values(asks: Sequence[Ask], name: str) -> list[Value]:
    found = (ask.point.to_dict() for ask in asks)
    return [point[name] for point in found if name in point]


def _counted(
    name: str, values: Sequence[tuple[str, Value]], share: float, asked: Sequence[Ask], trained: Sequence[Ask]
) -> Iterator[Marginal]:
    ours, theirs = _values(asked, name), Counter(_values(trained, name))
    counts = Counter(ours)
    for text, value in values:
        yield Marginal(name, text, share, counts[value], len(ours), theirs[value])


def _parameter(name: str, domain: Domain, asked: Sequence[Ask], trained: Sequence[Ask]) -> Iterator[Marginal]:
    """The rows of one parameter; none of a fixed one, which has nothing to cover."""
    every = domain.every()
    if every is not None and len(every) == 1:
        return
    logarithmic = isinstance(domain, IntRange | FloatRange) and domain.log
    if every is not None and len(every) <= MOST_VALUES and not logarithmic:
        yield from _counted(name, [(str(value), value) for value in every], 1 / len(every), asked, trained)
        return
    ends = [float(end) for end in domain.extremes()]
    low, high = min(ends), max(ends)
    ours, theirs = (
        Counter(_bin(float(one), low, high, logarithmic) for one in _values(asks, name)) for asks in (asked, trained)
    )
    for place in range(BINS):
        left, right = (_edge(part / BINS, low, high, logarithmic) for part in (place, place + 1))
        yield Marginal(name, f"{left:.4g} .. {right:.4g}", 1 / BINS, ours[place], ours.total(), theirs[place])


def _bin(value: float, low: float, high: float, logarithmic: bool) -> int:
    if logarithmic:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return min(BINS - 1, int(BINS * (value - low) / (high - low)))


def _edge(part: float, low: float, high: float, logarithmic: bool) -> float:
    return low * (high / low) ** part if logarithmic else low + part * (high - low)


def _edges(space: Space, asked: Sequence[Ask], trained: Sequence[Ask]) -> Iterator[EdgeCount]:
    families = {family.name: family for family in space.families if family.edges is not None}
    layers = dict.fromkeys(family.edges.layer for family in families.values() if family.edges is not None)
    for layer in layers:
        ours, theirs = (_edge_counts(families, layer, asks) for asks in (asked, trained))
        for depth in sorted(ours.keys() | theirs.keys()):
            found, of = ours.get(depth, (Counter(), 0))
            done, _ = theirs.get(depth, (Counter(), 0))
            for i, j in candidates(depth):
                text = f"{i}-{'out' if j == depth + 1 else j}"
                yield EdgeCount(layer, depth, text, found[i, j], of, done[i, j])


def _edge_counts(
    families: Mapping[str, Family], layer: str, asks: Sequence[Ask]
) -> dict[int, tuple[Counter[tuple[int, int]], int]]:
    """By depth: how often each edge was there, and how many points could have had it."""
    found: dict[int, tuple[Counter[tuple[int, int]], int]] = {}
    for ask in asks:
        family = families.get(ask.point.family)
        if family is None or family.edges is None or family.edges.layer != layer:
            continue
        counts, points = found.get(ask.point.depth, (Counter(), 0))
        counts.update(family.edges_of(ask.point))
        found[ask.point.depth] = counts, points + 1
    return found
