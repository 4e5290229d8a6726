"""Which mixes form seams, and how seams follow each other. No torch is needed for it."""

import math
from dataclasses import replace

import pytest
from graph_samples import FAMILIES, sample
from seam_models import FAMILY_SEAMS, HAND_SEAMS, fractions, hybrid

import graphs
from graphs import families
from graphs.ops.seams import links_of, seams_of
from graphs.plan import Plan, steps_of


def seams(topology):
    plan = graphs.lower(topology)
    return plan, seams_of(plan)


@pytest.mark.parametrize("name", FAMILY_SEAMS)
def test_every_mix_of_hyper_connections_is_in_a_seam(name):
    topology = FAMILY_SEAMS[name]()
    plan, found = seams(topology)
    numbers = [n for seam in found for n in (seam.depth, seam.width) if n is not None]
    assert len(numbers) == len(set(numbers))
    assert {n for n, mix in enumerate(plan.mixes) if mix.weight.per_token} <= set(numbers)
    assert len(found) == topology.depth + 1, "one before each block and one after the last"
    spoken = [n for seam in found for n in seam.later]
    written = [seam.depth for seam in found if seam.depth is not None and plan.mixes[seam.depth].weight.per_token]
    assert spoken == written, "each depth mix has its weights from the seam before"
    for seam in found[1:-1]:
        assert bool(seam.kept) == name.startswith("mhc-identity"), "the state is nowhere else unless it is carried on"
    assert found[0].kept == ()
    # Of a block's input that the wiring normalises the norm is the seam's, and the value before it nowhere else.
    norms = [n for n, mix in enumerate(plan.mixes) if mix.norm is not None]
    assert [seam.norm for seam in found[1:-1]] == (norms[1:] if norms else [None] * (topology.depth - 1))
    for seam in found[1:-1] if norms else ():
        assert seam.outputs[0] == plan.mixes[seam.norm].writes[0]
        assert seam.outputs[0] in [value for block in plan.topology.blocks for value in block.reads]


@pytest.mark.parametrize("name", [*FAMILIES])
def test_static_mixes_are_left_alone(name):
    plan, found = seams(FAMILIES[name]())
    for seam in found:
        both = [plan.mixes[n] for n in (seam.depth, seam.width) if n is not None]
        assert any(mix.weight.per_token for mix in both)
        assert not any(mix.weight.random for mix in both)


def test_a_norm_whose_value_others_read_stays_a_mix():
    """Also one that does more than that: another weight than one, or two sources."""
    *ops, last = families.mhc(3, streams=2, pre_norm=True).ops
    number = next(i for i, op in enumerate(ops) if isinstance(op, graphs.Mix) and op.norm and op.norm.name == "norm2")
    norm = ops[number]
    for other in (
        replace(norm, weight=graphs.Constant(((2,),))),
        replace(norm, reads=(norm.reads[0], "y1"), weight=graphs.Constant(((1, 1),))),
    ):
        topology = graphs.Topology((*ops[:number], other, *ops[number + 1 :], last), "out", 3)
        found = seams_of(plan_as_it_is(topology))
        assert number_of(topology, other) not in [seam.norm for seam in found]
    twice = (*ops, replace(last, reads=(*last.reads, norm.reads[0]), weight=graphs.Constant(((1, 1, 1),))))
    topology = graphs.Topology(twice, "out", 3)
    assert number_of(topology, norm) not in [seam.norm for seam in seams_of(plan_as_it_is(topology))]
    assert number_of(topology, norm) in [
        seam.norm for seam in seams_of(plan_as_it_is(families.mhc(3, streams=2, pre_norm=True)))
    ]


def plan_as_it_is(topology):
    """Without passes."""
    return Plan(topology, steps_of(topology), topology)


def number_of(topology, mix):
    return plan_as_it_is(topology).mixes.index(mix)


def test_who_has_none():
    for topology in (
        families.hyper(4, streams=4),
        families.mhc(4, streams=3, dynamic=False),
        families.attnres(4),
        fractions(),
        families.dense(4),
    ):
        assert seams(topology)[1] == ()


@pytest.mark.parametrize("name", HAND_SEAMS)
def test_by_hand(name):
    plan, found = seams(HAND_SEAMS[name]())
    assert len(found) >= 4
    for seam in found:
        if seam.depth is not None:
            assert seam.state == plan.mixes[seam.depth].writes


def test_states_that_others_read_are_kept():
    """A norm of block inputs carries the state itself on; the output may be one of the last state's values."""
    _, found = seams(hybrid(norm="rms"))
    assert [seam.kept for seam in found] == [(0, 1)] * 4 + [()]
    plan, found = seams(hybrid(n=3, collapse=False))
    assert found[-1].width is None
    assert plan.topology.output in found[-1].outputs


@pytest.mark.parametrize("seed", range(60))
def test_samples(seed):
    """No value is written twice, and everything a seam reads exists when it runs."""
    plan = graphs.lower(sample(seed))
    found = seams_of(plan)
    at = {(seam.width if seam.depth is None else seam.depth): seam for seam in found}
    inside = {n for seam in found for n in (seam.depth, seam.width) if n is not None}
    alive, number = {plan.topology.stem}, 0
    for step in plan.steps:
        if not hasattr(step.op, "weight"):
            assert set(step.op.reads) <= alive
            alive.add(step.op.writes)
            continue
        seam = at.get(number)
        if seam is not None:
            assert set(seam.reads) <= alive
            assert not set(seam.outputs) & alive
            alive |= set(seam.outputs)
        elif number not in inside:
            assert set(step.op.uses) <= alive
            alive |= set(step.op.writes)
        number += 1
    assert plan.topology.output in alive


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_segments_of_a_size(size):
    found = seams(families.mhc(11, streams=2))[1]
    links = links_of(found, size)
    assert [link.place for link in links] == [i % size for i in range(12)]
    assert [link.last for link in links] == [i % size == size - 1 or i == 11 for i in range(12)]
    for i, link in enumerate(links[1:], start=1):
        assert link.before == i - 1
        for place, given in zip(link.carried, link.given, strict=True):
            assert found[i].reads[place] == found[i - 1].outputs[given]


@pytest.mark.parametrize(("n", "depth"), [(2, 12), (4, 24), (4, 48), (8, 48)])
def test_the_size_chosen_needs_least(n, depth):
    links = links_of(seams(families.mhc(depth, streams=n))[1], True)
    size = 1 + max(link.place for link in links)

    def needed(s):
        return n * math.ceil(depth / s) + (n + 2) * s

    assert needed(size) <= 1.1 * min(needed(s) for s in range(1, depth + 1))


def test_all_states_are_kept_without_recompute():
    for recompute in (False, 0, 1):
        assert {link.place for link in links_of(seams(families.hyper(6, dynamic=True))[1], recompute)} == {0}
