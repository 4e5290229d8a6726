import random
from collections import Counter

import pytest

from nas.records import Status
from nas.samplers.known import Known
from nas.samplers.stratified import Stratified
from nas.sampling import Told


@pytest.fixture
def sampler(make):
    def built(space, identify=None, seed=0):
        space = make(space=space).space
        return Stratified(space, seed, identify or (lambda point: space.topology(point).digest))

    return built


def drawn(sampler, count):
    """The points of so many asks in a row, each told of those before."""
    rng, history = random.Random(0), []
    for _ in range(count):
        point, source = sampler(rng, Known(history))
        history.append(Told(point, Status.COMPLETE, (0.0,), source, sampler.identify(point) or ""))
    return [told.point for told in history]


def edges_of(sampler, point):
    family = next(family for family in sampler.space.families if family.name == point.family)
    return len(family.edges_of(point))


WIRING = {"depth": 6, "families": {"wiring": {"edges": {"low": 0, "high": 21}}}}


def test_every_number_of_edges_comes_equally_often(sampler):
    one = sampler(WIRING)
    assert Counter(edges_of(one, point) for point in drawn(one, 66)) == dict.fromkeys(range(22), 3)


def test_a_budget_that_is_more_than_there_is_room_for_is_no_stratum_of_its_own(sampler):
    one = sampler({"depth": [2, 3], "families": {"wiring": {"edges": {"low": 2, "high": 99}}}})
    points = drawn(one, 10)
    assert Counter(edges_of(one, point) for point in points) == dict.fromkeys(range(2, 7), 2)
    assert {point.depth for point in points if edges_of(one, point) > 3} == {3}


def test_families_and_edits_are_strata(sampler):
    families = {"residual": {}, "hyper": {"streams": [2, 3]}, "wiring": {"edges": [1, 4]}}
    one = sampler({"depth": 3, "families": families, "edits": {"edges": 1}})
    points = drawn(one, 24)
    expected = {(name, edges): 4 for name in ("residual", "hyper") for edges in (0, 1)} | {
        ("wiring", 1): 4,
        ("wiring", 4): 4,
    }
    assert Counter((point.family, edges_of(one, point)) for point in points) == expected
    assert {point.to_dict()["hyper.streams"] for point in points if point.family == "hyper"} == {2, 3}


def test_a_family_without_free_edges_is_one_stratum(sampler):
    one = sampler({"depth": {"low": 2, "high": 5}, "families": {"residual": {}, "dense": {}, "hyper": {}}})
    points = drawn(one, 30)
    assert Counter(point.family for point in points) == dict.fromkeys(("residual", "dense", "hyper"), 10)
    assert {point.depth for point in points} == {2, 3, 4, 5}


def test_the_order_of_the_strata_is_chance_and_each_round_its_own(sampler):
    one, other = sampler(WIRING), sampler(WIRING, seed=1)
    first, second = ([edges_of(one, point) for point in part] for part in (drawn(one, 44)[:22], drawn(one, 44)[22:]))
    assert first != second
    assert first != sorted(first)
    assert [edges_of(other, point) for point in drawn(other, 22)] != first


def test_what_is_known_or_may_not_be_trained_is_drawn_again(sampler):
    space = {"depth": 3, "families": {"wiring": {"edges": 1}}}
    assert len({edges.to_dict()["wiring.priority.0-2"] for edges in drawn(sampler(space), 6)}) == 6
    one = sampler(space)
    assert len({one.identify(point) for point in drawn(one, 6)}) == 6  # all six there are
    forbidden = sampler(space, identify=lambda point: None)
    assert len(drawn(forbidden, 2)) == 2  # nothing is to be had: it is proposed, and rejected in the log
