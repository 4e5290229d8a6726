import random

import pytest

from nas.records import Status
from nas.samplers.evolution import Evolution
from nas.samplers.known import Known
from nas.samplers.stratified import Stratified
from nas.sampling import Told
from search_space.enumeration import points
from search_space.neighbours import neighbours


@pytest.fixture
def space(make):
    return make(space={"depth": 4, "families": {"wiring": {"edges": {"low": 0, "high": 10}}}}).space


@pytest.fixture
def build(space):
    def identify(point):
        return space.topology(point).digest

    def built(population, tournament):
        warm = Stratified(space, 0, identify)
        return Evolution(space, warm, lambda values: (-values[0], values[1]), identify, population, tournament)

    return built


@pytest.fixture
def history(space):
    """Ever worse ones: the older, the better."""
    rng = random.Random(0)
    chosen = rng.sample(list(points(space)), 12)
    return [
        Told(point, Status.COMPLETE, (1.0 - i / 20, float(i)), "evolution", space.topology(point).digest)
        for i, point in enumerate(chosen)
    ]


def parents(space, sampler, history, draws=60):
    """Which of the history's points the children are one step from."""
    near = [set(neighbours(space, told.point, random.Random(0))) for told in history]
    found = []
    for seed in range(draws):
        child, source = sampler(random.Random(seed), Known(history))
        assert source == "evolution"
        found.append({i for i, around in enumerate(near) if child in around})
    return found


def test_the_old_are_dead_however_good_they_were(space, build, history):
    everybody = parents(space, build(12, 12), history)
    assert all(0 in possible for possible in everybody)  # a tournament of all has one winner
    young = parents(space, build(4, 4), history)
    assert all(8 in possible for possible in young)


def test_a_small_tournament_gives_others_a_chance(space, build, history):
    found = parents(space, build(12, 1), history, 120)
    assert sum(0 in possible for possible in found) < 60
    assert {i for possible in found for i in possible} == set(range(12))


def test_partial_results_take_no_place_in_the_population(space, build, history):
    best = Told(history[0].point, Status.PRUNED, (9.0, 0.0), "evolution", history[0].digest)
    assert all(1 in possible for possible in parents(space, build(11, 11), [best, *history[1:]]))


def test_the_first_population_is_drawn_evenly(build, history):
    assert build(13, 2)(random.Random(0), Known(history))[1] == "stratified"
    assert build(12, 2)(random.Random(0), Known(history))[1] == "evolution"


def test_where_the_best_has_no_new_neighbour_the_next_one_breeds(space, build, history):
    asked = [
        Told(point, Status.PRUNED, None, "", space.topology(point).digest)
        for point in neighbours(space, history[0].point, random.Random(0))
    ]
    child, source = build(12, 12)(random.Random(0), Known([*history, *asked]))
    assert source == "evolution"
    assert child in set(neighbours(space, history[1].point, random.Random(0)))
