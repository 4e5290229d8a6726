"""Canonical labelling of a coloured, edge-labelled directed graph: refine both ways, then individualise ties."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

Edge = tuple[int, int, str]
Array = np.ndarray[Any, Any]

MAX_MARK = 200


def canonical_text(colours: Sequence[str], edges: Sequence[Edge]) -> str:
    """A text that is equal for two graphs exactly when a bijection keeps colours, edges and labels.

    Colour refinement decides almost every program, since blocks carry their numbers. What stays tied is
    searched: each member of the first tied cell is set apart in turn and the least labelling wins; automorphisms
    found on the way (two leaves with one labelling) prune the search.
    """
    return Frame(colours, edges).text()


def orbits(colours: Sequence[str], edges: Sequence[Edge]) -> list[list[int]]:
    """Nodes that some automorphism of the graph exchanges, in classes of two or more."""
    small = _Reduced(colours, edges)
    graph = _Graph(small.names, _Links(len(small.names), small.edges))
    graph.search()
    leader = list(range(len(small.names)))

    def find(node: int) -> int:
        while leader[node] != node:
            leader[node] = leader[leader[node]]
            node = leader[node]
        return node

    for image in graph.automorphisms:
        for node, other in enumerate(image):
            leader[find(node)] = find(other)
    classes: dict[object, list[int]] = defaultdict(list)
    for node, members in enumerate(small.members):
        for member, trail in members:
            classes[find(node), trail].append(member)
    return [sorted(members) for members in classes.values() if len(members) > 1]


class Frame:
    """A graph made ready for :meth:`text`, in which some colours may be ``free``: replaced by others later.

    What takes most of the time, reducing the graph, is then done once for graphs that differ in those colours.
    """

    def __init__(self, colours: Sequence[str], edges: Sequence[Edge], free: Sequence[str] = ()) -> None:
        small = _Reduced(colours, edges)
        self._names = small.names
        self._links = _Links(len(small.names), small.edges)
        self._free = tuple(free)
        # A node whose colour went into another's name, or that took in others, keeps the colour it has.
        self._bound = any(trail and colours[node] in free for members in small.members for node, trail in members)
        self._places: list[tuple[int, str, int]] = []  # nodes of free colours: what is before it, which it is
        for place, (name, members) in enumerate(zip(small.names, small.members, strict=True)):
            colour = colours[members[0][0]]
            if colour in free:
                before = name.removesuffix(colour)
                if before == name or (before != "*" and not before.rstrip("*").isdecimal()):
                    self._bound = True
                else:
                    self._places.append((place, before, self._free.index(colour)))

    def takes(self, colours: Sequence[str]) -> bool:
        """Whether the free colours may become these, one for each and all different."""
        return not self._bound or tuple(colours) == self._free

    def text(self, colours: Sequence[str] = ()) -> str:
        """See :func:`canonical_text`."""
        names = list(self._names)
        for place, before, which in self._places:
            names[place] = before + colours[which]
        return _Graph(names, self._links).search()


class _Reduced:
    """The graph without what needs no search; isomorphic exactly when the graphs it came from are.

    Nodes of one colour and the very same neighbours (twins) become one whose colour counts them: they may be
    exchanged at will. A node with a single edge (a leaf) becomes part of its neighbour's colour. Both until nothing
    is left to do. ``members[i]`` lists the original nodes that became node i, each with a trail that two of them
    share exactly when an automorphism that keeps node i exchanges them.
    """

    def __init__(self, colours: Sequence[str], edges: Sequence[Edge]) -> None:
        self.names = [f"*{colour}" for colour in colours]  # no colour then looks like a count
        self.edges = list(edges)
        self.members: list[list[tuple[int, tuple[object, ...]]]] = [[(node, ())] for node in range(len(colours))]
        # What a node sees of an edge, as a number: the label and which end the node is.
        self._kinds = {label: 2 * i for i, label in enumerate(dict.fromkeys(edge[2] for edge in edges))}
        self._texts = [f"{way}{label}" for label in self._kinds for way in "><"]
        while True:
            around = self._around()
            if not self._merge_twins(around) and not self._absorb_leaves(around):
                break

    def _around(self) -> list[list[tuple[int, int]]]:
        """For each node its edges: what it sees of each, and the node at the other end."""
        around: list[list[tuple[int, int]]] = [[] for _ in self.names]
        for start, end, label in self.edges:
            kind = self._kinds[label]
            around[start].append((kind, end))
            around[end].append((kind + 1, start))
        return around

    def _merge_twins(self, around: list[list[tuple[int, int]]]) -> bool:
        twins: dict[tuple[str, tuple[tuple[int, int], ...]], list[int]] = {}
        for node, name in enumerate(self.names):
            twins.setdefault((name, tuple(sorted(around[node]))), []).append(node)
        if len(twins) == len(self.names):
            return False
        self._keep(
            [group[0] for group in twins.values()],
            [f"{len(group)}{_whole(name)}" if len(group) > 1 else name for (name, _), group in twins.items()],
            [[member for node in group for member in self.members[node]] for group in twins.values()],
        )
        return True

    def _absorb_leaves(self, around: list[list[tuple[int, int]]]) -> bool:
        leaves = {node for node, ends in enumerate(around) if len(ends) == 1 and len(around[ends[0][1]]) > 1}
        if not leaves:
            return False
        names, members = list(self.names), [list(group) for group in self.members]
        absorbed: dict[int, list[str]] = defaultdict(list)
        for node in leaves:
            kind, neighbour = around[node][0]
            mark = f"({self._texts[kind]} {self.names[node]})"
            if len(mark) > MAX_MARK:  # what hangs on a long chain would be spelled out once per link
                mark = hashlib.sha256(mark.encode()).hexdigest()
            absorbed[neighbour].append(mark)
            members[neighbour] += [(member, (*trail, mark)) for member, trail in self.members[node]]
        for node, marks in absorbed.items():
            names[node] = _whole(names[node]) + "".join(sorted(marks))
        kept = [node for node in range(len(names)) if node not in leaves]
        self._keep(kept, [names[node] for node in kept], [members[node] for node in kept])
        return True

    def _keep(self, nodes: list[int], names: list[str], members: list[list[tuple[int, tuple[object, ...]]]]) -> None:
        place = {node: i for i, node in enumerate(nodes)}
        self.edges = [(place[s], place[e], label) for s, e, label in self.edges if s in place and e in place]
        self.names, self.members = names, members


def _whole(name: str) -> str:
    """A name that tells a count of what has marks from marks of what was counted."""
    return name if name.startswith("*") else f"({name})"


def _hashed(texts: Sequence[str]) -> Array:
    """64 bits of each text, the same in every process."""
    known = {
        text: int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") for text in set(texts)
    }
    return np.array([known[text] for text in texts], dtype=np.uint64)


def _scrambled(numbers: Array) -> Array:
    """The splitmix64 finaliser, so that sums of these tell multisets apart."""
    result = numbers >> _THIRTY
    result ^= numbers
    result *= _FIRST
    result ^= result >> _TWENTY_SEVEN
    result *= _SECOND
    result ^= result >> _THIRTY_ONE
    return result


_THIRTY, _TWENTY_SEVEN, _THIRTY_ONE = np.uint64(30), np.uint64(27), np.uint64(31)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_THREE, _FIVE, _APART = np.uint64(3), np.uint64(5), np.uint64(0x9E3779B97F4A7C15)


def _classes(colours: Array) -> int:
    """How many different ones there are."""
    ordered = np.sort(colours)
    return 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1])) if len(ordered) else 0


def _inverse(order: Array) -> Array:
    """The place of each node in an order of all of them."""
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return place


class _Links:
    """Edges as arrays."""

    def __init__(self, nodes: int, edges: Sequence[Edge]) -> None:
        self.nodes = nodes
        self.edges = edges
        kinds = {label: i for i, label in enumerate(sorted({label for _, _, label in edges}))}
        self.kind = np.array([kinds[label] for _, _, label in edges], dtype=np.int64)
        self.starts = np.array([edge[0] for edge in edges], dtype=np.int64)
        self.ends = np.array([edge[1] for edge in edges], dtype=np.int64)
        # As seen from their starts (nodes 0, 1, ..), then from their ends (nodes + 0, nodes + 1, ..).
        own = np.concatenate([self.starts, self.ends + nodes])
        order = np.argsort(own, kind="stable")
        own = own[order]
        hashes = [_hashed([f"{way}{label}" for label in kinds]) for way in "><"]
        self._seen = np.concatenate([known[self.kind] for known in hashes])[order]
        self._other = np.concatenate([self.ends, self.starts])[order]
        self._first = np.flatnonzero(np.diff(own, prepend=-1))
        self._present = own[self._first]

    def sums(self, colours: Array) -> Array:
        """For each node the sums over its edges out, and behind all of these in, of a hash of label and other end."""
        sums = np.zeros(2 * self.nodes, dtype=np.uint64)
        if len(self._first):
            edges = colours[self._other]
            edges += self._seen
            sums[self._present] = np.add.reduceat(_scrambled(edges), self._first)
        return sums


class _Graph:
    """Colours are 64-bit hashes of structure. A collision costs time and never the result: a cell that it leaves
    undivided is searched, and two labellings are compared whole."""

    def __init__(self, names: Sequence[str], links: _Links) -> None:
        self.names = names
        self.links = links
        sorts = {name: i for i, name in enumerate(sorted(set(self.names)))}
        self.sort = np.array([sorts[name] for name in self.names], dtype=np.int64)
        self.best: tuple[bytes, Array] | None = None
        self.leaves: dict[bytes, tuple[Array, list[int]]] = {}  # labelling: node order, nodes set apart
        self.automorphisms: list[list[int]] = []
        self.inverses: list[list[int]] = []

    def refine(self, colours: Array) -> Array:
        """Repeat until no class splits: a node's colour takes in its neighbours' colours and edge labels."""
        classes = _classes(colours)
        nodes = len(colours)
        while classes < nodes:
            sums = self.links.sums(colours)
            np.invert(sums[nodes:], out=sums[nodes:])
            sums = _scrambled(sums)
            mixed = colours * _THREE
            mixed += sums[:nodes] * _FIVE
            mixed += sums[nodes:]
            colours = _scrambled(mixed)
            split = _classes(colours)
            if split == classes:
                break
            classes = split
        return colours

    def search(self) -> str:
        self._visit(self.refine(_hashed(self.names)), [])
        assert self.best is not None
        order = self.best[1]
        place = _inverse(order).tolist()
        lines = [self.names[node] for node in order.tolist()]
        links = sorted([(place[start], place[end], label) for start, end, label in self.links.edges])
        return "\n".join([*lines, *(f"{start} {end} {label}" for start, end, label in links)])

    def _visit(self, colours: Array, fixed: list[int]) -> int:
        """Search below ``fixed``; returns how many of its nodes to keep before the search goes on.

        That is fewer than all where a symmetry has carried this branch to one already searched.
        """
        values, place, counts = np.unique(colours, return_inverse=True, return_counts=True)
        tied = np.flatnonzero(counts > 1)
        if not len(tied):
            return self._leaf(colours, fixed)
        cell = min(tied, key=lambda i: (counts[i], values[i]))
        tried: list[int] = []
        for node in map(int, np.flatnonzero(place == cell)):
            if tried and self._equivalent(node, tried, fixed):
                continue
            tried.append(node)
            apart = colours.copy()
            apart[node] = _scrambled(apart[node : node + 1] + _APART)[0]
            keep = self._visit(self.refine(apart), [*fixed, node])
            if keep < len(fixed):
                return keep
        return len(fixed)

    def _leaf(self, colours: Array, fixed: list[int]) -> int:
        order = np.argsort(colours)
        place = _inverse(order)
        links = self.links
        starts, ends = place[links.starts], place[links.ends]
        by_place = np.lexsort((links.kind, ends, starts))
        labelling = np.concatenate([self.sort[order], *(part[by_place] for part in (starts, ends, links.kind))])
        key = labelling.astype(">i8").tobytes()
        if self.best is None or key < self.best[0]:
            self.best = key, order
        if key not in self.leaves:
            self.leaves[key] = order, fixed
            return len(fixed)
        earlier, path = self.leaves[key]
        moved = np.empty(len(order), dtype=np.int64)
        moved[order] = earlier
        back = np.empty(len(order), dtype=np.int64)
        back[earlier] = order
        image = moved.tolist()
        self.automorphisms.append(image)
        self.inverses.append(back.tolist())
        # Where the paths part, the symmetry carries this whole branch to the earlier one: nothing new is below.
        fork = next(i for i, (node, other) in enumerate(zip(fixed, path, strict=False)) if node != other)
        carried = all(image[node] == other for node, other in zip(fixed[: fork + 1], path, strict=False))
        return fork if carried else len(fixed)

    def _equivalent(self, node: int, tried: list[int], fixed: list[int]) -> bool:
        """Whether a known symmetry that keeps every node already set apart carries a tried node to ``node``."""
        known = zip(self.automorphisms, self.inverses, strict=True)
        usable = [pair for pair in known if all(pair[0][other] == other for other in fixed)]
        reached, frontier = set(tried), list(tried)
        while frontier:
            current = frontier.pop()
            for pair in usable:
                for other in (pair[0][current], pair[1][current]):
                    if other not in reached:
                        reached.add(other)
                        frontier.append(other)
        return node in reached
