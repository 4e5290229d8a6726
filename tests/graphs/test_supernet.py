from fractions import Fraction as F

import pytest
import torch

import graphs
from graphs import TopologyError, families, lower
from graphs.dag import edges_of
from graphs.matrix import connection_matrix
from graphs.supernet import discretised, gate_parameters, gates_of, supernet


def test_softmax_gates_start_as_the_mean_of_everything_earlier():
    net = supernet(3)
    assert net.matrix().tolist() == [[1, 0, 0, 0], [0.5, 0.5, 0, 0], [float(F(1, 3))] * 3 + [0], [0.25] * 4]
    assert gates_of(net, {})[1] == (0.5, 0.5)


def test_learned_gates_start_as_the_residual_network():
    net = supernet(3, kind="learned")
    assert (net.matrix() == families.residual(3).matrix()).all()
    assert gates_of(net, {}) == ((1,), (1, 1), (1, 1, 1), (1, 1, 1, 1))


def test_it_has_a_gate_for_every_edge_but_the_first():
    net = supernet(5)
    assert gate_parameters(net) == ("gates2", "gates3", "gates4", "gates5", "gates6")
    assert [len(row) for row in gates_of(net, {})] == [1, 2, 3, 4, 5, 6]
    assert str(lower(net))


def test_gates_are_those_of_the_given_parameters():
    net = supernet(2, temperature=1.0)
    gates = gates_of(net, {"gates2": ((0.0, 1.0),), "gates3": ((100.0, 0.0, 0.0),)})
    assert gates[1] == pytest.approx((0.2689414213699951, 0.7310585786300049), rel=1e-14)
    assert gates[2] == pytest.approx((1, 0, 0), abs=1e-40)


def test_chosen_gates_are_the_network_that_is_left():
    net = supernet(4, kind="top_k", fan_in=2)
    assert net.matrix().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 1, 1],
    ]
    assert gates_of(net, {})[2] == pytest.approx((1 / 3,) * 3), "the softmax gates that are ranked"
    values = {"gates2": ((0, 1),), "gates3": ((2, 1, 0),), "gates4": ((0, 1, 0, 1),), "gates5": ((5, 1, 2, 5, 5),)}
    gates = gates_of(net, values)
    assert len(set(gates[2])) == 3
    assert (discretised(gates, 2, chain=False).matrix() == connection_matrix(net, values)).all()
    assert supernet(4, kind="top_k", fan_in=2) != supernet(4, kind="top_k", fan_in=3)
    with pytest.raises(TopologyError, match="fan_in is 0"):
        supernet(2, kind="top_k", fan_in=0)


def test_gates_that_are_not_chosen_learn():
    net = supernet(3, kind="top_k", fan_in=1)
    torch.manual_seed(0)
    blocks = [torch.nn.Linear(4, 4) for _ in range(3)]
    model = graphs.compile(net, blocks, dim=4)
    x = torch.randn(5, 4)
    before = model(x)
    torch.testing.assert_close(before, blocks[2](blocks[1](blocks[0](x))), rtol=0, atol=0)
    before.square().sum().backward()
    assert all(model.weights.get_parameter(name).grad.all() for name in gate_parameters(net))
    with torch.no_grad():
        model.weights.gates3.copy_(torch.tensor([[0.0, 1.0, 0.0]]))  # block 3 reads block 1
    torch.testing.assert_close(model(x), blocks[2](blocks[0](x)), rtol=0, atol=0)


GATES = ((1,), (0.9, 0.1), (0.2, -0.7, 0.1), (0.25, 0.25, 0.3, 0.2))


@pytest.mark.parametrize(
    ("fan_in", "chain", "expected"),
    [
        (1, False, {(0, 1), (0, 2), (1, 3), (2, 4)}),  # block 3 is left out
        (1, True, {(0, 1), (1, 2), (2, 3), (3, 4)}),
        (2, False, {(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (1, 4), (2, 4)}),  # of equal gates the later output
        (2, True, {(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (2, 4), (3, 4)}),
        (9, True, {(i, j) for j in range(1, 5) for i in range(j)}),
    ],
)
def test_what_is_left_are_the_greatest_gates_of_each_reader(fan_in, chain, expected):
    found = edges_of(discretised(GATES, fan_in, chain=chain))
    assert found == dict.fromkeys(expected, 1)


def test_every_edge_kept_is_the_residual_network():
    assert discretised(gates_of(supernet(4), {}), 5) == families.residual(4)


def test_bad_gates_are_named():
    with pytest.raises(TopologyError, match="the gates of node 2 are 1"):
        discretised(((1,), (1,)), 2)
    with pytest.raises(TopologyError, match="fan_in is 0"):
        discretised(GATES, 0)
    with pytest.raises(TopologyError, match="kind is 'hard'"):
        supernet(2, kind="hard")
    with pytest.raises(TopologyError, match="temperature"):
        supernet(2, temperature=0)
