import math
import re
from typing import Any

import pytest

from trainers.errors import TrainerError
from trainers.recipe import Recipe, learning_rate, steps_for


def test_warm_up_then_cosine_at_hand_worked_points() -> None:
    recipe = Recipe(lr=0.8, warmup=0.2)
    # 10 steps: 2 of warm-up, then 8 of the cosine, a quarter of it every 2 steps.
    rates = [learning_rate(recipe, step, 10) for step in range(1, 11)]
    assert rates[:3] == pytest.approx([0.4, 0.8, 0.8])
    assert rates[4] == pytest.approx(0.8 * (1 + math.sqrt(0.5)) / 2)
    assert rates[6] == pytest.approx(0.4)
    assert rates[8] == pytest.approx(0.8 * (1 - math.sqrt(0.5)) / 2)
    assert 0 < rates[9] < 0.04


def test_the_ends_of_the_warm_up_range() -> None:
    assert learning_rate(Recipe(lr=0.5, warmup=0.0), 1, 1) == 0.5
    assert [learning_rate(Recipe(lr=1.0, warmup=1.0), step, 4) for step in (1, 2, 3, 4)] == [
        0.25,
        0.5,
        0.75,
        1.0,
    ]


def test_29_percent_of_100_steps_are_29() -> None:
    # 0.29 * 100 is a little below 29 in binary.
    assert learning_rate(Recipe(lr=29.0, warmup=0.29), 1, 100) == pytest.approx(1.0)


@pytest.mark.parametrize(("budget", "steps"), [(600, 1), (1199, 1), (1200, 2), (1200.5, 2), (6e9, 10**7)])
def test_steps_are_the_whole_ones_that_fit(budget: float, steps: int) -> None:
    assert steps_for(budget, flops_per_sample=10, batch=20) == steps


def test_a_budget_below_one_step_names_the_smallest_that_works() -> None:
    with pytest.raises(TrainerError, match=re.escape("the smallest that gives one is 6,000")):
        steps_for(5_999, flops_per_sample=100, batch=20)


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch": 0},
        {"lr": 0.0},
        {"lr": math.inf},
        {"lr": math.nan},
        {"warmup": -0.1},
        {"warmup": 1.1},
        {"warmup": math.nan},
        {"weight_decay": -1.0},
        {"weight_decay": math.nan},
        {"clip": 0.0},
        {"clip": math.nan},
        {"threads": 0},
    ],
)
def test_refused_settings_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(TrainerError, match=next(iter(wrong))):
        Recipe(**wrong)
