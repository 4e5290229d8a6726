"""What a good topology is: each objective's value from what was measured and counted."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from graphs.cost import Cost

if TYPE_CHECKING:
    from nas.experiment import Objective


def values(
    objectives: "Sequence[Objective]", cost: Cost, *, accuracy: float, loss: float, seconds: float, classes: int
) -> dict[str, float]:
    """The value of every objective, by metric.

    ``flops`` are inference FLOPs of one sample, ``traffic`` is in Td, ``seconds`` is the training time measured.
    """
    measured: Mapping[str, float] = {
        "accuracy": accuracy,
        "loss": loss,
        "seconds": seconds,
        "flops": float(cost.flops),
        "parameters": float(cost.parameters),
        "traffic": float(cost.traffic),
    }
    result: dict[str, float] = {}
    for objective in objectives:
        if objective.metric == "accuracy_per_gflop":
            value = accuracy_per_gflop(accuracy, cost.flops, classes=classes, floor=objective.floor or 0.0)
        else:
            value = measured[objective.metric]
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
