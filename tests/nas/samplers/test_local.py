import random

import pytest

from nas.records import Status
from nas.samplers.known import Known
from nas.samplers.local import WARM_UP, Local
from nas.samplers.stratified import Stratified
from nas.sampling import Told
from search_space.enumeration import points, with_edges
from search_space.neighbours import neighbours


@pytest.fixture
def space(make):
    return make(space={"depth": 4, "families": {"wiring": {"edges": {"low": 0, "high": 10}}}}).space


@pytest.fixture
def sampler(space):
    def identify(point):
        return space.topology(point).digest

    return Local(space, Stratified(space, 0, identify), lambda values: (-values[0], values[1]), identify)


def point(space, *edges):
    return with_edges(space.families[0], 4, {"wiring.learned": False}, edges)


def told(space, where, accuracy, cost, status=Status.COMPLETE):
    return Told(where, status, (accuracy, cost), "local", space.topology(where).digest)


def filled(space, *best):
    """Enough complete trials, of which only ``best`` are on the front."""
    rest = [point(space, *((0, 2), (0, 3), (0, 4), (1, 4))[:number]) for number in range(1, 5)]
    rest += [point(space, (2, 4), *((0, 2), (0, 3), (0, 4), (1, 4))[:number]) for number in range(1, 5)]
    return [*best, *(told(space, one, 0.1, 99.0) for one in rest), *(told(space, one, 0.1, 99.0) for one in rest[:2])]


def test_it_moves_one_step_from_the_front(space, sampler):
    cheap, good = point(space), point(space, (0, 5), (1, 5), (2, 5))
    history = filled(space, told(space, cheap, 0.5, 1.0), told(space, good, 0.9, 2.0))
    near = {one: set(neighbours(space, one, random.Random(0))) for one in (cheap, good)}
    counts = dict.fromkeys(near, 0)
    for seed in range(60):
        found, source = sampler(random.Random(seed), Known(history))
        assert source == "local"
        for one, around in near.items():
            counts[one] += found in around
    assert sum(counts.values()) == 60
    assert min(counts.values()) > 15  # every part of the front


def test_partial_results_do_not_draw_it(space, sampler):
    """A stopped trial with the best figures of all is not on the front."""
    good, partial = point(space, (0, 5)), point(space, (1, 3), (1, 4), (2, 5), (3, 5))
    history = filled(space, told(space, good, 0.9, 1.0))
    history.append(told(space, partial, 0.99, 0.5, Status.PRUNED))
    near = set(neighbours(space, good, random.Random(0)))
    assert all(sampler(random.Random(seed), Known(history))[0] in near for seed in range(30))


def test_what_was_asked_for_is_not_asked_again_and_an_exhausted_front_is_left(space, sampler):
    good = point(space)
    history = filled(space, told(space, good, 0.9, 1.0))
    known = {one.digest for one in history}
    for number in range(12):
        found, source = sampler(random.Random(number), Known(history))
        digest = space.topology(found).digest
        assert digest not in known
        assert source == ("local" if number < 9 else "stratified"), number  # 10 edges can be added, one is known
        known.add(digest)
        history.append(told(space, found, 0.0, 99.0))


def test_it_warms_up_until_enough_is_complete(space, sampler):
    rest = list(points(space))[:40]
    history = [told(space, one, 0.5, 1.0, Status.PRUNED) for one in rest[:30]]
    history += [told(space, one, 0.5, 1.0) for one in rest[30 : 29 + WARM_UP]]
    assert sampler(random.Random(0), Known(history))[1] == "stratified"
    history += [told(space, rest[39], 0.5, 1.0)]
    assert sampler(random.Random(0), Known(history))[1] == "local"
