"""Which trials nobody beats: the Pareto front of a search, its winner, and ranks of whole fronts for halving."""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from nas.records import Status, Trial


class Objective(Protocol):
    """What a search optimises: the name of a metric and ``maximize`` or ``minimize``."""

    @property
    def metric(self) -> str: ...

    @property
    def goal(self) -> str: ...


def signed(values: Mapping[str, float], objectives: Sequence[Objective]) -> tuple[float, ...]:
    """The objectives as a vector in which smaller is better everywhere; KeyError where a value is missing.

    An objective with an epsilon counts in whole multiples of it: what differs by less mostly does not differ. A grid
    keeps dominance transitive, which "no better than by epsilon" is not (epsilon boxes, Laumanns et al. 2002).
    """
    return tuple(_grid(value, one) for value, one in zip(_exact(values, objectives), objectives, strict=True))


def _exact(values: Mapping[str, float], objectives: Sequence[Objective]) -> tuple[float, ...]:
    return tuple(
        -float(values[one.metric]) if one.goal == "maximize" else float(values[one.metric]) for one in objectives
    )


def _grid(value: float, objective: Objective) -> float:
    epsilon: float | None = getattr(objective, "epsilon", None)  # not every axis has one
    if epsilon is None or not math.isfinite(value):
        return value
    return float(math.floor(value / epsilon + 0.5))


def nondominated_sort(points: Sequence[Sequence[float]]) -> list[int]:
    """The rank of each signed vector (smaller is better): 0 is the front, 1 the front of the rest, and so on.

    Equal vectors share a rank. Takes O(n^2) comparisons. Raises ValueError on NaN, which has no rank.
    """
    if any(math.isnan(x) for point in points for x in point):
        raise ValueError("cannot rank a vector that holds NaN; leave such trials out")
    # In lexicographic order only an earlier vector can dominate a later one.
    order = sorted(range(len(points)), key=lambda i: tuple(points[i]))
    ranks = [0] * len(points)
    for place, i in enumerate(order):
        beaten_by = [ranks[j] for j in order[:place] if _dominates(points[j], points[i])]
        ranks[i] = max(beaten_by, default=-1) + 1
    return ranks


def pareto(trials: Sequence[Trial], objectives: Sequence[Objective]) -> tuple[Trial, ...]:
    """The COMPLETE trials that no other one dominates, best in the first objective first.

    Ties go to the later objectives, within an epsilon to the better value, then to the lower number. Of several
    trials with one digest and equal values only the first stays. A trial without a finite value for every objective
    takes no part.
    """
    vectors = {
        trial.number: signed(trial.objectives, objectives)
        for trial in trials
        if trial.status is Status.COMPLETE and _measured(trial, objectives)
    }
    entrants = [trial for trial in trials if trial.number in vectors]
    ranks = nondominated_sort([vectors[trial.number] for trial in entrants])
    best = [trial for trial, rank in zip(entrants, ranks, strict=True) if rank == 0]
    best.sort(key=lambda trial: (vectors[trial.number], _exact(trial.objectives, objectives), trial.number))
    first: dict[tuple[object, str], Trial] = {}
    for trial in best:
        first.setdefault((vectors[trial.number], trial.digest), trial)
    return tuple(first.values())


def winner(trials: Sequence[Trial], objectives: Sequence[Objective]) -> Trial | None:
    """The front member that is best in the first objective, or None while no trial is COMPLETE."""
    return next(iter(pareto(trials, objectives)), None)


def _measured(trial: Trial, objectives: Sequence[Objective]) -> bool:
    return all(math.isfinite(trial.objectives.get(one.metric, math.nan)) for one in objectives)


def _dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and tuple(a) != tuple(b)
