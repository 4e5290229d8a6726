"""Which mixes read from the buffer, and a run of the backward schedule in exact sets."""

import pytest
from fused_models import HISTORIES, grouped, wide
from graph_samples import FAMILIES, sample

import graphs
from graphs import Block, Constant, Mix, Parameter, Topology, families
from graphs.ops.layout import BLOCK, consumers, fusible, layout_of


def test_who_gets_a_buffer():
    for make in HISTORIES.values():
        assert layout_of(graphs.lower(make())) is not None
    for name in ("residual", "to_output", "hyper", "wiring", "wiring-learned"):
        assert layout_of(graphs.lower(FAMILIES[name]())) is None, name
    assert layout_of(graphs.lower(families.hyper(8, streams=4))) is None, "each stream is read once"


def test_a_dense_average():
    layout = layout_of(graphs.lower(families.dense(12, inner=False)))
    assert (layout.slots, layout.rows, layout.waiting) == (13, 12, BLOCK)
    assert [read.slots for _, read in sorted(layout.reads.items())] == [(0, i + 2, 1) for i in range(12)]
    assert layout.only == {value for value in layout.pushes if value not in ("x0",)}
    dilated = layout_of(graphs.lower(families.dense(24, inner=False, dilation=3)))
    assert {read.slots[2] for read in dilated.reads.values() if len(read.columns) > 1} == {3}


def test_fixed_ones_are_added_as_they_are():
    layout = layout_of(graphs.lower(families.ancre(9, inner=False, temperature=0.5)))
    assert {len(read.direct) for read in layout.reads.values()} == {1}
    assert len(layout.pushes) < 19, "a block's output, read once through a one, has no slot"
    assert any(read.direct for read in layout_of(graphs.lower(grouped(14, 4))).reads.values())


def test_outputs_that_blocks_keep_are_apart():
    reads = layout_of(graphs.lower(grouped(14, 4))).reads.values()
    assert [read.apart for read in reads if len(read.rows) > 1] == [(0,)] * 4, "the first of a group has no late part"
    assert {read.apart for read in layout_of(graphs.lower(wide(7))).reads.values()} == {(0, 1), ()}


def test_unevenly_spaced_sources_are_left_to_the_pair():
    history = [f"y{i}" for i in range(1, 9)]
    ops = [Block(1, ("x0",), "y1")]
    ops += [Block(i, (f"y{i - 1}",), f"y{i}") for i in range(2, 9)]
    sets = [history[:i] for i in range(4, 9)] + [[history[0], history[1], history[4]]]
    for i, chosen in enumerate(sets):
        ops.append(Mix(tuple(chosen), (f"m{i}",), Parameter(f"w{i}", ((1,) * len(chosen),))))
    ops.append(Mix(tuple(f"m{i}" for i in range(6)), ("out",), Constant(((1,) * 6,))))
    plan = graphs.lower(Topology(tuple(ops), "out", 8))
    layout = layout_of(plan)
    assert layout is not None
    left = [mix for n, mix in enumerate(plan.mixes) if n not in layout.reads and fusible(mix)]
    assert [mix.reads for mix in left] == [("y1", "y2", "y5")]


@pytest.mark.parametrize("seed", range(40))
def test_consumers_of_samples(seed):
    plan = graphs.lower(sample(seed))
    found = consumers(plan)
    assert {(n, mix.reads[j]) for n, mix in enumerate(plan.mixes) if fusible(mix) for j in range(len(mix.reads))} == {
        (n, value) for value, places in found.items() for n, _ in places
    }


@pytest.mark.parametrize("name", HISTORIES)
def test_the_backward_schedule_moves_every_edge_once(name):
    """Follow it with sets: each source must have the row of every consumer exactly once, each weight too."""
    plan = graphs.lower(HISTORIES[name]())
    layout = layout_of(plan)
    events = _events(plan, layout)
    places: list[int | None] = [None] * layout.waiting
    received: dict[int, list[int]] = {}
    weights: list[tuple[int, int]] = []
    assert events[-1].last
    assert not any(event.last for event in events[:-1])
    for event in reversed(events):
        if hasattr(event, "slot"):
            got = received.pop(event.slot, None)
            assert (got is not None) == event.spread
            assert tuple(places[: len(event.waiting)]) == event.waiting
            weights += [(row, event.slot) for row in event.waiting]
            expected = {row for read in layout.reads.values() if event.slot in range(*read.slots) for row in read.rows}
            have = [*(got or []), *event.waiting]
            assert len(have) == len(set(have))
            assert expected <= set(have)
            continue
        if event.waits is not None:
            places[event.waits] = event.rows[0]
            if event.spread:
                assert tuple(places) == event.spread
        if event.spread:
            assert event.fresh == (not received)
            for slot in range(event.older):
                received.setdefault(slot, []).extend(event.spread)
            weights += [(row, slot) for row in event.spread for slot in range(event.older)]
    assert received == {}
    assert len(weights) == len(set(weights))
    assert {(row, slot) for read in layout.reads.values() for row in read.rows for slot in range(*read.slots)} <= set(
        weights
    )


def _events(plan, layout):
    """Reads and pushes in running order, from the plan alone."""
    events, number = [layout.pushes["x0"]] if "x0" in layout.pushes else [], 0
    for step in plan.steps:
        if isinstance(step.op, Mix):
            if number in layout.reads:
                events.append(layout.reads[number])
            number += 1
        events += [layout.pushes[value] for value in sorted(step.op.outputs) if value in layout.pushes]
    return events
