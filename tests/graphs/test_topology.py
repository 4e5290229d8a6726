import pickle
from copy import deepcopy

import pytest
from graph_samples import FAMILIES, sample

from graphs import Block, Constant, Mix, Topology, TopologyError, families
from graphs.weights import ones

BLOCKS = Block(2, ("y1",), "y2"), Block(1, ("x0",), "y1")


def test_lists_become_tuples_and_names_have_a_default():
    block = Block(3, ["a", "b"], "c", ["in", "memory"])
    assert (block.reads, block.ports, block.name, block.outputs) == (("a", "b"), ("in", "memory"), "block3", ("c",))
    assert Block(3, ("a",), "c", name="attention").name == "attention"
    mix = Mix(["a"], ["b"], ones(1, 1))
    assert (mix.reads, mix.writes, mix.outputs) == (("a",), ("b",), ("b",))
    assert isinstance(Topology(list(BLOCKS), "y2", 2).ops, tuple)


def test_views():
    mix = Mix(("y1", "y2"), ("o",), ones(1, 2))
    topology = Topology((*BLOCKS, mix), "o", 2)
    assert [block.number for block in topology.blocks] == [1, 2]
    assert topology.mixes == (mix,)
    assert topology.producers == {"y1": BLOCKS[1], "y2": BLOCKS[0], "o": mix}


def test_legality_is_checked_on_construction_and_in_with_ops():
    with pytest.raises(TopologyError, match="nobody writes"):
        Topology((Block(1, ("z",), "y1"),), "y1", 1)
    with pytest.raises(TopologyError, match="written by nobody"):
        Topology(BLOCKS, "y2", 2).with_ops((BLOCKS[1],))


def test_with_ops_keeps_the_rest():
    topology = families.hyper(2, streams=2)
    other = topology.with_ops(topology.ops)
    assert (other, other.depth, other.family, other.settings) == (topology, 2, "hyper", (("streams", 2),))
    assert topology.with_ops(topology.ops, "y1").output == "y1"


def test_it_is_a_frozen_hashable_value():
    one, same, other = families.residual(3), families.residual(3), families.to_output(3)
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert {one: 1}[same] == 1
    assert len({one, same, other}) == 2
    assert one != "residual"
    assert (one == 3) is False
    with pytest.raises(AttributeError):
        one.depth = 4


def test_text():
    assert str(families.dense(3, period=2)) == "dense(depth=3, inner=True, period=2, dilation=1, every=1)"
    topology = families.residual(2)
    assert repr(topology) == f"<Topology residual(depth=2) {topology.digest}>"
    assert len(topology.digest) == 12
    assert set(topology.digest) <= set("0123456789abcdef")


def test_where_it_came_from_takes_no_part_in_equality():
    assert Topology(BLOCKS, "y2", 2, family="a", settings=(("b", 1),)) == Topology(BLOCKS, "y2", 2)


@pytest.mark.parametrize("name", FAMILIES)
def test_copies_are_equal(name):
    topology = FAMILIES[name]()
    assert topology.digest
    for copy in (deepcopy(topology), pickle.loads(pickle.dumps(topology))):
        assert copy == topology
        assert copy.ops == topology.ops


def test_the_convenience_methods_reach_exchange(tmp_path):
    topology = sample(5)
    assert Topology.from_dict(topology.to_dict()) == topology
    assert Topology.load(topology.save(tmp_path / "t.yaml")) == topology
    assert Topology.load(topology.save(str(tmp_path / "t.yaml"))) == topology
    assert Topology.from_networkx(topology.to_networkx()) == topology
    assert topology.matrix().shape == (topology.depth + 1,) * 2


def test_matrix_is_at_the_initial_weights():
    ops = (Block(1, ("x0",), "y1"), Mix(("x0", "y1"), ("o",), Constant(((0.5, 2),))))
    assert Topology(ops, "o", 1).matrix().tolist() == [[1, 0], [0.5, 2]]
