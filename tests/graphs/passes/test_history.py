from importlib import import_module

import pytest
from pass_samples import differences, edges, exact_values, learned, meanings, products, streamed

from graphs import Block, Constant, Mix, Parameter, Product, Topology, families
from graphs.passes import defer, fold, prune, to_history
from graphs.passes.history import States
from graphs.topology import Norm
from graphs.weights import CHANNEL, MATRIX, Bernoulli, Grain, evaluate, ones, support, walk

module = import_module("graphs.passes.history")


@pytest.mark.parametrize("n", [2, 3, 4])
def test_streams_become_explicit_earlier_outputs(n):
    depth = 6
    topology = families.hyper(depth, streams=n)
    after = to_history(prune(fold(prune(topology))))
    readers = {**{f"u{k}": k for k in range(1, depth + 1)}, "out": depth + 1}
    sources = ["x0", *(f"y{k}" for k in range(1, depth + 1))]
    assert {mix.writes: mix.reads for mix in after.mixes} == {(u,): tuple(sources[:k]) for u, k in readers.items()}
    assert edges(after) == (depth + 1) * (depth + 2) // 2
    assert learned(after) == learned(topology)
    assert list(differences(topology, after, 0)) == []


def test_what_readers_share_is_one_object():
    """Rules grow with the depth, not with its square."""
    counts = []
    for depth in (20, 40):
        after = to_history(prune(fold(prune(families.hyper(depth, streams=2)))))
        seen: set[int] = set()
        counts.append(sum(1 for mix in after.mixes for _ in walk(mix.weight, seen)))
    assert counts[1] < 2.1 * counts[0]


def test_entries_worked_out_per_edge_do_not_grow_with_the_depth():
    counts = []
    for depth in (20, 60):
        after = to_history(defer(prune(fold(prune(families.hyper(depth, streams=4))))))
        seen: set[int] = set()
        entries = sum(
            len(support(rule)) * len(support(rule)[0]) for mix in after.mixes for rule in walk(mix.weight, seen)
        )
        counts.append(entries / edges(after))
    assert counts[1] < 1.05 * counts[0] < 40


def test_constants_are_worked_out():
    state = Mix(("x0",), ("s", "t"), Constant(((1,), (2,))))
    write = Mix(("s", "t", "y1"), ("a", "b"), Constant(((1, 1, 3), (0, 1, 4))))
    ops = (state, Block(1, ("s",), "y1"), write, Mix(("a", "b"), ("o",), Constant(((1, 10),))))
    after = to_history(Topology(ops, "o", 1))
    assert after.mixes[-1] == Mix(("x0", "y1"), ("o",), Constant(((23, 43),)))
    assert after == Topology(ops, "o", 1)


def test_the_order_of_factors_is_that_of_the_mixes():
    """Weights finer than numbers do not commute: the later mix is the left factor."""
    grain = Grain(2, full=True)
    one, two = Parameter("one", ((1, 2),), grain=grain), Parameter("two", ((3,),), grain=grain)
    ops = (Block(1, ("x0",), "y1"), Mix(("x0", "y1"), ("s",), one), Mix(("s",), ("o",), two))
    after = to_history(Topology(ops, "o", 1))
    assert after.mixes == (Mix(("x0", "y1"), ("o",), Product(two, one)),)


@pytest.mark.parametrize(
    "barrier",
    [
        Mix(("s", "t"), ("u",), Bernoulli("b", ((0.5, 0.5),))),
        Mix(("s", "t"), ("u",), ones(1, 2), norm=Norm("n")),
        Mix(("s", "t"), ("u",), Parameter("m", ((1, 1),), grain=MATRIX)),
    ],
)
def test_what_is_drawn_normed_or_a_matrix_counts_as_a_source(barrier):
    p = Parameter("p", ((1,), (2,)))
    ops = (
        Mix(("x0",), ("s", "t"), p),
        barrier,
        Mix(("u", "t"), ("v", "w"), Parameter("q", ((1, 2), (3, 4)))),
        Block(1, ("v",), "y1"),
        Mix(("w", "y1"), ("o",), Parameter("r", ((1, 1),))),
    )
    after = to_history(Topology(ops, "o", 1))
    by_output = {mix.writes: mix.reads for mix in after.mixes}
    assert by_output[("s", "t")] == ("x0",)
    assert by_output[("u",)] == ("s", "t")
    assert by_output[("v",)] == ("x0", "u")
    assert by_output[("o",)] == ("x0", "u", "y1")


def test_keys_and_the_output_are_readers():
    state = Mix(("x0",), ("s", "t"), Parameter("p", ((1,), (2,))))
    then = Mix(("s", "t"), ("o", "k"), Parameter("q", ((1, 2), (3, 4))))
    from graphs.weights import Generated

    dynamic = Mix(("y1",), ("z",), Generated("g", (1, 1), (0,)), ("k",))
    topology = Topology((state, then, Block(1, ("o",), "y1"), dynamic, Block(2, ("z",), "y2")), "t", 2)
    after = to_history(topology)
    assert {mix.writes for mix in after.mixes} == {("t",), ("o", "k"), ("z",)}


def test_sources_that_cancel_leave_a_zero():
    ops = (
        Block(1, ("x0",), "y1"),
        Mix(("x0", "y1"), ("s", "t"), Constant(((1, 0), (1, 0)))),
        Mix(("s", "t"), ("o",), Constant(((1, -1),))),
    )
    after = to_history(Topology(ops, "o", 1))
    assert after.mixes == (Mix(("x0",), ("o",), Constant(((0,),))),)


def test_segments_are_what_values_join():
    two = Topology(
        (
            Mix(("x0",), ("a", "b"), Parameter("p", ((1,), (1,)))),
            Mix(("a", "b"), ("u",), Parameter("q", ((1, 1),))),
            Block(1, ("u",), "y1"),
            Mix(("y1",), ("c", "d"), Parameter("r", ((1,), (1,)))),
            Mix(("c", "d"), ("v",), Parameter("s", ((1, 1),))),
            Block(2, ("v",), "y2"),
            Mix(("x0", "y2"), ("alone",), ones(1, 2)),
        ),
        "alone",
        2,
    )
    state = States(two)
    assert [[mix.writes for mix in segment] for segment in state.segments] == [
        [("a", "b"), ("u",)],
        [("c", "d"), ("v",)],
    ]
    assert state.wanted == {"u", "v", "alone"}
    one = state.replaced(state.history(state.segments[1]))
    assert [mix.writes for mix in one.mixes] == [("a", "b"), ("u",), ("v",), ("alone",)]
    assert list(differences(two, one, 0)) == []


def test_channel_gains_stay_channel_gains():
    topology = families.layerscale(4)
    after = to_history(prune(fold(prune(topology))))
    assert {mix.weight.grain for mix in after.mixes} == {CHANNEL}
    assert list(differences(topology, after, 0)) == []


@pytest.mark.parametrize("fault", ["swapped", "dropped"])
def test_faults_in_the_rows_are_caught(fault, monkeypatch):
    moved = module.moved

    def faulty(weight, shape, cells):
        if fault == "dropped":
            return moved(weight, shape, cells[1:])
        columns = [j for _, j, _, _ in cells]
        return moved(weight, shape, [(i, min(columns) + max(columns) - j, a, b) for i, j, a, b in cells])

    monkeypatch.setattr(module, "moved", faulty)
    caught = seen = 0
    for seed in range(40):
        topology = prune(streamed(seed))
        values = exact_values(topology, seed)
        after = to_history(topology)
        if after.depth < 3:
            continue
        seen += 1
        caught += meanings(after, values) != meanings(topology, values)
    assert seen > 15
    assert caught > 0.8 * seen


def test_history_form_stays_as_it_is():
    for seed in range(20):
        topology = products(seed)
        assert to_history(topology) is topology


def test_evaluation_agrees_at_the_start():
    topology = families.mhc(3, streams=2, dynamic=False)
    after = to_history(prune(topology))
    rows = {mix.writes[0]: evaluate(mix.weight) for mix in after.mixes}
    assert all(abs(sum(row[0]) - round(float(sum(row[0])), 6)) < 1e-4 for row in rows.values())
