"""Free wiring as an edge budget and one priority per edge.

One boolean per edge would put nearly every proposal at half of all edges; a budget reaches every number of edges
equally, and priorities are continuous, which samplers learn from.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from graphs.families.wiring import candidates
from search_space.domain import Domain
from search_space.point import Suggest, Value

Edge = tuple[int, int]
PRIORITIES = "wiring.priority.I-J"


@dataclass(frozen=True, slots=True)
class Encoding:
    """``edges`` is the number of extra edges, ``in_degree`` the most predecessors of a node, chain edge included.

    The budget is always asked with its declared range, so that its distribution is the same at every depth; a
    budget beyond :meth:`capacity` means as many edges as there is room for.
    """

    edges: Domain
    in_degree: int | None = None

    def capacity(self, depth: int) -> int:
        """The most extra edges there can be at a depth."""
        return sum(self._room(node) for node in range(2, depth + 2))

    def ask(self, depth: int, suggest: Suggest) -> Iterator[tuple[str, Value]]:
        """The budget, then a priority in [0, 1] for each edge that can be at this depth."""
        yield "wiring.edges", self.edges.ask("wiring.edges", suggest)
        for edge in candidates(depth):
            name = priority(edge, depth)
            yield name, suggest.real(name, 0.0, 1.0)

    def decode(self, depth: int, values: Mapping[str, Value]) -> tuple[Edge, ...]:
        """The edges of highest priority, ties by position, that fit the budget and ``in_degree``; sorted."""
        ranked = sorted(candidates(depth), key=lambda edge: (-float(values[priority(edge, depth)]), edge))
        room = {node: self._room(node) for node in range(2, depth + 2)}
        budget = int(values["wiring.edges"])
        taken: list[Edge] = []
        for i, j in ranked:
            if len(taken) < budget and room[j] > 0:
                taken.append((i, j))
                room[j] -= 1
        return tuple(sorted(taken))

    def _room(self, node: int) -> int:
        others = node - 1  # all earlier nodes but the one before it, whose edge is always there
        return others if self.in_degree is None else min(others, self.in_degree - 1)


def priority(edge: Edge, depth: int) -> str:
    """The name of an edge's priority; the output is "out", so that a name means the same at every depth."""
    i, j = edge
    return f"wiring.priority.{i}-{'out' if j == depth + 1 else j}"
