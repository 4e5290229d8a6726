from graph_samples import sample

from graphs import Block, Constant, Mix, Parameter, Topology
from graphs.passes import prune
from graphs.weights import evaluate, ones, pick, support

Y1, Y2 = Block(1, ("x0",), "y1"), Block(2, ("x0",), "y2")


def test_dead_blocks_and_values_go():
    topology = Topology((Y1, Y2, Mix(("y2",), ("dead",), ones(1, 1)), Mix(("x0", "y1"), ("o",), ones(1, 2))), "o", 2)
    pruned = prune(topology)
    assert [op.outputs for op in pruned.ops] == [("y1",), ("o",)]
    assert pruned.depth == 2


def test_edges_fixed_at_zero_go_and_take_their_block_along():
    topology = Topology((Y1, Y2, Mix(("x0", "y1", "y2"), ("o",), Constant(((1, 0, 2),)))), "o", 2)
    assert prune(topology).ops == (Y2, Mix(("x0", "y2"), ("o",), Constant(((1, 2),))))


def test_an_edge_that_may_leave_zero_stays():
    mix = Mix(("x0", "y1"), ("o",), Parameter("p", ((1, 0),)))
    assert prune(Topology((Y1, mix), "o", 1)).ops == (Y1, mix)


def test_a_dead_output_goes_and_the_parameter_keeps_its_shape():
    p = Parameter("p", ((1, 2), (3, 4)))
    pruned = prune(Topology((Y1, Mix(("x0", "y1"), ("a", "o"), p)), "o", 1))
    assert pruned.mixes[0].writes == ("o",)
    assert pruned.mixes[0].weight == pick(p, [1])
    assert evaluate(pruned.mixes[0].weight) == ((3, 4),)


def test_a_zero_of_a_dead_output_frees_its_source():
    mask = ((True, True), (True, False))
    p = Parameter("p", ((1, 2), (3, 0)), mask)
    pruned = prune(Topology((Y1, Mix(("x0", "y1"), ("a", "o"), p)), "o", 1))
    assert pruned.blocks == ()
    assert pruned.mixes[0].reads == ("x0",)
    assert evaluate(pruned.mixes[0].weight) == ((3,),)


def test_a_mix_that_is_zero_throughout_reads_the_stem_and_no_block():
    pruned = prune(Topology((Y1, Mix(("y1",), ("o", "p"), Constant(((0,), (1,))))), "o", 1))
    assert pruned.ops == (Mix(("x0",), ("o",), Constant(((0,),))),)


def test_nothing_is_left_that_does_not_matter():
    for seed in range(80):
        pruned = prune(sample(seed))
        read = {value for op in pruned.ops for value in op.reads} | {pruned.output}
        for op in pruned.ops:
            assert read.issuperset(op.outputs)
        for mix in pruned.mixes:
            columns = list(zip(*support(mix.weight), strict=True))
            assert len(columns) == 1 or all(map(any, columns))
