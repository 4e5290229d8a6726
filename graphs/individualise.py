"""Canonical labelling of a coloured, edge-labelled directed graph: refine both ways, then individualise ties."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

Edge = tuple[int, int, str]
Colours = list[bytes]


def canonical_text(colours: Sequence[str], edges: Sequence[Edge]) -> str:
    """A text that is equal for two graphs exactly when a bijection keeps colours, edges and labels.

    Colour refinement decides almost every program, since blocks carry their numbers. What stays tied is
    searched: each member of the first tied cell is set apart in turn and the least text wins; automorphisms
    found on the way (two leaves with one text) prune the search.
    """
    graph = _Graph(colours, edges)
    return graph.search()


def _hash(*parts: bytes) -> bytes:
    return hashlib.blake2b(b"\0".join(parts), digest_size=16).digest()


class _Graph:
    def __init__(self, colours: Sequence[str], edges: Sequence[Edge]) -> None:
        self.names = list(colours)
        self.edges = list(edges)
        self.neighbours: list[list[tuple[bytes, int]]] = [[] for _ in colours]
        for start, end, label in edges:
            self.neighbours[start].append((b">" + label.encode(), end))
            self.neighbours[end].append((b"<" + label.encode(), start))
        self.best: str | None = None
        self.leaves: dict[str, list[int]] = {}
        self.automorphisms: list[list[int]] = []

    def refine(self, colours: Colours) -> Colours:
        """Repeat until no class splits: a node's colour takes in its neighbours' colours and edge labels."""
        classes = len(set(colours))
        while classes < len(colours):
            colours = [
                _hash(colours[node], *sorted(_hash(label, colours[other]) for label, other in around))
                for node, around in enumerate(self.neighbours)
            ]
            split = len(set(colours))
            if split == classes:
                break
            classes = split
        return colours

    def search(self) -> str:
        self._visit(self.refine([_hash(name.encode()) for name in self.names]), [])
        assert self.best is not None
        return self.best

    def _visit(self, colours: Colours, fixed: list[int]) -> None:
        cells: dict[bytes, list[int]] = defaultdict(list)
        for node, colour in enumerate(colours):
            cells[colour].append(node)
        tied = sorted((len(cell), colour) for colour, cell in cells.items() if len(cell) > 1)
        if not tied:
            self._leaf(colours)
            return
        tried: list[int] = []
        for node in cells[tied[0][1]]:
            if tried and self._equivalent(node, tried, fixed):
                continue
            tried.append(node)
            apart = list(colours)
            apart[node] = _hash(colours[node], b"set apart")
            self._visit(self.refine(apart), [*fixed, node])

    def _leaf(self, colours: Colours) -> None:
        order = sorted(range(len(colours)), key=lambda node: colours[node])
        place = {node: i for i, node in enumerate(order)}
        lines = [self.names[node] for node in order]
        lines += [
            f"{a} {b} {label}" for a, b, label in sorted((place[s], place[e], label) for s, e, label in self.edges)
        ]
        text = "\n".join(lines)
        if text in self.leaves:
            image = [0] * len(order)
            for node, other in zip(order, self.leaves[text], strict=True):
                image[node] = other
            self.automorphisms.append(image)
        else:
            self.leaves[text] = order
        if self.best is None or text < self.best:
            self.best = text

    def _equivalent(self, node: int, tried: list[int], fixed: list[int]) -> bool:
        """Whether a known symmetry that keeps every node already set apart carries a tried node to ``node``."""
        usable = [image for image in self.automorphisms if all(image[other] == other for other in fixed)]
        reached, frontier = set(tried), list(tried)
        while frontier:
            current = frontier.pop()
            for image in usable:
                for other in (image[current], image.index(current)):
                    if other not in reached:
                        reached.add(other)
                        frontier.append(other)
        return node in reached
