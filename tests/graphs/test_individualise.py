import hashlib
import itertools
import random
import time

import networkx as nx
import pytest
from networkx.algorithms.isomorphism import MultiDiGraphMatcher

from graphs.individualise import Frame, _Graph, _hashed, _Links, canonical_text


def _isomorphic(one, other):
    def build(colours, edges):
        graph = nx.MultiDiGraph()
        graph.add_nodes_from((i, {"colour": colour}) for i, colour in enumerate(colours))
        graph.add_edges_from((start, end, {"label": label}) for start, end, label in edges)
        return graph

    return MultiDiGraphMatcher(
        build(*one),
        build(*other),
        node_match=lambda a, b: a["colour"] == b["colour"],
        edge_match=lambda a, b: sorted(d["label"] for d in a.values()) == sorted(d["label"] for d in b.values()),
    ).is_isomorphic()


def _shuffled(graph, rng):
    colours, edges = graph
    place = rng.sample(range(len(colours)), len(colours))
    moved = [""] * len(colours)
    for node, colour in enumerate(colours):
        moved[place[node]] = colour
    return moved, rng.sample([(place[s], place[e], label) for s, e, label in edges], len(edges))


def _random_graph(rng):
    size = rng.randint(1, 6)
    pairs = [(s, e, rng.choice("pq")) for s, e in itertools.product(range(size), repeat=2) if rng.random() < 0.35]
    pairs += [pair for pair in pairs if rng.random() < 0.1]  # edges may repeat
    return [rng.choice("ab") for _ in range(size)], pairs


def _mutated(graph, rng):
    """One small change: the pairs worth telling apart are the ones that are nearly isomorphic."""
    colours, edges = list(graph[0]), list(graph[1])
    if edges and rng.random() < 0.7:
        i = rng.randrange(len(edges))
        start, end, label = edges[i]
        edges[i] = rng.choice([(end, start, label), (start, rng.randrange(len(colours)), label), (start, end, "q")])
    else:
        i, j = rng.randrange(len(colours)), rng.randrange(len(colours))
        colours[i], colours[j] = colours[j], colours[i]
    return colours, edges


def _cycle(*lengths, both=False):
    edges, start = [], 0
    for length in lengths:
        for i in range(length):
            a, b = start + i, start + (i + 1) % length
            edges += [(a, b, "e"), (b, a, "e")] if both else [(a, b, "e")]
        start += length
    return ["n"] * start, edges


def _bipartite(m, n):
    return ["n"] * (m + n), [(i, m + j, "e") for i in range(m) for j in range(n)]


def _copies(graph, count):
    colours, edges = graph
    size = len(colours)
    return colours * count, [(s + c * size, e + c * size, label) for c in range(count) for s, e, label in edges]


def _undirected(graph):
    edges = [(a, b, "e") for a, b in graph.edges] + [(b, a, "e") for a, b in graph.edges]
    return ["n"] * len(graph), edges


SYMMETRIC = {
    "cycle 6": _cycle(6),
    "cycles 3 + 3": _cycle(3, 3),
    "cycle 12": _cycle(12),
    "cycles 6 + 6": _cycle(6, 6),
    "cycles 4 + 4 + 4": _cycle(4, 4, 4),
    "cycles 3 + 9": _cycle(3, 9),
    "two-way cycle 6": _cycle(6, both=True),
    "two-way cycles 3 + 3": _cycle(3, 3, both=True),
    # Colour refinement sees one cell here, before and after a node is set apart, and it is not an orbit.
    "two-way cycles 3 + 3 + 6 + 6": _cycle(3, 3, 6, 6, both=True),
    "two-way cycles 3 + 6 + 9": _cycle(3, 6, 9, both=True),
    "cycles 3 + 6 + 3 + 6": _cycle(3, 6, 3, 6),
    "K33": _bipartite(3, 3),
    "K24": _bipartite(2, 4),
    "K42": _bipartite(4, 2),
    "K33 twice": _copies(_bipartite(3, 3), 2),
    "prism": _undirected(nx.circular_ladder_graph(3)),
    "K33 two-way": _undirected(nx.complete_bipartite_graph(3, 3)),
    "cube": _undirected(nx.hypercube_graph(3).__class__(nx.convert_node_labels_to_integers(nx.hypercube_graph(3)))),
    "Moebius ladder 8": _undirected(nx.circulant_graph(8, [1, 4])),
    "Petersen": _undirected(nx.petersen_graph()),
    "prism 5": _undirected(nx.circular_ladder_graph(5)),
    "rook 4x4": _undirected(nx.convert_node_labels_to_integers(nx.line_graph(nx.complete_bipartite_graph(4, 4)))),
    "Shrikhande": _undirected(
        nx.convert_node_labels_to_integers(
            nx.Graph(
                ((a, b), ((a + x) % 4, (b + y) % 4))
                for a, b in itertools.product(range(4), repeat=2)
                for x, y in ((0, 1), (1, 0), (1, 1))
            )
        )
    ),
    "paths": _copies((["n"] * 3, [(0, 1, "e"), (1, 2, "e")]), 3),
    "empty": (["n"] * 5, []),
    "none": ([], []),
}


@pytest.mark.parametrize("name", SYMMETRIC)
def test_symmetric_graphs_do_not_depend_on_the_listing(name):
    rng = random.Random(name)
    text = canonical_text(*SYMMETRIC[name])
    for _ in range(10):
        assert canonical_text(*_shuffled(SYMMETRIC[name], rng)) == text


def _plainly_refined(names, edges):
    """Colour refinement with whole numbers, node by node."""
    most = 2**64 - 1

    def scrambled(x):
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & most
        x = (x ^ x >> 27) * 0x94D049BB133111EB & most
        return x ^ x >> 31

    def hashed(text):
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")

    def sums(colours, way, at, other):
        found = [0] * len(names)
        for edge in edges:
            found[edge[at]] += scrambled((colours[edge[other]] + hashed(way + edge[2])) & most)
        return [scrambled((~one if way == "<" else one) & most) for one in found]

    colours = [hashed(name) for name in names]
    while True:
        classes = len(set(colours))
        if classes == len(colours):
            return colours
        both = zip(colours, sums(colours, ">", 0, 1), sums(colours, "<", 1, 0), strict=True)
        colours = [scrambled((own * 3 + forth * 5 + back) & most) for own, forth, back in both]
        if len(set(colours)) == classes:
            return colours


def test_refinement_equals_the_plain_one():
    # Digests of stored topologies hang on these very numbers, through the order in which they put the nodes.
    rng = random.Random(5)
    for names, edges in (*SYMMETRIC.values(), *(_random_graph(rng) for _ in range(200))):
        assert _Graph(names, _Links(len(names), edges)).refine(_hashed(names)).tolist() == _plainly_refined(
            names, edges
        )


def test_symmetric_graphs_are_told_apart():
    texts = {name: canonical_text(*graph) for name, graph in SYMMETRIC.items()}
    for one, other in itertools.combinations(SYMMETRIC, 2):
        assert texts[one] != texts[other], (one, other)


@pytest.mark.parametrize("seed", range(10))
def test_equal_text_exactly_when_networkx_finds_an_isomorphism(seed):
    rng = random.Random(seed)
    agreed = {True: 0, False: 0}
    for _ in range(60):
        one = _random_graph(rng)
        other = _shuffled(_mutated(one, rng) if rng.random() < 0.6 else one, rng)
        same = canonical_text(*one) == canonical_text(*other)
        assert same == _isomorphic(one, other), (one, other)
        agreed[same] += 1
    assert min(agreed.values()) > 5


def test_every_graph_on_three_nodes():
    pairs = list(itertools.product(range(3), repeat=2))
    graphs = [
        (["a", "a", "b"], [(*pair, "e") for pair, on in zip(pairs, flags, strict=True) if on])
        for flags in itertools.product((False, True), repeat=9)
    ]
    classes: dict[str, tuple] = {}
    for graph in graphs:
        text = canonical_text(*graph)
        if text in classes:
            assert _isomorphic(classes[text], graph)
        classes.setdefault(text, graph)
    # Burnside: the only symmetry exchanges the two nodes called "a".
    fixed = 2 ** (1 + 1 + 1 + 1 + 1)
    assert len(classes) == (2**9 + fixed) // 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((["a", "a"], []), (["2*a"], [])),
        ((["a", "a"], []), (["2a"], [])),
        ((["a", "a"], []), (["a"], [])),
        ((["a", "b"], [(0, 1, "e")]), (["a", "b"], [(1, 0, "e")])),
        ((["a", "b"], [(0, 1, "e")]), (["a", "b"], [(0, 1, "f")])),
        ((["a", "b"], [(0, 1, "e")]), (["a", "b"], [(0, 1, "e"), (0, 1, "e")])),
        ((["a"], [(0, 0, "e")]), (["a"], [])),
        # Two twins with one parent and one twin of another differ from the mirror image by colour alone.
        (
            (["r", "s", "n", "n", "n"], [(0, 2, "e"), (0, 3, "e"), (1, 4, "e")]),
            (["s", "r", "n", "n", "n"], [(0, 2, "e"), (0, 3, "e"), (1, 4, "e")]),
        ),
    ],
)  # fmt: skip
def test_pairs_that_differ(one, other):
    assert canonical_text(*one) != canonical_text(*other)


def test_large_symmetry_groups_are_quick():
    start = time.perf_counter()
    canonical_text(*_copies(_cycle(3), 12))
    canonical_text(*_bipartite(60, 60))
    canonical_text(["n"] * 400, [])
    canonical_text(*_cycle(100))
    assert time.perf_counter() - start < 5


def test_a_frame_takes_other_colours_only_where_nothing_hangs_on_them():
    ring = [(0, 1, "e"), (1, 2, "e"), (2, 0, "e")]
    colours = ["a", "warm", "b"]
    frame = Frame(colours, ring, free=("warm",))
    assert frame.takes(("cold",))
    assert frame.text(("cold",)) == canonical_text(["a", "cold", "b"], ring)
    pair = [(0, 1, "e"), (0, 2, "e"), (1, 2, "e"), (0, 3, "e"), (1, 3, "e")]
    twins = Frame(["a", "b", "warm", "warm"], pair, free=("warm",))
    assert twins.text(("cold",)) == canonical_text(["a", "b", "cold", "cold"], pair)
    assert twins.takes(("cold",))
    for edges in ([*ring, (0, 3, "e")], [*ring, (3, 1, "e")]):
        # A leaf goes into its neighbour's name: a free one, or one that hangs on a free one.
        for names in ([*"axb", "warm"], ["a", "warm", "b", "x"]):
            bound = Frame(names, edges, free=("warm",))
            whole = "warm" not in (names[3], names[edges[3][1] if edges[3][0] == 3 else edges[3][0]])
            assert bound.takes(("cold",)) == whole
            assert bound.takes(("warm",))
            assert bound.text(("warm",)) == canonical_text(names, edges)


def _hung(*groups):
    """Nodes "b" below one "h", in groups: each has a leaf "x" that its members share."""
    colours, edges = ["h", "g"], [(0, 1, "p")]
    for size in groups:
        leaf = len(colours)
        colours += ["x", *["b"] * size]
        edges += [edge for b in range(leaf + 1, len(colours)) for edge in ((0, b, "p"), (b, leaf, "p"))]
    return colours, edges


@pytest.mark.parametrize(("one", "other"), [((2,), (1, 1)), ((32,), (2, 2, 2)), ((4,), (2, 2))])
def test_nodes_that_share_a_leaf_are_not_nodes_with_a_leaf_each(one, other):
    assert canonical_text(*_hung(*one)) != canonical_text(*_hung(*other))
