"""A set of edges as an edge budget and one priority per edge: free wiring, and edits on top of a family.

One boolean per edge would put nearly every proposal at half of all edges; a budget reaches every number of edges
equally, and priorities are continuous, which samplers learn from.
"""

import functools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from math import comb

from graphs.families.wiring import candidates
from search_space.domain import Domain
from search_space.point import Suggest, Value

Edge = tuple[int, int]
WIRING = "wiring"
EDITS = "edits"
GATES = "gates"


@dataclass(frozen=True, slots=True)
class Encoding:
    """``edges`` is the number of extra edges, ``in_degree`` the most predecessors of a node, chain edge included.

    The budget is always asked with its declared range, so that its distribution is the same at every depth; a
    budget beyond :meth:`capacity` means as many edges as there is room for. ``layer`` is the first part of the names.
    """

    edges: Domain
    in_degree: int | None = None
    layer: str = WIRING

    @property
    def priorities(self) -> str:
        """How the names of priorities are written for people."""
        return f"{self.layer}.priority.I-J"

    def capacity(self, depth: int) -> int:
        """The most extra edges there can be at a depth."""
        return sum(self._room(node) for node in range(2, depth + 2))

    def ask(self, depth: int, suggest: Suggest) -> Iterator[tuple[str, Value]]:
        """The budget, then a priority in [0, 1] for each edge that can be at this depth; an empty edit has none."""
        name = f"{self.layer}.edges"
        budget = self.edges.ask(name, suggest)
        yield name, budget
        if self.layer == EDITS and not budget:
            return
        for _, name in _priorities(depth, self.layer):
            yield name, suggest.real(name, 0.0, 1.0)

    def decode(self, depth: int, values: Mapping[str, Value]) -> tuple[Edge, ...]:
        """The edges of highest priority, ties by position, that fit the budget and ``in_degree``; sorted."""
        budget = int(values[f"{self.layer}.edges"])
        if self.layer == EDITS and not budget:
            return ()
        ranked = sorted((-float(values[name]), edge) for edge, name in _priorities(depth, self.layer))
        room = {node: self._room(node) for node in range(2, depth + 2)}
        taken: list[Edge] = []
        for _, (i, j) in ranked:
            if len(taken) == budget:
                break
            if room[j] > 0:
                taken.append((i, j))
                room[j] -= 1
        return tuple(sorted(taken))

    def encode(self, depth: int, edges: Collection[Edge]) -> dict[str, Value] | None:
        """The answers, priorities 1 and 0, that decode to ``edges``; None where budget or ``in_degree`` forbid it."""
        counts = self.counts(depth)
        into = [j for _, j in edges]
        if len(edges) not in counts or any(into.count(j) > self._room(j) for j in set(into)):
            return None
        values: dict[str, Value] = {f"{self.layer}.edges": counts[len(edges)]}
        if self.layer == EDITS and not edges:
            return values
        return values | {name: float(edge in edges) for edge, name in _priorities(depth, self.layer)}

    def counts(self, depth: int) -> dict[int, int]:
        """How many edges there can be at a depth, each with the least budget that gives so many."""
        capacity = self.capacity(depth)
        found: dict[int, int] = {}
        budgets = self.edges.every() or ()
        for budget in budgets if isinstance(budgets, range) else sorted(map(int, budgets)):
            found.setdefault(min(budget, capacity), budget)
            if budget >= capacity:
                break
        return found

    def sets(self, depth: int) -> int:
        """How many sets of edges there are at a depth."""
        counts = self.counts(depth)
        most = max(counts)
        ways = [1]  # ways[k]: of choosing k edges into the nodes so far
        for node in range(2, depth + 2):
            own = [comb(node - 1, count) for count in range(self._room(node) + 1)]
            new = [0] * (len(ways) + len(own) - 1)
            for a, left in enumerate(ways):
                for b, right in enumerate(own):
                    new[a + b] += left * right
            ways = new[: most + 1]
        return sum(ways[count] for count in counts)

    def every(self, depth: int) -> Iterator[tuple[Edge, ...]]:
        """Each set of edges at a depth once, in a fixed order."""
        counts = self.counts(depth)

        def into(node: int, taken: tuple[Edge, ...]) -> Iterator[tuple[Edge, ...]]:
            if len(taken) > max(counts):
                return
            if node > depth + 1:
                if len(taken) in counts:
                    yield taken
                return
            for count in range(self._room(node) + 1):
                for sources in combinations(range(node - 1), count):
                    yield from into(node + 1, (*taken, *((i, node) for i in sources)))

        return into(2, ())

    def _room(self, node: int) -> int:
        others = node - 1  # all earlier nodes but the one before it, whose edge is always there
        return others if self.in_degree is None else min(others, self.in_degree - 1)


@functools.lru_cache(maxsize=32)
def _priorities(depth: int, layer: str) -> tuple[tuple[Edge, str], ...]:
    """Every edge that can be at a depth, in fixed order, and the name of its priority."""
    return tuple((edge, priority(edge, depth, layer)) for edge in candidates(depth))


def priority(edge: Edge, depth: int, layer: str = WIRING) -> str:
    """The name of an edge's priority; the output is "out", so that a name means the same at every depth."""
    return f"{layer}.priority.{_text(edge, depth)}"


def gate(edge: Edge, depth: int) -> str:
    """The name of the weight of an edge that free wiring or an edit adds."""
    return f"{GATES}.{_text(edge, depth)}"


def _text(edge: Edge, depth: int) -> str:
    i, j = edge
    return f"{i}-{'out' if j == depth + 1 else j}"
