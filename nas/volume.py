"""The hypervolume of a search so far, and how it grew: from a reference point that does not move.

Quality counts as the gain over the reference, a cost in decades below it: half the cost is worth as much at any size.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.experiment import Experiment, Objective
from nas.hypervolume import hypervolume
from nas.objectives import COUNTED
from nas.pricing import corner_costs
from nas.records import Status, Trial

# Costs of which the logarithm counts, with what a smaller one counts as: no wiring at all is not infinitely good.
LOGARITHMIC = {
    **dict.fromkeys(("flops", "parameters", "traffic", "memory"), 1.0),
    **dict.fromkeys(("latency", "seconds", "compute_to_target"), 1e-6),
}


@dataclass(frozen=True, slots=True)
class Reference:
    """The worst value of interest by objective, and where each comes from; ``problem`` says why there is none yet."""

    values: Mapping[str, float]
    origins: Mapping[str, str]
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Grown:
    """The hypervolume when ``trials`` had finished at the cost of ``flops`` training FLOPs; ``number`` was the last."""

    number: int
    trials: int
    flops: float
    value: float


@dataclass(frozen=True, slots=True)
class Volume:
    """The reference, and the hypervolume after each trial that enlarged it and after the last one."""

    reference: Reference
    curve: tuple[Grown, ...]

    @property
    def value(self) -> float | None:
        """The hypervolume now; None without a reference."""
        return None if self.reference.problem else (self.curve[-1].value if self.curve else 0.0)

    def to_dict(self) -> dict[str, Any]:
        return {
            "problem": self.reference.problem,
            "reference": dict(self.reference.values),
            "origins": dict(self.reference.origins),
            "value": self.value,
            "curve": [
                {"number": one.number, "trials": one.trials, "training_flops": one.flops, "hypervolume": one.value}
                for one in self.curve
            ],
        }


def reference_of(experiment: Experiment, classes: int | None, first: Trial | None) -> Reference:
    """The reference point: as the file says, else derived from the experiment, else from its first complete trial.

    ``first`` is that trial, None while there is none; it is asked for only by what has no range that is known before,
    such as seconds. ``classes`` are those of the data, None where these are not there.
    """
    given = experiment.report.reference or {}
    limits: Mapping[str, float] = {str(name): limit for name, limit in experiment.limits.items()}
    values: dict[str, float] = {}
    origins: dict[str, str] = {}
    dearest: dict[str, float] | None = None
    for objective in experiment.objectives:
        metric = objective.metric
        if metric in given:
            found: tuple[float, str] | None = (float(given[metric]), "report.reference")
        elif metric in limits:
            found = (float(limits[metric]), "its limit")
        elif metric in COUNTED:
            if dearest is None:
                dearest = {
                    name: max((cost[name] for cost in corner_costs(experiment)), default=0.0) for name in COUNTED
                }
            found = (dearest[metric], "the dearest corner of the space") if dearest[metric] > 0 else None
        else:
            found = _known(objective, experiment, classes)
        if found is None and first is not None and first.objectives.get(metric, 0.0) > 0:
            found = (2 * first.objectives[metric], f"twice that of trial {first.number}, the first complete one")
        if found is None:
            why = f"{metric} has no range that is known before the first complete trial; report.reference can set one"
            return Reference({}, {}, why)
        values[metric], origins[metric] = found
    return Reference(values, origins)


def _known(objective: Objective, experiment: Experiment, classes: int | None) -> tuple[float, str] | None:
    match objective.metric:
        case "accuracy" | "auc_log_compute":
            return (0.0, "none at all") if classes is None else (1 / classes, "chance")
        case "accuracy_per_gflop" | "mnas":
            return 0.0, "none at all"
        case "loss":
            return None if classes is None else (math.log(classes), "chance")
        case "compute_to_target":  # the most that a trial which never gets there counts as
            return 2 * experiment.train.budget_gflops, "twice the training budget"
        case _:
            return None


def volume(trials: Iterable[Trial], objectives: Sequence[Objective], reference: Reference) -> Volume:
    """The hypervolume of the COMPLETE trials, which come in the order in which they finished."""
    if reference.problem is not None:
        return Volume(reference, ())
    origin = tuple(0.0 for _ in objectives)
    front: list[tuple[float, ...]] = []
    curve: list[Grown] = []
    spent, value, done = 0.0, 0.0, 0
    last: Grown | None = None
    for trial in trials:
        if not trial.status.trained:
            continue
        done, spent = done + 1, spent + trial.spent_flops
        point = _place(trial, objectives, reference) if trial.status is Status.COMPLETE else None
        grows = point is not None and all(x < 0 for x in point) and not any(_covers(one, point) for one in front)
        if grows and point is not None:
            front = [one for one in front if not _covers(point, one)] + [point]
            value = float(hypervolume(front, origin))
        last = Grown(trial.number, done, spent, value)
        if grows:
            curve.append(last)
    if last is not None and (not curve or curve[-1] is not last):
        curve.append(last)  # so that the curve goes on to the present
    return Volume(reference, tuple(curve))


def _place(trial: Trial, objectives: Sequence[Objective], reference: Reference) -> tuple[float, ...] | None:
    """Where a trial is, seen from the reference: negative on an axis where it is better; None where unmeasured."""
    found = []
    for one in objectives:
        value = trial.objectives.get(one.metric, math.nan)
        worst, floor = reference.values[one.metric], LOGARITHMIC.get(one.metric)
        if not math.isfinite(value):
            return None
        if floor is not None:
            found.append(math.log10(max(value, floor) / max(worst, floor)))
        else:
            found.append(worst - value if one.goal == "maximize" else value - worst)
    return tuple(found)


def _covers(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True))
