import pytest
from graph_samples import FAMILIES, respelled, sample

from graphs import Block, Constant, Mix, Topology
from graphs.passes import canonicalise


def test_names_by_what_writes_them():
    ops = (
        Block(2, ("q",), "z", name="tail"),
        Mix(("s", "p"), ("q",), Constant(((1, 2),))),
        Block(1, ("s",), "p"),
    )
    assert canonicalise(Topology(ops, "z", 2, stem="s", family="f", settings=(("a", 1),))).ops == (
        Block(1, ("x0",), "y1"),
        Mix(("x0", "y1"), ("h1",), Constant(((1, 2),))),
        Block(2, ("h1",), "y2", name="tail"),
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_one_spelling_for_any_listing(name):
    topology = FAMILIES[name]()
    reversed_ = topology.with_ops(tuple(reversed(topology.ops)))
    assert canonicalise(reversed_).ops == canonicalise(topology).ops


def test_plans_of_respelled_programs_differ_in_the_order_of_sources_only():
    for seed in range(30):
        topology = sample(seed, learned=False)
        one, other = canonicalise(topology), canonicalise(respelled(topology, seed))
        assert [block.writes for block in one.blocks] == [block.writes for block in other.blocks]
        assert {value for op in one.ops for value in op.outputs} == {v for op in other.ops for v in op.outputs}
