import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs import Topology, TopologyError, families
from graphs.dag import dag, edges_of

CHAIN = [[0, 1], [1, 2], [2, 3]]


def test_a_chain_and_a_residual_network_are_those_of_the_families():
    assert dag(2, CHAIN) == families.wiring(2)
    every = [(i, j) for j in range(1, 5) for i in range(j)]
    assert dag(3, every) == families.residual(3)


def test_a_weight_is_taken_and_learned_weights_start_there():
    fixed = dag(2, [*CHAIN, [0, 2, 0.5]])
    assert edges_of(fixed) == {(0, 1): 1, (0, 2): 0.5, (1, 2): 1, (2, 3): 1}
    learned = dag(2, [*CHAIN, [0, 2, 0.5]], learned=True)
    assert learned == families.wiring(2, edges=[(0, 2)], weights={(0, 2): 0.5}, learned=True)
    assert learned != fixed
    assert edges_of(learned) is None


@given(st.data())
def test_it_is_what_networkx_makes_of_the_same_edges_and_gives_them_back(data):
    depth = data.draw(st.integers(1, 6))
    edges = {}
    for j in range(1, depth + 2):
        for i in data.draw(st.sets(st.integers(0, j - 1), min_size=1)):
            edges[i, j] = data.draw(st.sampled_from([1, 2, 0.5, -1.25]))
    graph = nx.DiGraph()
    graph.add_nodes_from(range(depth + 2))
    graph.add_weighted_edges_from((i, j, weight) for (i, j), weight in edges.items())
    made = dag(depth, [(*edge, weight) for edge, weight in edges.items()])
    assert made == Topology.from_networkx(graph)
    assert edges_of(made) == edges
    assert edges_of(Topology.from_dict(made.to_dict())) == edges


@pytest.mark.parametrize(
    ("depth", "edges", "message"),
    [
        (2, [[0, 1], [1, 2]], "the output reads nothing"),
        (2, [[0, 1], [0, 3]], "block 2 reads nothing"),
        (2, [*CHAIN, [0, 1]], r"edge \(0, 1\) is listed twice"),
        (2, [*CHAIN, [2, 1]], r"edge \(2, 1\): it must go forward"),
        (2, [*CHAIN, [0, 4]], r"edge \(0, 4\): it must go forward, within 0 \(stem\) .. 3"),
        (2, [*CHAIN, [0]], "is not a pair of node numbers"),
        (2, [*CHAIN, "02"], "is not a pair of node numbers"),
        (2, [*CHAIN, [0, True]], "is not a pair of node numbers"),
        (2, [*CHAIN, [0, 2, "x"]], "a number was expected"),
        (2, [*CHAIN, [0, 2, float("nan")]], r"edge \(0, 2\)"),
        (0, [[0, 1]], "depth is 0"),
        (10**9, [[0, 1]], "at most"),
    ],
)
def test_what_is_wrong_is_said(depth, edges, message):
    with pytest.raises(TopologyError, match=message):
        dag(depth, edges)


def test_a_program_with_more_to_it_than_edges_has_none():
    assert edges_of(families.to_output(3)) is not None
    assert edges_of(families.hyper(3, streams=2)) is None
    assert edges_of(families.dense(3)) is None
    assert edges_of(families.deepnorm(4)) is None  # block hints
    assert edges_of(families.mudd(2)) is None
