from fractions import Fraction as F

from graphs import Block, Constant, Mix, Parameter, Product, Topology, families
from graphs.passes import fold, prune
from graphs.weights import ones

Y1 = Block(1, ("x0",), "y1")
P = Parameter("p", ((1, 2),))


def _folded(*ops, output="o", depth=1):
    return prune(fold(Topology(ops, output, depth)))


def test_identity_hops_go():
    hops = Mix(("x0",), ("a",), ones(1, 1)), Mix(("a",), ("b",), ones(1, 1))
    assert _folded(*hops, Block(1, ("b",), "y1"), Mix(("y1",), ("o",), ones(1, 1))).ops == (Y1,)


def test_the_output_may_be_a_hop_of_the_stem():
    assert _folded(Y1, Mix(("x0",), ("o",), ones(1, 1))).output == "x0"


def test_two_hops_of_one_value_add_their_weights():
    swap = Mix(("x0", "y1"), ("a", "b"), Constant(((1, 0), (1, 0))))
    assert _folded(Y1, swap, Mix(("a", "b", "y1"), ("o",), Constant(((2, 3, 1),)))).ops == (
        Y1,
        Mix(("x0", "y1"), ("o",), Constant(((5, 1),))),
    )


def test_fixed_chains_become_one_mix():
    ops = (
        Y1,
        Mix(("x0", "y1"), ("a",), Constant(((F(1, 2), 3),))),
        Mix(("a", "x0"), ("o",), Constant(((2, 1),))),
    )
    assert _folded(*ops).ops == (Y1, Mix(("x0", "y1"), ("o",), Constant(((2, 6),))))


def test_a_value_with_two_readers_is_computed_once():
    ops = (
        Y1,
        Mix(("x0", "y1"), ("a",), ones(1, 2)),
        Mix(("a", "x0"), ("b",), Constant(((2, 1),))),
        Block(2, ("b",), "y2"),
        Mix(("a", "y2"), ("o",), Constant(((3, 1),))),
    )
    assert _folded(*ops, depth=2).ops == ops


def test_a_learned_mix_takes_in_a_scaled_source_but_no_further_sources():
    scaled = Mix(("y1",), ("a",), Constant(((F(1, 2),),)))
    folded = _folded(Y1, scaled, Mix(("x0", "a"), ("o",), P))
    assert folded.mixes == (Mix(("x0", "y1"), ("o",), Product(P, Constant(((1, 0), (0, F(1, 2)))))),)
    summed = Mix(("x0", "y1"), ("a",), ones(1, 2))
    assert _folded(Y1, summed, Mix(("a", "y1"), ("o",), P)).mixes == (summed, Mix(("a", "y1"), ("o",), P))


def test_what_a_block_reads_and_the_output_stay_computed():
    ops = Mix(("x0",), ("a",), Constant(((2,),))), Block(1, ("a",), "y1"), Mix(("y1",), ("o",), Constant(((3,),)))
    assert _folded(*ops).ops == ops


def test_the_copies_of_the_stem_are_not_copied():
    first = prune(fold(prune(families.hyper(2, streams=4)))).mixes[0]
    assert first.reads == ("x0",)
    assert len(first.writes) == 5
