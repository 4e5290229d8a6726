from importlib import import_module

import pytest
from pass_samples import differences, exact_values, learned, meanings, streamed

from graphs import Block, Constant, Mix, Parameter, Product, Topology, families, lower
from graphs.passes import defer, fold, prune
from graphs.plan import steps_of
from graphs.topology import Norm
from graphs.traffic import Traffic, traffic
from graphs.weights import Bernoulli, ones

module = import_module("graphs.passes.defer")
P, Q = Parameter("p", ((1, 2), (3, 4))), Parameter("q", ((5, 6), (7, 8)))
Y1, Y2 = Block(1, ("x0",), "y1"), Block(2, ("y1",), "y2")


@pytest.mark.parametrize("n", [2, 4, 8])
def test_a_seam_of_hyper_connections_reads_and_writes_n_and_one(n):
    depth = 200 // n  # deep enough for streams
    topology = families.hyper(depth, streams=n)
    state = prune(defer(prune(fold(prune(topology)))))
    assert len(state.mixes) == depth + 1, "expand and read, a seam between two blocks, write and collapse"
    for k, seam in enumerate(state.mixes[1:-1], start=1):
        assert (len(seam.reads), len(seam.writes)) == (n + 1, n + 1)
        width, write = (mix.weight for mix in topology.mixes[2 * k : 2 * k + 2][::-1])
        assert seam.weight == Product(width, write)
    count = Traffic(state.mixes[1:-1]), Traffic(state.mixes[1:2])
    assert count[1].forward == 2 * n + 2
    seams = Traffic([op for op in state.ops if op not in (state.mixes[0], state.mixes[-1])])
    assert seams.forward == (depth - 1) * (2 * n + 2)
    assert seams.backward == (depth - 1) * (3 * n + 3), "read a gradient and a source, write a gradient, for each"
    assert learned(state) == learned(topology)


def test_two_mixes_become_a_product_of_theirs():
    first, second = Mix(("y1", "y2"), ("a", "b"), P), Mix(("a", "b"), ("c", "o"), Q)
    after = defer(Topology((Y1, Y2, first, second), "o", 2))
    assert after.mixes == (Mix(("y1", "y2"), ("c", "o"), Product(Q, P)),)


def test_the_order_of_sources_does_not_matter():
    first, second = Mix(("y1", "y2"), ("a", "b"), P), Mix(("b", "a"), ("c", "o"), Q)
    topology = Topology((Y1, Y2, first, second), "o", 2)
    after = defer(topology)
    assert len(after.mixes) == 1
    assert list(differences(topology, after, 0)) == []


def test_constants_stay_constants():
    first, second = Mix(("y1", "y2"), ("a", "b"), Constant(((1, 2), (3, 4)))), Mix(("a", "b"), ("o",), ones(1, 2))
    (mix,) = defer(Topology((Y1, Y2, first, second), "o", 2)).mixes
    assert mix == Mix(("y1", "y2"), ("o",), Constant(((4, 6),)))
    kept = Mix(("y1", "y2"), ("a",), Constant(((1, 2),)))
    third = Mix(("a", "y1"), ("k",), Constant(((2, 1),)))
    ops = (Y1, Y2, kept, third, Block(3, ("k", "a"), "y3", ("k", "v")))
    (mix,) = defer(Topology(ops, "y3", 3)).mixes
    assert mix == Mix(("y1", "y2"), ("a", "k"), Constant(((1, 2), (3, 4)))), "a is read on, so it is written too"


def test_a_value_that_is_read_elsewhere_stays_written():
    """The read of a block joins the write before it: the state is read once for both."""
    state = Mix(("y1", "x0"), ("s", "t"), P)
    read = Mix(("s", "t"), ("u",), Parameter("r", ((1, 2),)))
    tail = Mix(("s", "t", "y2"), ("o",), Parameter("w", ((1, 2, 3),)))
    topology = Topology((Y1, state, read, Block(2, ("u",), "y2"), tail), "o", 2)
    after = defer(topology)
    assert [mix.writes for mix in after.mixes] == [("s", "t", "u"), ("o",)]
    assert traffic(after) < traffic(topology)
    assert list(differences(topology, after, 0)) == []


@pytest.mark.parametrize(
    "second",
    [
        Mix(("a", "b"), ("o",), ones(1, 2), norm=Norm("n")),
        Mix(("a", "b"), ("o",), Bernoulli("d", ((0.5, 0.5),))),
    ],
)
def test_what_is_drawn_or_normed_is_not_joined(second):
    topology = Topology((Y1, Y2, Mix(("y1", "y2"), ("a", "b"), P), second), "o", 2)
    assert defer(topology) is topology


def test_a_wide_consumer_of_one_sum_is_not_looked_into():
    """An average over a long history reads one sum among many sources; joining them saves nothing."""
    topology = prune(fold(prune(families.dense(12))))
    after = defer(topology)
    assert [len(mix.writes) for mix in after.mixes] == [1] * len(after.mixes)
    assert traffic(after) <= traffic(topology)


def test_what_does_not_lower_the_traffic_is_not_done():
    """Many sources summed into one value that many read: joined, each of them would be multiplied for every reader."""
    sources = tuple(f"y{k}" for k in range(1, 13))
    chain = [Block(k, ("x0" if k == 1 else f"y{k - 1}",), f"y{k}") for k in range(1, 13)]
    total = Mix(sources, ("s",), Parameter("p", ((1,) * 12,)))
    spread = Mix(("s",), ("a", "b", "c"), Parameter("q", ((1,), (2,), (3,))))
    topology = Topology((*chain, total, spread, Block(13, ("a", "b", "c"), "y13", ("k", "q", "v"))), "y13", 13)
    after = defer(topology)
    assert traffic(after) <= traffic(topology)
    assert after is topology


def test_steps_of_a_plan_show_one_line_a_seam():
    plan = lower(families.hyper(100, streams=2))
    seams = [step for step in steps_of(plan.topology) if isinstance(step.op, Mix)]
    assert len(seams) == 101
    assert all((step.reads, step.writes) == (3, 3) for step in seams[1:-1])


@pytest.mark.parametrize("fault", ["swapped", "dropped", "transposed"])
def test_faults_in_the_product_are_caught(fault, monkeypatch):
    joined = module.joined

    def faulty(first, second, kept):
        mix = joined(first, second, kept)
        if fault == "swapped":
            return Mix(mix.reads[::-1], mix.writes, mix.weight)
        if fault == "dropped":
            keep = Constant(tuple(tuple(int(i == j > 0) for j in range(len(mix.reads))) for i in range(len(mix.reads))))
            return Mix(mix.reads, mix.writes, Product(mix.weight, keep))
        return Mix(mix.reads, mix.writes[::-1], mix.weight)

    monkeypatch.setattr(module, "joined", faulty)
    caught = seen = 0
    for seed in range(60):
        topology = prune(streamed(seed))
        after = defer(topology)
        if after is not topology and any(len(mix.reads) > 1 and len(mix.writes) > 1 for mix in after.mixes):
            values = exact_values(topology, seed)
            seen += 1
            caught += meanings(after, values) != meanings(topology, values)
    assert seen > 20
    assert caught >= 0.9 * seen
