from importlib import import_module

import pytest
from pass_samples import differences, edges, hyper_history, learned, streamed

from graphs import Block, Mix, Parameter, Topology, families, lower
from graphs.passes import defer, fold, forms, group, prune, to_history, to_streams
from graphs.passes.forms import MAX_ORIGINS
from graphs.traffic import traffic
from graphs.weights import Generated, beside, ones, pick

module = import_module("graphs.passes.forms")


def _states(topology):
    return defer(prune(fold(prune(topology))))


def _streams(topology, n):
    """How many mixes carry n streams on."""
    return sum(len(mix.writes) == n + 1 for mix in topology.mixes)


@pytest.mark.parametrize(
    ("depth", "n"), [(d, n) for n in (2, 4, 8) for d in (1, 3, 8, 16, 24, 48, 72) if n < 8 or d < 48]
)
def test_of_the_forms_the_one_that_moves_least(depth, n):
    """Whichever form it is written in: streams, or products over the whole history."""
    state = families.hyper(depth, streams=n)
    written = {"state": state, "history": to_history(prune(fold(prune(state))))}
    as_streams = traffic(group(_states(state)))
    as_history = traffic(group(to_history(prune(fold(prune(state))))))
    for topology in written.values():
        lowered = lower(topology).topology
        assert traffic(lowered) == min(as_streams, as_history)
        assert learned(lowered) == learned(state)
        if as_streams < as_history:
            assert _streams(lowered, n) >= depth - 1
        elif as_history < as_streams and depth > 1:
            assert {reader for mix in lowered.mixes for reader in mix.reads if reader[0] != "h"} >= {"x0", "y1"}
            assert all(source[0] != "h" or len(mix.writes) == 1 for mix in lowered.mixes for source in mix.reads)


def test_short_is_history_and_long_is_streams():
    """Four streams move 5 (n + 1) = 25 a block; a history grows with the depth, slowly once it is grouped."""
    history, crossing = [], None
    for depth in (2, 3, 6, 12, 24, 40, 55, 75, 90):
        streams = traffic(_states(families.hyper(depth, streams=4)))
        explicit = traffic(group(to_history(prune(fold(prune(families.hyper(depth, streams=4)))))))
        history.append(explicit < streams)
        if crossing is None and explicit >= streams:
            crossing = depth
    assert history == sorted(history, reverse=True), "one crossing"
    assert crossing is not None
    assert crossing == 75
    assert lower(families.hyper(3, streams=4)).topology.mixes[1].reads == ("x0", "y1")
    assert _streams(lower(families.hyper(96, streams=4)).topology, 4) == 96
    two = [traffic(lower(families.hyper(48, streams=2)).topology), traffic(_states(families.hyper(48, streams=2)))]
    assert two[0] == two[1], "two streams are fewer: at 48 blocks they stay"


@pytest.mark.parametrize(("depth", "n"), [(96, 4), (48, 2)])
def test_a_product_history_comes_back_to_its_streams(depth, n):
    topology = hyper_history(depth, n)
    lowered = lower(topology).topology
    assert traffic(lowered) == traffic(defer(prune(fold(prune(to_streams(topology))))))
    assert all(len(mix.reads) == n + 1 and len(mix.writes) == n + 1 for mix in lowered.mixes[2:-1])
    assert learned(lowered) == learned(topology)
    assert edges(lowered) < 2 * edges(families.hyper(depth, streams=n))


def test_a_product_history_stays_where_it_is_short():
    topology = hyper_history(3, 4)
    lowered = lower(topology).topology
    assert {len(mix.writes) for mix in lowered.mixes} == {1}
    assert [len(mix.reads) for mix in lowered.mixes] == [1, 2, 3, 4]


def test_each_segment_has_its_own_form():
    """Two wide streams: one for three blocks, and after a barrier one for many."""
    ops, block = [], 0

    def run(source, count, n, tag):
        nonlocal block
        state = [f"{tag}0_{i}" for i in range(n)]
        ops.append(Mix((source,), tuple(state), Parameter(f"{tag}expand", ((1,),) * n)))
        for _ in range(count):
            block += 1
            width = tuple(tuple(1 for _ in range(n)) for _ in range(n + 1))
            carried = [f"{tag}g{block}_{i}" for i in range(n)]
            ops.append(Mix(tuple(state), (f"u{block}", *carried), Parameter(f"{tag}width{block}", width)))
            ops.append(Block(block, (f"u{block}",), f"y{block}"))
            state = [f"{tag}s{block}_{i}" for i in range(n)]
            write = beside(Parameter(f"{tag}write{block}", ((1,),) * n), pick(ones(n, n)))
            ops.append(Mix((f"y{block}", *carried), tuple(state), write))
        ops.append(Mix(tuple(state), (f"{tag}out",), Parameter(f"{tag}collapse", ((1,) * n,))))
        return f"{tag}out"

    value = run("x0", 3, 4, "a")
    ops.append(Mix((value,), ("gate",), Generated("g", (1, 1), (0,), start="zeros"), (value,)))
    out = run("gate", 60, 2, "b")
    topology = Topology(tuple(ops), out, block)
    lowered = lower(topology).topology
    by_block = {op.reads[0]: op.number for op in lowered.blocks}
    for mix in lowered.mixes:
        for value, number in by_block.items():
            if value in mix.writes:
                assert len(mix.writes) == (1 if number <= 3 else 3), number
    assert traffic(lowered) < traffic(group(_states(topology)))
    assert list(differences(topology, lowered, 0)) == []


def test_what_is_a_history_already_is_not_multiplied_out(monkeypatch):
    """An average of averages of all ages has a state as long as its history."""
    monkeypatch.setattr(module.States, "history", None)
    for topology in (families.dense(30), families.residual(300), families.hyper(300), families.ancre(30)):
        state = _states(topology)
        assert forms(state) is state
    assert MAX_ORIGINS == 2


def test_ties_stay_as_they_are():
    for topology in (families.residual(2), families.to_output(6), families.dense(5, inner=False)):
        pruned = prune(fold(prune(topology)))
        assert forms(pruned) is pruned


def test_random_streams_take_the_least_of_the_forms():
    for seed in range(40):
        topology = _states(streamed(seed))
        candidates = [topology, to_history(topology), to_streams(topology)]
        assert traffic(group(forms(topology))) <= min(traffic(group(defer(prune(form)))) for form in candidates)


def test_the_work_is_counted_before_anything_is_multiplied(monkeypatch):
    """At a depth where history cannot win, nothing is multiplied to find that out."""
    calls = []
    monkeypatch.setattr("graphs.passes.history.multiply", lambda *pair: calls.append(pair))
    state = _states(families.hyper(400, streams=4))
    assert forms(state) is state
    assert calls == []
