import pytest

from graphs import BlockCost, ModelCost, families, lower, price
from nas.experiment import Objective
from nas.objectives import accuracy_per_gflop, values


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
