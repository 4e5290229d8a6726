import itertools
import random

import numpy as np
import pytest

from graphs import Parameter, TopologyError, families
from graphs.families.wiring import candidates
from graphs.weights import parameters


def _matrix(depth, edges):
    expected = np.eye(depth + 1)
    for i, j in edges:
        expected[j - 1, i] = 1
    return expected.tolist()


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_a_node_reads_the_sum_of_its_predecessors(seed, learned):
    rng = random.Random(seed)
    depth = rng.randint(1, 7)
    possible = candidates(depth)
    edges = rng.sample(possible, rng.randint(0, len(possible)))
    topology = families.wiring(depth, edges=edges, learned=learned)
    assert topology.matrix().tolist() == _matrix(depth, edges)
    sizes = [sum(1 for _, j in edges if j == node) + 1 for node in range(1, depth + 2)]
    rules = [p for mix in topology.mixes for p in parameters(mix.weight)]
    assert sorted(p.size(1) for p in rules) == sorted(size for size in sizes if size > 1 and learned)
    assert all(isinstance(p, Parameter) and set(p.initial[0]) == {1} for p in rules)
    assert families.wiring(depth, edges=list(map(list, edges[::-1])), learned=learned) == topology


def test_known_cases():
    for depth in (1, 2, 5):
        assert families.wiring(depth).matrix().tolist() == np.eye(depth + 1).tolist()
        assert families.wiring(depth, edges=candidates(depth)) == families.residual(depth)
        assert families.wiring(depth, edges=[(i, depth + 1) for i in range(depth)]) == families.to_output(depth)


@pytest.mark.parametrize("depth", [1, 2, 6])
def test_candidates_are_the_legal_edges(depth):
    expected = {(i, j) for i, j in itertools.product(range(depth + 2), repeat=2) if j - i >= 2}
    assert set(candidates(depth)) == expected
    assert len(candidates(depth)) == depth * (depth + 1) // 2


def test_settings_are_text_in_order():
    topology = families.wiring(3, edges=[(1, 4), (0, 2)])
    assert topology.settings == (("edges", "0-2 1-4"), ("learned", False))


@pytest.mark.parametrize(
    ("edges", "says"),
    [
        ([(0, 2), (1, 3), (0, 2)], r"edge \(0, 2\) is listed twice"),
        ([(0, 1)], "i to j >= i"),
        ([(2, 0)], "i to j >= i"),
        ([(1, 1)], "i to j >= i"),
        ([(-1, 2)], r"edge \(-1, 2\)"),
        ([(0, 5)], r"within 0 \(stem\) .. 4 \(output\)"),
        ([(0,)], "not a pair"),
        ([(0, 2, 3)], "not a pair"),
        ([(0, 2.0)], "not a pair"),
        ([(False, 2)], "not a pair"),
        (["02"], "not a pair"),
        ([5], "edge 5 is not a pair"),
        ([None], "edge None is not a pair"),
    ],
)
def test_bad_edges(edges, says):
    with pytest.raises(TopologyError, match=says):
        families.wiring(3, edges=edges)


@pytest.mark.parametrize("edges", [3, None, True, 2.5])
def test_edges_that_are_no_collection(edges):
    with pytest.raises(TopologyError, match=r"edges is .*; a list of pairs of node numbers was expected"):
        families.wiring(4, edges=edges)


def test_edges_may_be_any_collection():
    edges = [(0, 2), (1, 5)]
    for given in (tuple(edges), set(edges), dict.fromkeys(edges), [list(edge) for edge in edges]):
        assert families.wiring(4, edges=given) == families.wiring(4, edges=edges)


@pytest.mark.parametrize("depth", [0, True, 1.0, "4", None])
def test_bad_depth(depth):
    with pytest.raises(TopologyError, match="depth is"):
        families.wiring(depth)


def test_the_weights_of_extra_edges():
    topology = families.wiring(2, edges=[(0, 2), (0, 3)], weights={(0, 3): 0.5})
    assert topology.matrix().tolist() == [[1, 0, 0], [1, 1, 0], [0.5, 0, 1]]
    assert dict(topology.settings)["weights"] == "0-3:0.5"
    assert topology != families.wiring(2, edges=[(0, 2), (0, 3)])
    assert families.wiring(2, edges=[(0, 2)], weights={(0, 2): 1}) == families.wiring(2, edges=[(0, 2)])
    learned = families.wiring(2, edges=[(0, 3)], weights={(0, 3): 0.5}, learned=True)
    assert learned.matrix()[2].tolist() == [0.5, 0, 1]


@pytest.mark.parametrize(
    ("weights", "problem"),
    [({(0, 4): 1.0}, "weights has the edge"), ({(0, 2): float("nan")}, "the weight of edge .* is nan")],
)
def test_weights_are_of_edges_that_are_there_and_finite(weights, problem):
    with pytest.raises(TopologyError, match=problem):
        families.wiring(3, edges=[(0, 2)], weights=weights)
