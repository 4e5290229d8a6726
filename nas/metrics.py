"""What can be an axis of the front or a limit, as an experiment file says it."""

import math
from collections.abc import Mapping
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from search_space.schema import Strict, wrong

Goal = Literal["maximize", "minimize"]
Metric = Literal[
    "accuracy",
    "loss",
    "flops",
    "parameters",
    "traffic",
    "memory",
    "latency",
    "seconds",
    "accuracy_per_gflop",
    "mnas",
    "auc_log_compute",
    "compute_to_target",
]
Limited = Literal["flops", "parameters", "traffic", "memory", "latency"]

# Which way each metric is better. The other way round is a slip of the pen: the best model would be the worst.
GOALS: Mapping[Metric, Goal] = {
    "accuracy": "maximize",
    "loss": "minimize",
    "flops": "minimize",
    "parameters": "minimize",
    "traffic": "minimize",
    "memory": "minimize",
    "latency": "minimize",
    "seconds": "minimize",
    "accuracy_per_gflop": "maximize",
    "mnas": "maximize",
    "auc_log_compute": "maximize",
    "compute_to_target": "minimize",
}
# What only some metrics are told beside their goal.
TAKES: Mapping[Metric, tuple[str, ...]] = {
    "accuracy_per_gflop": ("floor",),
    "mnas": ("target", "weight", "cost"),
    "auc_log_compute": ("low_gflops", "high_gflops"),
    "compute_to_target": ("target",),
}
NOISY = ("accuracy", "loss")  # whose seed noise is measured
MNAS_WEIGHT = -0.07  # "5 % relative accuracy per doubling", arXiv 1807.11626
RATIO: Metric = "accuracy_per_gflop"
RATIO_FLOOR = 0.5


class Objective(Strict):
    """One axis of the Pareto front.

    ``epsilon`` is what two values must differ by to count as different: they are compared as multiples of it; ``auto``
    is the standard deviation of the difference of two trainings of the residual network.
    ``floor``, of accuracy_per_gflop alone: an accuracy below which the objective counts as 0, so that a model which
    has learned nothing cannot win by being cheap. ``target``: of mnas the ``cost`` aimed at, which is missed at the
    price of ``weight``; of compute_to_target an accuracy. ``low_gflops`` and ``high_gflops`` are training compute,
    between which auc_log_compute averages.
    """

    metric: Metric = Field(examples=["accuracy"])
    goal: Goal = Field(examples=["maximize"])
    epsilon: float | Literal["auto"] | None = None
    floor: float | None = Field(default=None, gt=0, lt=1, validate_default=True)
    target: float | None = Field(default=None, gt=0, validate_default=True)
    weight: float | None = Field(default=None, lt=0, validate_default=True)
    cost: Limited | None = Field(default=None, validate_default=True)
    low_gflops: float | None = Field(default=None, gt=0)
    high_gflops: float | None = Field(default=None, gt=0)

    @field_validator("goal")
    @classmethod
    def _goal(cls, goal: Goal, info: ValidationInfo) -> Goal:
        metric: Metric | None = info.data.get("metric")
        if metric is not None and goal != GOALS[metric]:
            raise wrong(f"{goal!r} is the wrong way for {metric}; write {GOALS[metric]}")
        return goal

    @field_validator("epsilon", mode="plain")
    @classmethod
    def _tolerance(cls, epsilon: object, info: ValidationInfo) -> object:
        if epsilon is None:
            return epsilon
        metric = info.data.get("metric")
        if epsilon == "auto":
            if metric is not None and metric not in NOISY:
                raise wrong(f"auto is of {' and '.join(NOISY)}, which replicas are measured by; write a number")
            return epsilon
        if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not math.isfinite(epsilon):
            raise wrong(f"{epsilon!r} is no tolerance; write a number above 0, or auto")
        if epsilon <= 0:
            raise wrong(f"{epsilon} is out of range; must be more than 0, or auto")
        return float(epsilon)

    @field_validator("floor", "target", "weight", "cost", "low_gflops", "high_gflops")
    @classmethod
    def _taken(cls, value: float | str | None, info: ValidationInfo) -> float | str | None:
        name, metric = str(info.field_name), info.data.get("metric")
        if metric is None:  # wrong itself, which is said first
            return value
        if name not in TAKES.get(metric, ()):
            if value is not None:
                takers = " and ".join(one for one, names in TAKES.items() if name in names)
                take = "take" if " and " in takers else "takes"
                raise wrong(f"{value} has no meaning here; only {takers} {take} a {name}")
            return None
        if name == "target" and value is None:
            aim = "the cost aimed at, such as 'target: 2.0e6'" if metric == "mnas" else "an accuracy, such as 0.9"
            raise wrong(f"missing; add {aim}")
        if metric == "compute_to_target" and isinstance(value, float) and value > 1:
            raise wrong(f"{value:g} is no accuracy; write a share of at most 1, such as 0.9")
        defaults: Mapping[str, float | str] = {"floor": RATIO_FLOOR, "weight": MNAS_WEIGHT, "cost": "flops"}
        return defaults.get(name) if value is None else value
