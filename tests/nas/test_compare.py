import math
from itertools import product

import pytest

from nas.compare import Advantage, advantage, bootstrap, compare, detectable, seeds_for, student


def test_the_bootstrap_by_hand_of_three_values():
    # All 27 samples of (0, 3, 6). Expanded to Student's t with two degrees of freedom, 4.3027 * sqrt(3/2) = 5.27 sd,
    # the 2.5 % percentile moves to 7e-8: the extreme samples (0, 0, 0) and (6, 6, 6).
    assert bootstrap([0.0, 3.0, 6.0]) == (0.0, 6.0)


def test_the_bootstrap_by_hand_of_five_values():
    # t with 4 degrees of freedom is 2.7764; times sqrt(5/4) it is 3.1041, of which the normal tail is 0.000954; of
    # 5^5 = 3125 samples that is 2.98, so the third from either end. Mean 0 once; then 1/5 five times.
    values = [0.0, 1.0, 2.0, 3.0, 4.0]
    means = sorted(sum(sample) / 5 for sample in product(values, repeat=5))
    assert means[:7] == [0.0, *[0.2] * 5, 0.4]
    assert bootstrap(values) == pytest.approx((means[2], means[-3]))
    assert bootstrap(values) == pytest.approx((0.2, 3.8))


def test_the_bootstrap_of_many_values_is_near_students_interval_and_always_the_same():
    values = [math.sin(17 * n) for n in range(40)]
    low, high = bootstrap(values)
    expected = student(values)
    assert (low, high) == pytest.approx(expected, abs=0.03)
    assert bootstrap(values) == (low, high)
    assert bootstrap([2.0] * 9) == (2.0, 2.0)


def test_students_interval_by_hand():
    # Differences 0.01, 0.02, 0.03: mean 0.02, sd 0.01; t at 97.5 % with two degrees of freedom is 4.302653.
    half = 4.302653 * 0.01 / 3**0.5
    assert student([0.01, 0.02, 0.03]) == pytest.approx((0.02 - half, 0.02 + half), rel=1e-6)


def test_a_comparison_is_paired():
    # Seeds that are good for one are good for the other: the spread of either does not count.
    found = compare([0.5, 0.6, 0.7, 0.8, 0.9], [0.49, 0.58, 0.69, 0.78, 0.89])
    assert (found.seeds, found.mean, found.baseline_mean) == (5, pytest.approx(0.7), pytest.approx(0.686))
    assert found.difference == pytest.approx(0.014)
    assert found.word == "better"
    assert found.low > 0


@pytest.mark.parametrize(
    ("gaps", "gain", "word"),
    [
        ([0.02, 0.021, 0.019, 0.02, 0.02], 1, "better"),
        ([-0.02, -0.021, -0.019, -0.02, -0.02], 1, "worse"),
        ([-0.02, -0.021, -0.019, -0.02, -0.02], -1, "better"),  # a loss
        ([0.02, -0.02, 0.03, 0.01, -0.01], 1, "no difference shown"),
        ([0.0, 0.0, 0.0, 0.0, 0.0], 1, "no difference shown"),
        # One that is bad enough: Student's interval excludes zero, the bootstrap's third sample from below does not.
        ([0.1, 0.1, 0.1, 0.1, -0.03], 1, "no difference shown"),
        # All are positive, so that the bootstrap's interval excludes zero, but three seeds are too few for Student's.
        ([0.01, 0.02, 0.03], 1, "no difference shown"),
    ],
)
def test_better_is_said_only_where_zero_is_outside(gaps, gain, word):
    found = compare([0.5 + gap for gap in gaps], [0.5] * len(gaps), gain)
    assert found.word == word
    assert found.excludes_zero == (word != "no difference shown")


def test_few_seeds_need_both_intervals():
    found = compare([0.51, 0.52, 0.53], [0.5] * 3)
    assert found.low > 0 > found.t_low


def test_below_two_seeds_there_is_no_interval():
    assert compare([0.5], [0.4]) is None
    assert compare([], []) is None


def test_power():
    # With sd 0.35 and a difference of 0.5 that is 8 seeds (7.7).
    assert seeds_for(0.35, 0.5) == 8
    assert detectable(0.35, 8) == pytest.approx(0.49, abs=0.005)
    assert seeds_for(0.35, 0.35) == 16


CURVE = [(0.25, 0.5), (0.5, 0.6), (1.0, 0.7), (2.0, 0.8)]


@pytest.mark.parametrize(
    ("gap", "times"),
    [(0.0, 1.0), (0.1, 2.0), (0.05, 2**0.5), (-0.1, 0.5), (-0.15, 0.25 * 2**0.5), (-0.2, 0.25)],
)
def test_the_compute_advantage_is_read_off_the_baselines_curve(gap, times):
    assert advantage(CURVE, gap).times == pytest.approx(times, rel=1e-6)


def test_a_curve_is_not_extrapolated():
    assert advantage(CURVE, 0.11) == Advantage(None, 2.0, above=True)
    assert str(advantage(CURVE, 0.11)) == "more than 2x"
    assert advantage(CURVE, -0.21) == Advantage(None, 0.25)
    assert str(advantage(CURVE, -0.21)) == "less than 0.25x"


def test_of_a_loss_less_is_more():
    curve = [(share, -value) for share, value in CURVE]
    assert advantage(curve, -0.1, -1).times == pytest.approx(2.0)
    assert advantage(curve, 0.15, -1).times == pytest.approx(0.25 * 2**0.5)


def test_a_curve_that_falls_is_made_monotone_first():
    # 0.7 and 0.6 share their mean, 0.65, at shares 0.5 and 1: the middle of the flat part is meant.
    curve = [(0.25, 0.5), (0.5, 0.7), (1.0, 0.6), (2.0, 0.8)]
    assert advantage(curve, 0.0).times == pytest.approx(0.5**0.5)
    assert advantage(curve, 0.15).times == 2.0
    assert advantage(curve, 0.1).times == pytest.approx(2 ** (0.1 / 0.15))
