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
    graph = _Graph(*_without_twins(colours, edges))
    return graph.search()


def _without_twins(colours: Sequence[str], edges: Sequence[Edge]) -> tuple[list[str], list[Edge]]:
    """Nodes of one colour and the very same neighbours become one whose colour counts them, until none are left.

    Twins may be exchanged at will, so nothing is lost; the search would have to take them apart one by one.
    """
    names, links = [f"*{colour}" for colour in colours], list(edges)  # no colour then looks like a count
    while True:
        around: list[list[tuple[str, int]]] = [[] for _ in names]
        for start, end, label in links:
            around[start].append((f">{label}", end))
            around[end].append((f"<{label}", start))
        twins: dict[tuple[str, tuple[tuple[str, int], ...]], list[int]] = defaultdict(list)
        for node, name in enumerate(names):
            twins[name, tuple(sorted(around[node]))].append(node)
        if len(twins) == len(names):
            return names, links
        place = {group[0]: i for i, group in enumerate(twins.values())}
        links = [(place[s], place[e], label) for s, e, label in links if s in place and e in place]
        names = [f"{len(group)}{name}" if len(group) > 1 else name for (name, _), group in twins.items()]


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
        self.leaves: dict[str, tuple[list[int], list[int]]] = {}  # text: node order, nodes set apart
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

    def _visit(self, colours: Colours, fixed: list[int]) -> int:
        """Search below ``fixed``; returns how many of its nodes to keep before the search goes on.

        That is fewer than all where a symmetry has carried this branch to one already searched.
        """
        cells: dict[bytes, list[int]] = defaultdict(list)
        for node, colour in enumerate(colours):
            cells[colour].append(node)
        tied = sorted((len(cell), colour) for colour, cell in cells.items() if len(cell) > 1)
        if not tied:
            return self._leaf(colours, fixed)
        tried: list[int] = []
        for node in cells[tied[0][1]]:
            if tried and self._equivalent(node, tried, fixed):
                continue
            tried.append(node)
            apart = list(colours)
            apart[node] = _hash(colours[node], b"set apart")
            keep = self._visit(self.refine(apart), [*fixed, node])
            if keep < len(fixed):
                return keep
        return len(fixed)

    def _leaf(self, colours: Colours, fixed: list[int]) -> int:
        order = sorted(range(len(colours)), key=lambda node: colours[node])
        place = {node: i for i, node in enumerate(order)}
        lines = [self.names[node] for node in order]
        lines += [
            f"{a} {b} {label}" for a, b, label in sorted((place[s], place[e], label) for s, e, label in self.edges)
        ]
        text = "\n".join(lines)
        if self.best is None or text < self.best:
            self.best = text
        if text not in self.leaves:
            self.leaves[text] = order, fixed
            return len(fixed)
        earlier, path = self.leaves[text]
        image = [0] * len(order)
        for node, other in zip(order, earlier, strict=True):
            image[node] = other
        self.automorphisms.append(image)
        # Where the paths part, the symmetry carries this whole branch to the earlier one: nothing new is below.
        fork = next(i for i, (node, other) in enumerate(zip(fixed, path, strict=False)) if node != other)
        carried = all(image[node] == other for node, other in zip(fixed[: fork + 1], path, strict=False))
        return fork if carried else len(fixed)

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
