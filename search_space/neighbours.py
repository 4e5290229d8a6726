"""One step away: what local search and evolution try next to a point."""

import math
import random
from collections.abc import Iterator

from graphs.errors import UserError
from search_space.domain import Domain, FloatRange, IntRange
from search_space.enumeration import with_edges
from search_space.family import Family
from search_space.point import Point, RandomSuggest, Value
from search_space.space import Space
from search_space.wiring import GATES, Edge, Encoding

SPREAD = 0.15  # the standard deviation of a step in a continuous range, as a share of the range
EDGE_SHARE = 0.5  # of the moves, while there are both edits of edges and others

Move = tuple[Family, int, dict[str, Value], tuple[Edge, ...]]  # family, depth, all values, free edges


def neighbours(space: Space, point: Point, rng: random.Random) -> Iterator[Point]:
    """Points of the space one step from ``point``, each once and in random order.

    A step adds, takes away or moves one free edge; or it moves a parameter or a gate to a next value (a continuous
    one by a normal step), the depth to the next one (edges that do not fit are dropped), or goes to another family at
    its published values. Every second step is one of edges while there are any left.
    """
    own = next((family for family in space.families if family.name == point.family), None)
    edits = [] if own is None else _edits(own, point)
    others = [*_families(space, point, rng)]
    if own is not None:
        others += [*_parameters(own, point, rng), *_depths(space, own, point)]
    rng.shuffle(edits)
    rng.shuffle(others)
    while edits or others:
        first = edits and (not others or rng.random() < EDGE_SHARE)
        family, depth, values, edges = (edits if first else others).pop()
        found = _point(family, depth, values, edges)
        if found is not None and found != point:
            yield found


def _point(family: Family, depth: int, values: dict[str, Value], edges: tuple[Edge, ...]) -> Point | None:
    gates = {name: value for name, value in values.items() if name.startswith(f"{GATES}.")}
    own = {f"{family.name}.{name}": values[f"{family.name}.{name}"] for name, _ in family.domains}
    try:
        return with_edges(family, depth, own, edges, gates)
    except UserError:  # a value that this space does not have
        return None


def _edits(family: Family, point: Point) -> list[Move]:
    if family.edges is None:
        return []
    values, edges = point.to_dict(), family.edges_of(point)
    missing = [edge for edge in _every(family.edges, point.depth) if edge not in edges]
    sets = [tuple(sorted({*edges, new})) for new in missing]
    for old in edges:
        rest = [edge for edge in edges if edge != old]
        sets.append(tuple(rest))
        sets += [tuple(sorted((*rest, new))) for new in missing if new[0] == old[0] or new[1] == old[1]]
    return [(family, point.depth, values, found) for found in sets]


def _every(encoding: Encoding, depth: int) -> list[Edge]:
    return [(i, j) for j in range(2, depth + 2) for i in range(j - 1)]


def _parameters(family: Family, point: Point, rng: random.Random) -> Iterator[Move]:
    values, edges = point.to_dict(), family.edges_of(point)
    known = {f"{family.name}.{name}": domain for name, domain in family.domains}
    if isinstance(family.gates, FloatRange):
        known |= {name: family.gates for name in values if name.startswith(f"{GATES}.")}
    for name, domain in known.items():
        for value in _next(domain, values[name], rng):
            yield family, point.depth, values | {name: value}, edges


def _depths(space: Space, family: Family, point: Point) -> Iterator[Move]:
    values, edges = point.to_dict(), family.edges_of(point)
    for value in _next(space.depth, point.depth, random.Random(0)):
        depth = int(value)
        moved = {(i, depth + 1 if j == point.depth + 1 else j) for i, j in edges}
        yield family, depth, values, tuple(sorted((i, j) for i, j in moved if i + 2 <= j <= depth + 1))


def _families(space: Space, point: Point, rng: random.Random) -> Iterator[Move]:
    for family in space.families:
        if family.name != point.family:
            if family.encoding is not None:
                start = family.point(point.depth, RandomSuggest(rng))
            else:
                start = family.baseline(point.depth, space.sublayers)
            yield family, point.depth, start.to_dict(), family.edges_of(start)


def _next(domain: Domain, value: Value, rng: random.Random) -> list[Value]:
    """The values next to one: both neighbours of a number, every other one where there is no order."""
    if isinstance(domain, FloatRange):
        low, high = (math.log(domain.low), math.log(domain.high)) if domain.log else (domain.low, domain.high)
        here = math.log(float(value)) if domain.log else float(value)
        moved = rng.gauss(here, SPREAD * (high - low))
        return [min(max(math.exp(moved) if domain.log else moved, domain.low), domain.high)]
    if isinstance(domain, IntRange):
        return [moved for moved in (int(value) - domain.step, int(value) + domain.step) if moved in domain.every()]
    options = list(domain.every())
    if any(isinstance(option, bool | str) for option in options):
        return [option for option in options if option != value]
    options.sort(key=float)
    place = options.index(value)
    return options[max(place - 1, 0) : place] + options[place + 1 : place + 2]
