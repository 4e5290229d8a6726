"""Quality at equal training compute: every member of the front beside the known designs, read off their curves.

Curves are joined by straight lines in the logarithm of compute and end where they end: nothing is extrapolated.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from nas.confirm import quality
from nas.front import pareto
from nas.records import Status, Trial
from nas.units import describe

if TYPE_CHECKING:
    from nas.experiment import Experiment

SHARES = (0.125, 0.25, 0.5)  # of the budget, and where the first of the curves ends


@dataclass(frozen=True, slots=True)
class AtCompute:
    """One network; ``values`` are its quality on the validation split at each level, None where its curve is not."""

    trial: int
    name: str
    role: str  # front or baseline
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class EqualCompute:
    """``metric`` is accuracy or loss, ``levels`` are training FLOPs; best at the last level first."""

    metric: str
    levels: tuple[float, ...]
    rows: tuple[AtCompute, ...]

    def to_dict(self) -> dict[str, Any]:
        rows = [{"trial": one.trial, "name": one.name, "role": one.role, "values": one.values} for one in self.rows]
        return {"metric": self.metric, "training_flops": list(self.levels), "networks": rows}


def equal_compute(experiment: "Experiment", trials: Sequence[Trial]) -> EqualCompute:
    """The comparison of what is complete: the front and the baselines, one seed each."""
    metric = quality(experiment)
    front = {trial.number for trial in pareto(trials, experiment.objectives)}
    shown = [
        trial
        for trial in trials
        if trial.status is Status.COMPLETE and (trial.number in front or trial.source == "baseline")
    ]
    curves = {trial.number: curve_of(trial, metric) for trial in shown}
    shown = [trial for trial in shown if curves[trial.number]]
    if not shown:
        return EqualCompute(metric, (), ())
    end = min(curves[trial.number][-1][0] for trial in shown)
    budget = experiment.train.budget_gflops * 1e9
    levels = (*(share * budget for share in SHARES if share * budget < end), end)
    rows = [
        AtCompute(
            trial.number,
            describe(trial),
            "front" if trial.number in front else "baseline",
            tuple(at_compute(curves[trial.number], level) for level in levels),
        )
        for trial in shown
    ]
    gain = 1 if metric == "loss" else -1
    rows.sort(key=lambda row: (gain * (row.values[-1] if row.values[-1] is not None else math.inf * gain), row.trial))
    return EqualCompute(metric, levels, tuple(rows))


def curve_of(trial: Trial, metric: str) -> list[tuple[float, float]]:
    """What was measured of a trial, as (training FLOPs, value) in order."""
    found = ((point.flops, getattr(point, metric)) for point in trial.curve)
    return sorted((flops, value) for flops, value in found if value is not None and flops > 0)


def at_compute(curve: Sequence[tuple[float, float]], flops: float) -> float | None:
    """The value at a training compute, on the straight lines in its logarithm; None beyond either end."""
    if not curve or not curve[0][0] <= flops <= curve[-1][0]:
        return None
    for (x0, y0), (x1, y1) in pairwise(curve):
        if x0 <= flops <= x1:
            part = (math.log(flops) - math.log(x0)) / (math.log(x1) - math.log(x0))
            return y0 + (y1 - y0) * part if part < 1 else y1
    return curve[-1][1]
