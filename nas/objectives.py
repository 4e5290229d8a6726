"""What a good topology is: each objective's value from what was measured and counted."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from graphs.cost import Cost
from nas.records import CurvePoint

if TYPE_CHECKING:
    from nas.experiment import Objective

COUNTED = ("flops", "parameters", "traffic")  # before any training
# What training changes; the rest a topology has from the start, but for the seconds.
GROWING = ("accuracy", "loss", "accuracy_per_gflop", "mnas", "auc_log_compute", "compute_to_target")
NEED_CLASSES = ("accuracy_per_gflop", "auc_log_compute", "compute_to_target")  # to know what chance gives
AUC_LOW = 0.1  # of the budget: where the area begins if the file does not say


def values(
    objectives: "Sequence[Objective]",
    cost: Cost | Mapping[str, float],
    *,
    accuracy: float,
    loss: float,
    seconds: float,
    classes: int,
    curve: Sequence[CurvePoint] = (),
    budget_flops: float = 0.0,
) -> dict[str, float]:
    """The value of every objective, by metric.

    ``cost`` has the metrics that are no matter of training, by name, and may have more than the objectives ask for.
    ``flops`` are inference FLOPs of one sample, ``traffic`` is in Td, ``seconds`` is the training time measured.
    ``curve`` is all that was measured of the trial so far, ``budget_flops`` its whole training budget.
    """
    counted: Mapping[str, float] = (
        cost if isinstance(cost, Mapping) else {name: getattr(cost, name) for name in COUNTED}
    )
    measured: dict[str, float] = {"accuracy": accuracy, "loss": loss, "seconds": seconds}
    measured |= {name: float(value) for name, value in counted.items()}
    accuracies = [(point.flops, point.accuracy) for point in curve if point.accuracy is not None]
    result: dict[str, float] = {}
    for objective in objectives:
        match objective.metric:
            case "accuracy_per_gflop":
                value = accuracy_per_gflop(accuracy, measured["flops"], classes=classes, floor=objective.floor or 0.0)
            case "mnas":
                paid = measured[objective.cost or "flops"]
                value = mnas(accuracy, paid, target=objective.target or 1.0, weight=objective.weight or 0.0)
            case "auc_log_compute":
                high = budget_flops if objective.high_gflops is None else objective.high_gflops * 1e9
                low = AUC_LOW * budget_flops if objective.low_gflops is None else objective.low_gflops * 1e9
                value = auc_log_compute(accuracies, low=low, high=high, chance=1 / classes)
            case "compute_to_target":
                target = objective.target or 1.0
                value = compute_to_target(accuracies, target=target, budget=budget_flops, chance=1 / classes) / 1e9
            case metric:
                value = measured[metric]
        result[objective.metric] = value
    return result


def accuracy_per_gflop(accuracy: float, flops: float, *, classes: int, floor: float) -> float:
    """Accuracy above chance, rescaled to [0, 1], per 10^9 inference FLOPs of a sample; 0 below ``floor``.

    Without the floor the best network is the smallest one above chance.
    """
    if accuracy < floor:
        return 0.0
    chance = 1 / classes
    return (accuracy - chance) / (1 - chance) / (flops / 1e9)


def mnas(accuracy: float, cost: float, *, target: float, weight: float) -> float:
    """``accuracy (cost / target)^weight``, the soft product of MnasNet, arXiv 1807.11626, equation 2.

    A cost below one unit counts as one, so that no wiring at all is not infinitely good.
    """
    return float(accuracy * (max(cost, 1.0) / target) ** weight)


def auc_log_compute(curve: Sequence[tuple[float, float]], *, low: float, high: float, chance: float) -> float:
    """The mean accuracy over the logarithm of training compute from ``low`` to ``high`` FLOPs, in [0, 1].

    The curve is joined by straight lines in the logarithm, from chance at 1 % of its first measurement. Behind its last
    one it is not continued: the mean ends there if that is before ``high``, as at a rung or where whole steps do not
    fill the budget. It is the first accuracy where nothing was measured beyond ``low``.
    """
    points = _from_chance(curve, chance)
    end = min(math.log(high), points[-1][0])
    start = math.log(low)
    if end <= start:
        return _at(points, end)
    inside = [start, *(x for x, _ in points if start < x < end), end]
    pairs = [(a, b) for a, b in pairwise(inside) if b > a]
    return math.fsum((b - a) * (_at(points, a) + _at(points, b)) / 2 for a, b in pairs) / (end - start)


def compute_to_target(curve: Sequence[tuple[float, float]], *, target: float, budget: float, chance: float) -> float:
    """The training FLOPs at which the accuracy first comes to ``target``, between measurements in the logarithm.

    Where it never does, the budget times 1 + the share of the target that is missing: worse than every trial that gets
    there, and the less so the closer it came.
    """
    points = _from_chance(curve, chance)
    if points[0][1] >= target:
        return math.exp(points[0][0])
    for (x0, y0), (x1, y1) in pairwise(points):
        if y1 >= target:
            return math.exp(x0 + (x1 - x0) * (target - y0) / (y1 - y0))
    return budget * (1 + (target - max(y for _, y in points)) / target)


def _from_chance(curve: Sequence[tuple[float, float]], chance: float) -> list[tuple[float, float]]:
    """(log FLOPs, accuracy) in order, with a start at chance two decades before the first measurement."""
    points = [(math.log(flops), accuracy) for flops, accuracy in sorted(curve)]
    if not points:
        raise ValueError("a curve without a measured accuracy has no area")
    return [(points[0][0] - math.log(100), chance), *points]


def _at(points: Sequence[tuple[float, float]], x: float) -> float:
    """The accuracy on the straight lines between points, at either end that of the end."""
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1:
            return y0 + (y1 - y0) * max(x - x0, 0.0) / (x1 - x0)
    return points[-1][1]
