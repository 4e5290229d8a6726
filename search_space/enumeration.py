"""Every point of a space that can be counted, each once. Free edges are counted as sets, not as priorities."""

from collections.abc import Iterator
from itertools import product
from math import prod

from search_space.family import Family
from search_space.point import Answers, Point, Value
from search_space.space import Space
from search_space.wiring import Edge, gate


def continuous(space: Space) -> str | None:
    """The first parameter whose values cannot be counted, or None."""
    for family in space.families:
        for name, known in family.domains:
            if known.count() is None:
                return f"{family.name}.{name}"
    if space.gates is not None and space.gates.count() is None:
        return "gates"
    return None


def count(space: Space) -> int | None:
    """The number of points; None where a parameter is continuous. Some may be one topology, or illegal."""
    if continuous(space) is not None:
        return None
    return sum(
        prod(known.count() or 1 for _, known in family.domains)
        * (1 if family.edges is None else family.edges.sets(int(depth)))
        for family in space.families
        for depth in space.depth.every() or ()
    )


def points(space: Space) -> Iterator[Point]:
    """Every point of a space for which :func:`count` is a number, families and depths in the file's order."""
    for family in space.families:
        for depth in space.depth.every() or ():
            yield from _of_family(family, int(depth))


def _of_family(family: Family, depth: int) -> Iterator[Point]:
    names = [f"{family.name}.{name}" for name, _ in family.domains]
    for values in product(*(known.every() or () for _, known in family.domains)):
        fixed = dict(zip(names, values, strict=True))
        for edges in ((),) if family.edges is None else family.edges.every(depth):
            found = with_edges(family, depth, fixed, edges)
            assert found is not None, "every() gives what encode() takes"
            yield found


def with_edges(
    family: Family, depth: int, values: dict[str, Value], edges: tuple[Edge, ...], gates: dict[str, Value] | None = None
) -> Point | None:
    """The point with these parameters and free edges; None where there may not be so many. New gates start near 1."""
    answers = dict(values)
    if family.edges is not None:
        encoded = family.edges.encode(depth, edges)
        if encoded is None:
            return None
        answers |= encoded
    if family.gates is not None:
        for edge in edges:
            name = gate(edge, depth)
            answers[name] = (gates or {}).get(name, family.gates.nearest(1.0))
    return family.point(depth, Answers(answers))
