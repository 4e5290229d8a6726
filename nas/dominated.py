"""How much of the plane of two objectives a front dominates: hypervolume, as a share of a box fixed beforehand."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphs.errors import UserError
from nas.experiment import Experiment
from nas.front import pareto
from nas.hypervolume import hypervolume
from nas.pricing import priced
from nas.records import Trial
from trainers.errors import TrainerError

CORNERS = 64  # of the space, priced for the box
COSTS = ("flops", "parameters", "traffic")
Box = Mapping[str, tuple[float, float]]  # by metric: worst and best


def box_of(experiment: Experiment, classes: int | None) -> Box | str:
    """The worst and best value of the first two objectives, or why there is no box.

    Accuracy goes from chance to 1, loss from that of chance, ln(classes), to 0; a cost from the dearest to the cheapest
    of the space's corners, baselines included. Nothing of it depends on a result: searches of one space compare.
    """
    metrics = [one.metric for one in experiment.objectives[:2]]
    if len(metrics) < 2:
        return "there is one objective"
    costs = corners(experiment)
    box: dict[str, tuple[float, float]] = {}
    for metric in metrics:
        if metric in ("accuracy", "loss") and classes is None:
            return "the data are not there, so that the number of classes is not known"
        if metric == "accuracy" and classes:
            box[metric] = (1 / classes, 1.0)
        elif metric == "loss" and classes:
            box[metric] = (math.log(classes), 0.0)
        elif metric in COSTS:
            found = [cost[metric] for cost in costs if cost[metric] > 0]
            if not found or min(found) == max(found):
                return f"{metric} is the same everywhere"
            box[metric] = (max(found), min(found))
        else:
            return f"{metric} has no range that is known before"
    return box


def corners(experiment: Experiment) -> list[dict[str, float]]:
    """The costs of the baselines and of extreme points of the space, as far as they can be trained."""
    space, found = experiment.space, []
    for point in (*space.baselines(), *space.corners(CORNERS)):
        try:
            cost = priced(experiment, space.topology(point)).cost
        except (UserError, TrainerError):
            continue
        found.append({name: float(getattr(cost, name)) for name in COSTS})
    return found


def area(box: Box, trials: Sequence[Trial]) -> float:
    """The share of the box that some trial is at least as good as; costs count in logarithms. 0 without trials."""
    points = [[-_part(trial, metric, ends) for metric, ends in box.items()] for trial in trials]
    return float(hypervolume(points, [0.0] * len(box)))


def _part(trial: Trial, metric: str, ends: tuple[float, float]) -> float:
    """How far a trial is on the way from worst to best, from 0 to 1."""
    value, (worst, best) = trial.objectives[metric], ends
    if metric in COSTS:
        value, worst, best = (math.log(max(one, 1e-12)) for one in (value, worst, best))
    return min(1.0, max(0.0, (value - worst) / (best - worst)))


@dataclass(frozen=True, slots=True)
class Dominated:
    """The dominated share after each complete trial, by trial number; ``problem`` says why there is none."""

    box: Box
    anytime: tuple[tuple[int, float], ...]
    problem: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "problem": self.problem,
            "box": {name: {"worst": worst, "best": best} for name, (worst, best) in self.box.items()},
            "share": self.anytime[-1][1] if self.anytime else None,
            "anytime": [{"trial": number, "share": share} for number, share in self.anytime],
        }


def dominated(experiment: Experiment, trials: Sequence[Trial], classes: int | None) -> Dominated:
    """The dominated share of a search so far, and how it grew."""
    box = box_of(experiment, classes)
    if isinstance(box, str):
        return Dominated({}, (), box)
    objectives = experiment.objectives[:2]
    front: tuple[Trial, ...] = ()
    grew: list[tuple[int, float]] = []
    for trial in sorted(trials, key=lambda one: one.number):
        front = pareto((*front, trial), objectives)
        if any(one.number == trial.number for one in front):
            grew.append((trial.number, area(box, front)))
    return Dominated(box, tuple(grew))
