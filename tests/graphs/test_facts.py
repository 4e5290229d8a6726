import math

import numpy as np
import pytest
from graph_samples import sample

import graphs
from graphs import Block, Constant, Mix, Parameter, Topology, families, start_up
from graphs.facts import growth, paths, residual_at_start, symmetries
from graphs.individualise import orbits
from graphs.topology import Norm
from graphs.weights import Bernoulli, Generated, Sigmoid, Sum, ones


def _chain(weight, *, hints=(), keys=(), norm=None):
    """Block 1, then a mix of x0 and y1."""
    return Topology((Block(1, ("x0",), "y1", hints=hints), Mix(("x0", "y1"), ("o",), weight, keys, norm)), "o", 1)


@pytest.mark.parametrize(
    ("topology", "answer", "says"),
    [
        (families.residual(5), "yes", "every reader reads the sum"),
        (families.dense(4), "yes", "every reader"),
        (families.dense(4, inner=False), "no", "block 2 reads the stem with weight 0"),
        (families.hyper(3, streams=2), "scaled", "the output reads the residual stream times 2"),
        (families.hyper(3, streams=1), "yes", "every reader"),
        (families.to_output(3), "no", "block 2 reads the stem with weight 0"),
        (families.ancre(3), "no", "block 2 reads block 1 with weight 1"),
        (families.wiring(2, edges=[(0, 2), (0, 3), (1, 3)]), "yes", "every reader"),
        (families.wiring(2, edges=[(0, 2), (1, 3)]), "no", "the output reads the stem with weight 0"),
        (_chain(Constant(((0.5, 0.5),))), "scaled", "the output reads the residual stream times 0.5"),
        (_chain(Constant(((-1, -1),))), "no", "the output reads the stem with weight -1"),
        (_chain(Constant(((1, 2),))), "no", "the output reads block 1 with weight 2"),
        (_chain(Constant(((2, 1),))), "no", "the output reads block 1 with weight 1"),
        (_chain(ones(1, 2), hints=(("pre_norm", 0),)), "no", "block 1 starts otherwise: pre_norm"),
        (_chain(ones(1, 2), hints=(("lr_scale", 0.5), ("norm_scale", 1))), "yes", "every reader"),
        (_chain(ones(1, 2), norm=Norm("n")), "no", "o is normalised"),
        (_chain(Bernoulli("b", ((1, 0.5),))), "no", "drawn anew"),
        (_chain(Generated("g", (1, 2), (0,), start="normal"), keys=("x0",)), "unknown", "start at random"),
        (_chain(Sum((ones(1, 2), Generated("g", (1, 2), (0,)))), keys=("x0",)), "yes", "every reader"),
        (_chain(Sigmoid(Generated("g", (1, 2), (0,))), keys=("x0",)), "scaled", "times 0.5"),
        (Topology((Block(2, ("x0",), "y2"), Mix(("x0", "y2"), ("o",), ones(1, 2))), "o", 2), "no", "block 1 is not"),
    ],
)
def test_residual_at_the_start(topology, answer, says):
    found, reason = residual_at_start(topology)
    assert found == answer
    assert says in reason


def test_every_port_counts():
    ops = (
        Block(1, ("x0",), "y1"),
        Mix(("x0", "y1"), ("h",), ones(1, 2)),
        Block(2, ("h", "x0"), "y2", ("q", "k")),
        Mix(("h", "y2"), ("o",), ones(1, 2)),
    )
    found, reason = residual_at_start(Topology(ops, "o", 2))
    assert (found, reason) == ("no", "block 2 reads block 1 with weight 0")


@pytest.mark.parametrize("seed", range(30))
def test_residual_is_what_the_matrix_says(seed):
    topology = sample(seed, learned=False)
    found, _ = residual_at_start(topology)
    plain = {block.ports for block in topology.blocks} <= {("in",)} and len(topology.blocks) == topology.depth
    if plain:
        wanted = np.tri(topology.depth + 1)
        assert (found == "yes") == np.array_equal(topology.matrix(), wanted)
    else:
        assert found in ("no", "yes", "scaled")


@pytest.mark.parametrize(
    ("topology", "dead"),
    [
        (families.residual(3), False),
        (families.dense(4), False),
        (families.hyper(4, streams=4), False),
        (families.hyper(1, streams=4), True),  # only stream 0 is ever read
        (families.hyper(3, streams=16), True),
        (families.ancre(4), False),
    ],
)
def test_streams_that_never_come_apart(topology, dead):
    assert (symmetries(topology)[0] > 0) == dead


def test_uniform_reads_of_copies_are_dead():
    """Two streams, written and read alike: one stream for ever, whatever is learned."""

    def streams(second):
        read = Parameter("read", ((1, second),))
        ops = (
            Block(1, ("x0",), "y1"),
            Mix(("x0", "y1"), ("a", "b"), Parameter("write", ((1, 1), (1, 1)))),
            Mix(("a", "b"), ("u",), read),
            Block(2, ("u",), "y2"),
            Mix(("u", "y2"), ("o",), ones(1, 2)),
        )
        return Topology(ops, "o", 2)

    assert symmetries(streams(1)) == (2, 6)
    assert symmetries(streams(0)) == (0, 0), "a one-hot read tells them apart"


def test_redundant_weights():
    """The first width matrix of hyper-connections reads n copies of one value: their weights are one number each
    but for the one that starts otherwise, in each of the n + 1 rows."""
    assert symmetries(families.hyper(4, streams=4)) == (0, 5 * 3)
    two = Sum((Parameter("p", ((1, 1),)), Parameter("q", ((1, 1),))))
    assert symmetries(_chain(two)) == (0, 4)
    apart = Sum((Parameter("p", ((1, 1),)), Parameter("q", ((0, 0),))))
    assert symmetries(_chain(apart)) == (0, 0)


def test_random_maps_are_all_different():
    def twice(start):
        maps = [Generated(name, (1, 2), (0,), start=start) for name in "pq"]
        return _chain(Sum((ones(1, 2), *maps)), keys=("x0",))

    assert symmetries(twice("zeros"))[1] > 0
    assert symmetries(twice("normal"))[1] == 0


@pytest.mark.parametrize("depth", [1, 2, 7, 60])
def test_paths(depth):
    assert paths(families.residual(depth)) == 2**depth
    assert paths(families.wiring(depth)) == 1
    assert paths(families.to_output(depth)) == depth + 1
    assert paths(families.hyper(depth, streams=3)) == 2**depth, "streams between two blocks are one way"
    assert paths(families.dense(depth, inner=False)) == 2**depth, "edges that may leave zero count"


def test_growth_by_hand():
    assert growth(families.residual(3)) == pytest.approx([1, math.sqrt(2), math.sqrt(3), 2])
    assert growth(families.wiring(3)) == (1, 1, 1, 1)
    assert growth(families.hyper(2, streams=4)) == pytest.approx([1, math.sqrt(2), 4 * math.sqrt(3)])
    # x0 + y1 has the root mean square sqrt 2 and is divided by it.
    assert growth(_chain(ones(1, 2), norm=Norm("n"))) == pytest.approx([1, 1])
    assert growth(_chain(Bernoulli("b", ((1, 0.25),)))) == pytest.approx([1, math.sqrt(1.25)])
    assert growth(_chain(Generated("g", (1, 2), (0,), start="normal"), keys=("x0",))) is None


def test_ancre_grows_as_measured():
    """The reference's simulation of x_{k+1} = x_k + mean(x_0 .. x_k) with blocks that give nothing: 35.8 at 8."""
    matrix = families.ancre(8).matrix()
    assert matrix[-1, 0] == pytest.approx(35.8, abs=0.05)
    assert growth(families.ancre(8))[-1] > matrix[-1, 0]


def test_all_together():
    facts = start_up(families.hyper(4, streams=2))
    assert facts.residual == "scaled"
    assert facts.rank == 5
    assert facts.paths == 16
    assert len(facts.growth) == 5
    assert facts.to_dict()["paths"] == 16
    assert start_up(families.residual(80)).to_dict()["paths"] == str(2**80)
    unknown = start_up(_chain(Generated("g", (1, 2), (0,), start="normal"), keys=("x0",)))
    assert (unknown.residual, unknown.rank, unknown.growth) == ("unknown", None, None)
    assert graphs.start_up is start_up


def test_orbits():
    assert orbits(["a", "a", "b"], [(0, 2, "x"), (1, 2, "x")]) == [[0, 1]]
    assert orbits(["a", "a", "b"], [(0, 2, "x"), (1, 2, "y")]) == []
    triangle = [(0, 1, "x"), (1, 2, "x"), (2, 0, "x")]
    assert orbits(["a"] * 3, triangle) == [[0, 1, 2]]
    assert orbits(["a", "a", "b"], triangle) == []
    # A leaf goes with the node it hangs on.
    hung = [*triangle, (0, 3, "leaf"), (1, 4, "leaf"), (2, 5, "leaf")]
    assert orbits(["a"] * 3 + ["l"] * 3, hung) == [[0, 1, 2], [3, 4, 5]]
    assert orbits(["a"] * 3 + ["l", "l", "m"], hung) == []
