import math
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.front import grown, nondominated_sort, pareto, signed, winner
from nas.records import Status, Trial


@dataclass(frozen=True)
class Objective:
    metric: str
    goal: str


OBJECTIVES = (Objective("accuracy", "maximize"), Objective("flops", "minimize"))
BLANK = Trial(0, Status.COMPLETE, "random", "residual", {}, "d", 0, 1.0, 1.0, 1.0, 1, 1.0)


def trial(number: int, accuracy: float, flops: float, digest: str | None = None, status=Status.COMPLETE) -> Trial:
    values = {"accuracy": accuracy, "flops": flops}
    return replace(BLANK, number=number, digest=digest or f"d{number}", status=status, objectives=values)


small = st.integers(0, 4).map(float)
points = st.integers(1, 3).flatmap(lambda n: st.lists(st.tuples(*[small] * n), max_size=14))
trials = st.lists(st.tuples(small, small, st.sampled_from("abc"), st.sampled_from(list(Status))), max_size=14).map(
    lambda rows: [trial(i, a, f, d, s) for i, (a, f, d, s) in enumerate(rows)]
)


def beats(a, b) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


@given(points)
def test_ranks_are_those_of_peeling_one_front_after_the_other(points):
    expected, left, rank = {}, set(range(len(points))), 0
    while left:
        front = {i for i in left if not any(beats(points[j], points[i]) for j in left)}
        expected |= dict.fromkeys(front, rank)
        left, rank = left - front, rank + 1
    assert nondominated_sort(points) == [expected[i] for i in range(len(points))]


@given(trials)
def test_a_front_that_grows_is_the_front_of_all(trials):
    front = ()
    for i, one in enumerate(trials):
        front = grown(front, one, OBJECTIVES)
        assert front == pareto(trials[: i + 1], OBJECTIVES)


@given(trials)
def test_front_is_what_no_complete_trial_beats(trials):
    complete = [one for one in trials if one.status is Status.COMPLETE]
    vector = {one.number: (-one.objectives["accuracy"], one.objectives["flops"]) for one in complete}
    free = [one for one in complete if not any(beats(vector[o.number], vector[one.number]) for o in complete)]
    front = pareto(trials, OBJECTIVES)
    assert {(vector[one.number], one.digest) for one in front} == {(vector[o.number], o.digest) for o in free}
    assert len({(vector[one.number], one.digest) for one in front}) == len(front)
    for one in front:
        same = [o for o in free if (vector[o.number], o.digest) == (vector[one.number], one.digest)]
        assert one.number == min(o.number for o in same)
    assert [one.number for one in front] == [
        o.number for o in sorted(front, key=lambda o: (*vector[o.number], o.number))
    ]
    assert winner(trials, OBJECTIVES) == (front[0] if front else None)


def test_equal_trials_of_two_topologies_both_stay_and_the_lower_number_wins():
    found = pareto([trial(3, 0.9, 5.0, "b"), trial(2, 0.9, 5.0, "a"), trial(4, 0.9, 5.0, "a")], OBJECTIVES)
    assert [(one.number, one.digest) for one in found] == [(2, "a"), (3, "b")]


def test_winner_breaks_ties_by_the_next_objective():
    assert winner([trial(1, 0.9, 7.0), trial(2, 0.9, 5.0), trial(3, 0.8, 1.0)], OBJECTIVES).number == 2
    assert winner([trial(1, 0.9, 7.0), trial(0, 0.9, 7.0)], OBJECTIVES[:1]).number == 0
    assert winner([], OBJECTIVES) is None


def test_trials_without_a_finite_value_take_no_part():
    bad = [trial(1, math.nan, 1.0), trial(2, math.inf, 1.0), replace(trial(3, 1.0, 1.0), objectives={})]
    assert [one.number for one in pareto([*bad, trial(4, 0.5, 9.0)], OBJECTIVES)] == [4]


def test_nan_cannot_be_ranked():
    with pytest.raises(ValueError, match="NaN"):
        nondominated_sort([(0.0, math.nan)])


@dataclass(frozen=True)
class Tolerant(Objective):
    epsilon: float | None = None


ROUGH = (Tolerant("accuracy", "maximize", 0.01), Tolerant("flops", "minimize"))


def test_what_differs_by_less_than_epsilon_does_not_differ():
    """The gain of a lucky seed does not keep a dear network on the front beside a cheap one."""
    lucky, cheap, better = trial(1, 0.902, 9.0), trial(2, 0.898, 5.0), trial(3, 0.95, 7.0)
    assert [one.number for one in pareto([lucky, cheap], OBJECTIVES)] == [1, 2]
    assert [one.number for one in pareto([lucky, cheap], ROUGH)] == [2]
    assert [one.number for one in pareto([lucky, cheap, better], ROUGH)] == [3, 2]
    same = [trial(1, 0.898, 5.0), trial(2, 0.902, 5.0)]
    assert [one.number for one in pareto(same, ROUGH)] == [2, 1]  # both stay, the better one first


@given(st.floats(-10, 10), st.floats(-10, 10), st.floats(1e-3, 5))
def test_the_grid_keeps_order_and_brings_together_what_is_near(a, b, epsilon):
    objective = Tolerant("loss", "minimize", epsilon)
    (low,), (high,) = (signed({"loss": value}, [objective]) for value in sorted((a, b)))
    assert low <= high
    assert low == round(low)
    assert (high - low) * epsilon <= abs(a - b) + epsilon * (1 + 1e-9)
    assert (high - low) * epsilon >= abs(a - b) - epsilon * (1 + 1e-9)


@given(trials, st.floats(0.1, 3))
def test_a_tolerant_front_is_beaten_by_nobody_and_transitively(trials, epsilon):
    rough = (Tolerant("accuracy", "maximize", epsilon), Tolerant("flops", "minimize"))
    complete = [one for one in trials if one.status is Status.COMPLETE]
    vectors = [signed(one.objectives, rough) for one in complete]
    front = {one.number for one in pareto(trials, rough)}
    assert bool(front) == bool(complete)
    for one, vector in zip(complete, vectors, strict=True):
        assert one.number not in front or not any(beats(other, vector) for other in vectors)
    ranks = nondominated_sort(vectors)
    assert all(ranks[i] > ranks[j] for i, a in enumerate(vectors) for j, b in enumerate(vectors) if beats(b, a))


def test_signed_is_to_be_minimised():
    assert signed({"accuracy": 0.5, "flops": 3}, OBJECTIVES) == (-0.5, 3.0)
