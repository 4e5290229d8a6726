import pytest
from graph_samples import FAMILIES, respelled, sample

from graphs import Block, Constant, Mix, Topology, TopologyError, families
from graphs.passes import canonicalise
from graphs.weights import ones


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


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        ((Block(1, ("x0",), "y1"), Mix(("x0", "y1"), ("y1",), ones(1, 2))), "'y1' is written twice"),
        ((Block(1, ("x0",), "y1"), Mix(("x0", "u"), ("v",), ones(1, 2))), "reads 'u', which nobody writes"),
        (
            (Mix(("x0", "v"), ("u",), ones(1, 2)), Mix(("u", "x0"), ("v",), ones(1, 2)), Block(1, ("v",), "y1")),
            "a cycle",
        ),
    ],
)
def test_what_a_pass_broke_is_caught_before_it_has_new_names(ops, message):
    with pytest.raises(TopologyError, match=message):
        canonicalise(families.residual(1).rewritten(ops, "y1"))
