import itertools
from fractions import Fraction

import networkx as nx
import pytest
import torch
from papers import assert_is_the_paper, sizes

from graphs import TopologyError, families
from graphs.families import FAMILIES
from graphs.matrix import connection_rows
from graphs.weights import parameters

HALF = Fraction(1, 2)


def expected_rows(depth, edges, share=HALF, sinks="mean"):
    """Rows by the definition: a node of several predecessors reads each times ``share``, a source the stem."""
    rows = []
    for j in range(1, depth + 1):
        before = [a for a, b in edges if b == j]
        rows.append(dict.fromkeys(before, share) if len(before) > 1 else {before[0] if before else 0: 1})
    ends = [j for j in range(1, depth + 1) if j not in {a for a, _ in edges}]
    return (*rows, dict.fromkeys(ends, Fraction(1, len(ends)) if sinks == "mean" else 1))


def randwire(edges):
    """The paper's node: a sum weighted by the sigmoid of a number per edge; sinks are averaged."""

    def forward(blocks, w, x0):
        values = {}
        for j, block in enumerate(blocks, start=1):
            before = sorted(a for a, b in edges if b == j)
            if len(before) > 1:
                gates = torch.sigmoid(w[f"edges{j}"][0])
                read = sum(gate * values[a] for gate, a in zip(gates, before, strict=True))
            else:
                read = values[before[0]] if before else x0
            values[j] = block(read)
        ends = [value for j, value in values.items() if j not in {a for a, _ in edges}]
        return sum(ends) / len(ends)

    return forward


def drawn(topology):
    """The edges between blocks of a topology of one of the families, from its matrix."""
    rows = connection_rows(topology)
    return [(i, j) for j in range(1, topology.depth + 1) for i in sorted(rows[j - 1]) if i]


GRAPHS = {
    "chain": (nx.DiGraph([(1, 2), (2, 3)]), [(1, 2), (2, 3)]),
    "diamond": (nx.DiGraph([("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]), [(1, 2), (1, 3), (2, 4), (3, 4)]),
    "path": (nx.path_graph(3), [(1, 2), (2, 3)]),
    "complete": (nx.complete_graph(4), list(itertools.combinations(range(1, 5), 2))),
    "star": (nx.star_graph(3), [(1, 2), (1, 3), (1, 4)]),
    "no edges": (nx.empty_graph(3), []),
    "one node": (nx.empty_graph(1), []),
}


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("sinks", ["mean", "sum"])
@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_by_hand(name, sinks, learned):
    graph, edges = GRAPHS[name]
    topology = families.random(graph, sinks=sinks, learned=learned)
    assert connection_rows(topology) == expected_rows(len(graph), edges, HALF if learned else 1, sinks)
    listed = " ".join(f"{i}-{j}" for i, j in edges)
    assert topology.settings == (("edges", listed), ("sources", "stem"), ("sinks", sinks), ("learned", learned))
    assert topology.family == "random"
    assert topology.block_hints == {}
    into = [b for _, b in edges]
    assert sizes(topology, 8) == sum(into.count(j) for j in set(into) if into.count(j) > 1) * learned


def test_the_diamond_in_numbers():
    diamond, _ = GRAPHS["diamond"]
    assert connection_rows(families.random(diamond)) == ({0: 1}, {1: 1}, {1: 1}, {2: HALF, 3: HALF}, {4: 1})
    two_ends = families.random(nx.DiGraph([(1, 2), (1, 3)]))
    assert connection_rows(two_ends) == ({0: 1}, {1: 1}, {1: 1}, {2: HALF, 3: HALF})
    assert {p.initial for mix in families.random(diamond).mixes for p in parameters(mix.weight)} == {((0, 0),)}


@pytest.mark.parametrize("seed", range(8))
def test_any_dag_is_the_paper_s_network(seed):
    shuffled = nx.gnp_random_graph(7, 0.4, seed=seed, directed=True)
    graph = nx.DiGraph((a, b) for a, b in shuffled.edges if (a * 3) % 7 < (b * 3) % 7)  # acyclic, labels not in order
    graph.add_nodes_from(range(7))
    topology = families.random(graph)
    number = {}  # the definition of the numbering: always the first node, in the graph's order, that can run
    while len(number) < 7:
        node = next(n for n in graph if n not in number and all(p in number for p in graph.predecessors(n)))
        number[node] = len(number) + 1
    edges = sorted((number[a], number[b]) for a, b in graph.edges)
    assert sorted(drawn(topology)) == edges
    assert connection_rows(topology) == expected_rows(7, edges)
    assert_is_the_paper(topology, randwire(edges))


def test_undirected_edges_follow_the_order_of_the_nodes_not_their_labels():
    graph = nx.Graph()
    graph.add_nodes_from(["z", "a", "m"])
    graph.add_edges_from([("a", "z"), ("m", "a")])
    assert drawn(families.random(graph)) == [(1, 2), (2, 3)]
    directed = nx.DiGraph([("a", "z"), ("m", "a")])
    assert drawn(families.random(directed)) == [(1, 2), (2, 3)], "m, a, z"


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (
            nx.DiGraph([(1, 2), (2, 3), (3, 1), (3, 4)]),
            r"a cycle: (1 -> 2 -> 3 -> 1|2 -> 3 -> 1 -> 2|3 -> 1 -> 2 -> 3);",
        ),
        (nx.DiGraph([(1, 2), (2, 2)]), "a cycle: 2 -> 2;"),
        (nx.Graph([(1, 2), ("b", "b")]), "joins node 'b' to itself"),
        (nx.Graph(), "the graph has no nodes"),
        (nx.DiGraph(), "the graph has no nodes"),
        (nx.MultiGraph([(1, 2)]), "the graph is a MultiGraph; a networkx.Graph or DiGraph was expected"),
        (nx.MultiDiGraph([(1, 2)]), "the graph is a MultiDiGraph"),
        (4, "the graph is a int"),
        ([(1, 2)], "the graph is a list"),
        (None, "the graph is a NoneType"),
    ],
)
def test_graphs_that_are_refused(graph, says):
    with pytest.raises(TopologyError, match=says):
        families.random(graph)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"sinks": "max"}, "sinks is 'max'; one of mean, sum was expected"),
        ({"sources": "x"}, "sources is 'x'; one of stem"),
    ],
)
def test_ends_that_are_refused(settings, says):
    with pytest.raises(TopologyError, match=says):
        families.random(nx.path_graph(3), **settings)


# ---- the generators --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("name", "settings"),
    [("erdos_renyi", {"p": 0.4}), ("watts_strogatz", {}), ("watts_strogatz", {"k": 6}), ("barabasi_albert", {"m": 3})],
)
def test_a_drawn_graph_is_the_paper_s_network(name, settings, seed):
    topology = getattr(families, name)(9, **settings, seed=seed)
    edges = drawn(topology)
    assert all(1 <= i < j <= 9 for i, j in edges)
    assert connection_rows(topology) == expected_rows(9, edges)
    assert_is_the_paper(topology, randwire(edges))
    into = [j for _, j in edges]
    assert sizes(topology, 8) == sum(into.count(j) for j in set(into) if into.count(j) > 1)
    assert topology == getattr(families, name)(9, **settings, seed=seed), "the seed decides"
    assert topology.block_hints == {}


@pytest.mark.parametrize("name", ["erdos_renyi", "watts_strogatz", "barabasi_albert"])
def test_seeds_draw_different_graphs(name):
    assert len({getattr(families, name)(12, seed=seed).digest for seed in range(5)}) > 2


def test_erdos_renyi_at_its_ends():
    assert drawn(families.erdos_renyi(5, p=0)) == []
    assert sorted(drawn(families.erdos_renyi(5, p=1))) == list(itertools.combinations(range(1, 6), 2))
    assert families.erdos_renyi(1) == families.random(nx.empty_graph(1))
    assert families.erdos_renyi(32).settings == (("p", 0.2), ("seed", 0))
    counts = [len(drawn(families.erdos_renyi(32, seed=seed))) for seed in range(20)]
    assert abs(sum(counts) / 20 - 0.2 * 32 * 31 / 2) < 10


def test_watts_strogatz_that_moves_nothing_is_the_ring():
    ring = {tuple(sorted((i + 1, (i + step) % 7 + 1))) for i in range(7) for step in (1, 2)}
    assert set(drawn(families.watts_strogatz(7, p=0))) == ring
    assert len(drawn(families.watts_strogatz(32))) == 64
    assert set(drawn(families.watts_strogatz(3, k=2, p=1))) == {(1, 2), (1, 3), (2, 3)}
    assert families.watts_strogatz(8).settings == (("k", 4), ("p", 0.75), ("seed", 0))


def test_barabasi_albert_grows_from_blocks_without_edges():
    edges = drawn(families.barabasi_albert(12, m=5))
    for j in range(1, 13):
        assert sum(b == j for _, b in edges) == (0 if j <= 5 else 5)
    assert {a for a, b in edges if b == 6} == {1, 2, 3, 4, 5}
    assert drawn(families.barabasi_albert(2, m=1)) == [(1, 2)]
    assert families.barabasi_albert(8).settings == (("m", 5), ("seed", 0))


@pytest.mark.parametrize(
    ("name", "depth", "settings", "says"),
    [
        ("erdos_renyi", 4, {"p": 1.5}, "p is 1.5; a finite number from 0 to 1"),
        ("erdos_renyi", 4, {"p": True}, "p is True"),
        ("erdos_renyi", 4, {"seed": -1}, "seed is -1"),
        ("erdos_renyi", 4, {"seed": 0.5}, "seed is 0.5"),
        ("watts_strogatz", 4, {}, r"k is 4 at depth 4: .*; an even number from 2 to 2"),
        ("watts_strogatz", 7, {"k": 5}, r"k is 5 at depth 7: .*; an even number from 2 to 6"),
        ("watts_strogatz", 6, {"k": 6}, r"k is 6 at depth 6: .*; an even number from 2 to 4"),
        ("watts_strogatz", 2, {"k": 2}, r"k is 2 at depth 2: .*; a depth of at least 3"),
        ("watts_strogatz", 8, {"k": 0}, "k is 0; a whole number of at least 2 was expected"),
        ("watts_strogatz", 8, {"k": 4.0}, "k is 4.0"),
        ("watts_strogatz", 8, {"p": -0.1}, "p is -0.1"),
        ("watts_strogatz", 8, {"seed": True}, "seed is True"),
        ("barabasi_albert", 5, {}, r"m is 5 at depth 5: .*; 1 to 4"),
        ("barabasi_albert", 1, {"m": 1}, r"m is 1 at depth 1: .*; a depth of at least 2"),
        ("barabasi_albert", 8, {"m": 0}, "m is 0; a whole number of at least 1 was expected"),
        ("barabasi_albert", 8, {"seed": "0"}, "seed is '0'"),
    ],
)
def test_settings_that_are_refused(name, depth, settings, says):
    with pytest.raises(TopologyError, match=says):
        getattr(families, name)(depth, **settings)


@pytest.mark.parametrize("depth", [0, True, 2.0, "8"])
@pytest.mark.parametrize("name", ["erdos_renyi", "watts_strogatz", "barabasi_albert"])
def test_bad_depth(name, depth):
    with pytest.raises(TopologyError, match="depth is"):
        getattr(families, name)(depth)


def test_random_takes_a_graph_and_so_is_no_family_of_a_space():
    assert "random" not in FAMILIES
    assert "Source: " in families.random.__doc__
