from fractions import Fraction as F

import numpy as np
import pytest
from graph_oracles import meaning
from graph_samples import FAMILIES, exact_values, sample

from graphs import Block, Constant, Mix, Parameter, Topology, TopologyError, families
from graphs.matrix import connection_matrix, connection_rows


def _as_meaning(topology, values=None):
    """The rows of connection_rows by reader, for every block that is listed."""
    ports = sorted({port for block in topology.blocks for port in block.ports})
    by_port = {port: connection_rows(topology, values, port) for port in ports}
    result = {(b.number, port): by_port[port][b.number - 1] for b in topology.blocks for port in b.ports}
    rows = next(iter(by_port.values()), None) or connection_rows(topology, values)
    return {**result, "output": rows[-1]}


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_rows_are_the_exact_meaning(seed, learned):
    topology = sample(seed, learned=learned)
    assert _as_meaning(topology) == meaning(topology, listed=True)
    values = exact_values(topology, seed)
    assert _as_meaning(topology, values) == meaning(topology, values, listed=True)


@pytest.mark.parametrize("name", FAMILIES)
def test_families(name):
    topology = FAMILIES[name]()
    if any(mix.norm for mix in topology.mixes):
        with pytest.raises(TopologyError, match="normalised token by token; there is no one matrix"):
            topology.matrix()
        return
    got, expected = _as_meaning(topology), meaning(topology, listed=True)
    if any(isinstance(entry, float) for row in got.values() for entry in row.values()):
        expected = {reader: pytest.approx({j: float(w) for j, w in row.items()}) for reader, row in expected.items()}
    assert got == expected


def test_by_hand():
    topology = Topology(
        (
            Mix(("x0",), ("a", "b"), Constant(((F(1, 3),), (2,)))),
            Block(1, ("a",), "y1"),
            Mix(("b", "y1"), ("c",), Parameter("p", ((1, F(-1, 2)),))),
            Block(3, ("c",), "y3"),
            Mix(("c", "y3", "b"), ("o",), Constant(((1, 1, -1),))),
        ),
        "o",
        3,
    )
    assert connection_rows(topology) == ({0: F(1, 3)}, {}, {0: 2, 1: F(-1, 2)}, {1: F(-1, 2), 3: 1})
    assert connection_rows(topology, {"p": ((F(5), 7),)})[2:] == ({0: 10, 1: 7}, {0: 8, 1: 7, 3: 1})
    dense = topology.matrix()
    assert dense.dtype == np.float64
    assert dense.tolist() == [[1 / 3, 0, 0, 0], [0, 0, 0, 0], [2, -0.5, 0, 0], [0, -0.5, 0, 1]]


def test_ports():
    topology = Topology((Block(1, ("x0",), "y1"), Block(2, ("y1", "x0"), "y2", ("in", "memory"))), "y2", 2)
    assert connection_rows(topology) == ({0: 1}, {1: 1}, {2: 1})
    assert connection_rows(topology, port="memory") == ({}, {0: 1}, {2: 1})
    assert topology.matrix("memory").tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 1]]
    with pytest.raises(TopologyError, match="no block has the port 'query'; the ports are in, memory"):
        topology.matrix("query")


def test_a_program_without_blocks_has_a_matrix():
    topology = Topology((Mix(("x0",), ("o",), Constant(((3,),))),), "o", 2)
    assert connection_matrix(topology).tolist() == [[0, 0, 0], [0, 0, 0], [3, 0, 0]]


def test_softmax_of_unequal_logits_matches_numpy():
    topology = families.ancre(3, temperature=0.5, inner=False)
    logits = np.array([0.3, -0.2, 1.0])
    gates = np.exp(logits / 0.5) / np.exp(logits / 0.5).sum()
    values = {"gates2": ((0, 0),), "gates3": (tuple(logits.tolist()),)}
    h1 = np.array([1, 1, 0, 0])
    h2 = np.array([0, 0, 1, 0]) + (np.array([1, 0, 0, 0]) + h1) / 2
    expected = np.array([0, 0, 0, 1]) + gates @ np.stack([[1, 0, 0, 0], h1, h2])
    np.testing.assert_allclose(connection_matrix(topology, values)[-1], expected, rtol=1e-14)


def test_weights_beyond_the_range_of_floats():
    """Exact products may leave it; rows are exact, the float matrix says where."""
    huge = Constant(((10**300,),))
    ops = (Block(1, ("x0",), "y1"), Mix(("y1",), ("a",), huge), Mix(("a",), ("o",), huge))
    topology = Topology(ops, "o", 1)
    assert connection_rows(topology)[1] == {1: 10**600}
    with pytest.raises(TopologyError, match="the weight of output 1 in row 1 is beyond the range of floats"):
        topology.matrix()
