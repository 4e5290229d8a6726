import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.experiment import Halving
from nas.halving import rung_fractions, rungs_at
from nas.layers import Layers

HALF = Halving(rungs=3, keep=0.5)


def test_rungs_are_powers_of_what_is_kept():
    assert rung_fractions(None) == ()
    assert rung_fractions(HALF) == (0.25, 0.5)
    assert rung_fractions(Halving(rungs=4, keep=0.1)) == pytest.approx((0.001, 0.01, 0.1))


@pytest.mark.parametrize(
    ("halving", "steps", "expected"),
    [
        (HALF, 100, (25, 50)),
        (HALF, 101, (25, 50)),
        (HALF, 4, (1, 2)),
        (HALF, 3, ()),  # no step is near 0.75 or 1.5
        (HALF, 2, (1,)),  # step 1 is half of the budget, and not a quarter
        (HALF, 10, (5,)),  # 2 is a fifth less than 2.5
        (HALF, 19, (5, 10)),  # within a tenth of 4.75 and 9.5
        (HALF, 1, ()),  # the only step is the end
        (Halving(rungs=2, keep=0.99), 10, ()),
        (None, 100, ()),
    ],
)
def test_the_steps_of_the_rungs(halving, steps, expected):
    assert tuple(sorted(set(rungs_at(halving, steps).values()))) == expected


# Vectors to be minimised: 1 and 2 are the front, 3 is beaten by 1, 4 by 1, 2 and 3.
RUNG = {1: (0.1, 5.0), 2: (0.2, 4.0), 3: (0.3, 5.0), 4: (0.4, 6.0)}


def test_the_front_goes_on_however_little_is_kept():
    assert Layers(RUNG).goes_on(1, 0.01)
    assert Layers(RUNG).goes_on(2, 0.01)
    assert not Layers(RUNG).goes_on(3, 0.01)
    assert not Layers(RUNG).goes_on(4, 0.01)


def test_the_best_share_goes_on_by_front_and_then_by_the_first_objective():
    assert Layers(RUNG).goes_on(3, 0.75)  # place 3 of the ceil(0.75 * 4) = 3 kept
    assert not Layers(RUNG).goes_on(3, 0.5)
    assert not Layers(RUNG).goes_on(4, 0.75)
    assert Layers(RUNG).goes_on(4, 0.76)  # ceil(3.04) = 4


def test_the_first_to_arrive_goes_on():
    assert Layers({7: (9.0, 9.0)}).goes_on(7, 0.01)


def test_equal_vectors_do_not_stop_each_other():
    same = {1: (1.0, 1.0), 2: (1.0, 1.0), 3: (1.0, 1.0)}
    assert all(Layers(same).goes_on(number, 0.01) for number in same)


def test_ties_within_a_front_go_to_the_lower_number():
    rung = {1: (0.0, 0.0), 2: (1.0, 1.0), 3: (1.0, 1.0), 4: (2.0, 2.0)}
    assert Layers(rung).goes_on(2, 0.5)
    assert not Layers(rung).goes_on(3, 0.5)


@given(st.integers(2, 6), st.floats(0.05, 0.95), st.integers(1, 3000))
def test_a_rung_is_the_same_share_of_everybodys_compute(rungs, keep, steps):
    """Matched by FLOPs: a rung keeps its place, however many of the others a trial has no part in."""
    halving = Halving(rungs=rungs, keep=keep)
    fractions = rung_fractions(halving)
    found = rungs_at(halving, steps)
    for place, step in found.items():
        assert 1 <= step < steps
        assert abs(step / steps - fractions[place]) <= 0.1 * fractions[place] + 1e-12
    for place, fraction in enumerate(fractions):  # it is left out only where no step will do
        if place not in found:
            near = [step for step in range(1, steps) if abs(step - fraction * steps) < 0.0999 * fraction * steps]
            assert near == []


def test_trials_of_few_steps_keep_the_places_of_the_rungs():
    assert rungs_at(HALF, 100) == {0: 25, 1: 50}
    assert rungs_at(HALF, 10) == {1: 5}  # and not rung 0 at half of the budget
    assert rungs_at(Halving(rungs=3, keep=0.95), 11) == {0: 10, 1: 10}
