from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from graphs import BlockCost, ModelCost, families, lower, price
from nas.experiment import Objective
from nas.objectives import accuracy_per_gflop, auc_log_compute, compute_to_target, mnas, values
from nas.records import CurvePoint


def test_accuracy_per_gflop_by_hand():
    # Ten classes: 0.55 is half-way from chance (0.1) to 1; at 2 GFLOPs that is 0.25.
    assert accuracy_per_gflop(0.55, 2e9, classes=10, floor=0.5) == pytest.approx(0.25)
    assert accuracy_per_gflop(1.0, 1e9, classes=10, floor=0.5) == pytest.approx(1.0)
    assert accuracy_per_gflop(0.75, 5e8, classes=2, floor=0.5) == pytest.approx(1.0)


def test_below_the_floor_nothing_is_gained_by_being_cheap():
    assert accuracy_per_gflop(0.4999, 1.0, classes=10, floor=0.5) == 0.0
    assert accuracy_per_gflop(0.5, 1.0, classes=10, floor=0.5) > 0.0


def test_each_metric_is_what_its_name_says():
    cost = price(
        lower(families.hyper(depth=2, streams=2)),
        ModelCost(tokens=4, dim=8, blocks=(BlockCost(1000, 100), BlockCost(2000, 200)), fixed=BlockCost(10, 1)),
    )
    goals = {
        "accuracy": "maximize",
        "loss": "minimize",
        "seconds": "minimize",
        "flops": "minimize",
        "parameters": "minimize",
        "traffic": "minimize",
        "accuracy_per_gflop": "maximize",
    }
    wanted = [Objective(metric=metric, goal=goal) for metric, goal in goals.items()]
    found = values(wanted, cost, accuracy=0.82, loss=0.5, seconds=3.0, classes=10)
    assert found == {
        "accuracy": 0.82,
        "loss": 0.5,
        "seconds": 3.0,
        "flops": cost.flops,
        "parameters": cost.parameters,
        "traffic": cost.traffic,
        "accuracy_per_gflop": pytest.approx(0.8 / (cost.flops / 1e9)),
    }
    assert list(found) == list(goals)
    assert all(isinstance(value, float) for value in found.values())
    assert cost.flops > 3010  # blocks, stem and head, and the wiring on top
    assert cost.parameters > 301


def test_the_floor_is_the_objectives_own():
    cost = price(lower(families.residual(depth=1)), ModelCost(4, 8, (BlockCost(1000, 100),), BlockCost(0, 0)))
    metric, goal = "accuracy_per_gflop", "maximize"
    for floor, gains in ((0.3, True), (0.9, False), (None, True)):
        found = values(
            [Objective(metric=metric, goal=goal, floor=floor)], cost, accuracy=0.6, loss=1.0, seconds=1.0, classes=10
        )
        assert (found[metric] > 0) is gains


def test_the_soft_product_by_hand():
    assert mnas(0.75, 300e6, target=300e6, weight=-0.07) == pytest.approx(0.75)
    # Twice the cost for 5 % more accuracy is about an even trade: 2^-0.07 = 0.9526.
    assert mnas(0.75 * 1.05, 600e6, target=300e6, weight=-0.07) == pytest.approx(0.75, rel=1e-3)
    assert mnas(0.5, 0.0, target=4.0, weight=-0.5) == mnas(0.5, 1.0, target=4.0, weight=-0.5) == pytest.approx(1.0)


# (FLOPs, accuracy): straight lines in the logarithm are easily drawn here.
CURVE = [(1e9, 0.2), (1e10, 0.6), (1e11, 0.8)]


def area(curve=CURVE, low=1e9, high=1e11):
    return auc_log_compute(curve, low=low, high=high, chance=0.1)


def test_the_area_by_hand():
    assert area() == pytest.approx((0.4 + 0.7) / 2)
    assert area(high=1e10) == pytest.approx(0.4)
    assert area(low=10**9.5, high=1e10) == pytest.approx(0.5)
    # Before the first measurement the line comes from chance at 1 % of its compute.
    assert area(low=1e7, high=1e9) == pytest.approx(0.15)
    assert area(low=1e6, high=1e7) == pytest.approx(0.1)


def test_the_curve_is_not_continued():
    assert area(high=1e12) == area()  # as at a rung
    assert area(low=1e11, high=1e12) == area(low=2e11, high=1e12) == 0.8
    with pytest.raises(ValueError, match="no area"):
        area([])


accuracies = st.floats(0, 1)
curves = st.lists(st.tuples(st.floats(1e8, 1e12), accuracies), min_size=1, max_size=8, unique_by=lambda point: point[0])


@given(curves, st.floats(0.01, 0.99))
def test_another_measurement_on_the_line_changes_nothing(curve, share):
    """Measuring more often, or elsewhere, gains nothing by itself."""
    for (x0, y0), (x1, y1) in pairwise(sorted(curve)):
        between = x0 * (x1 / x0) ** share
        assume(x0 < between < x1)
        more = [*curve, (between, y0 + share * (y1 - y0))]
        assert area(more, 5e8, 1e11) == pytest.approx(area(curve, 5e8, 1e11), abs=1e-6)


@given(curves, st.floats(0, 0.5))
def test_a_better_curve_has_more_area_and_reaches_a_target_sooner(curve, gain):
    better = [(flops, accuracy + gain) for flops, accuracy in curve]
    assert area(better, 5e8, 1e11) >= area(curve, 5e8, 1e11) - 1e-9
    needed = [compute_to_target(one, target=0.5, budget=1e12, chance=0.1) for one in (better, curve)]
    assert needed[0] <= needed[1] * (1 + 1e-9)
    least, most = (pick(accuracy for _, accuracy in curve) for pick in (min, max))
    assert min(least, 0.1) - 1e-9 <= area(curve, 5e8, 1e11) <= max(most, 0.1) + 1e-9


def test_compute_to_a_target_by_hand():
    def needed(target, curve=CURVE):
        return compute_to_target(curve, target=target, budget=1e11, chance=0.1)

    assert needed(0.4) == pytest.approx(10**9.5)
    assert needed(0.6) == pytest.approx(1e10)
    assert needed(0.15) == pytest.approx(1e8)
    assert needed(0.4, [*CURVE, (5e10, 0.1)]) == pytest.approx(10**9.5)  # the first time counts
    # Never there: dearer than the whole budget, and the more is missing the dearer.
    assert needed(1.0) == pytest.approx(1.2e11)
    assert 1e11 < needed(0.81) < needed(0.9) < needed(1.0)
    assert needed(0.05) <= 1e7 * (1 + 1e-9)  # below chance: nothing to learn


def test_the_metrics_of_curves_are_told_the_trials_own():
    cost = price(lower(families.residual(depth=1)), ModelCost(4, 8, (BlockCost(1000, 100),), BlockCost(0, 0)))
    wanted = [
        Objective(metric="auc_log_compute", goal="maximize"),
        Objective(metric="compute_to_target", goal="minimize", target=0.4),
        Objective(metric="mnas", goal="maximize", target=50.0, weight=-1.0, cost="parameters"),
    ]
    curve = [CurvePoint(step, flops, 1.0, accuracy, 1.0) for step, (flops, accuracy) in enumerate(CURVE, start=1)]
    measured = {"accuracy": 0.8, "loss": 1.0, "seconds": 1.0, "classes": 10}
    found = values(wanted, cost, **measured, curve=curve, budget_flops=1e11)
    assert found == {
        "auc_log_compute": pytest.approx(0.7),  # from a tenth of the budget
        "compute_to_target": pytest.approx(10**0.5),  # GFLOPs
        "mnas": pytest.approx(0.4),  # twice the parameters aimed at, at the full price
    }
    narrow = Objective(metric="auc_log_compute", goal="maximize", low_gflops=1, high_gflops=10)
    (found,) = values([narrow], cost, **measured, curve=curve, budget_flops=1e11).values()
    assert found == pytest.approx(0.4)
