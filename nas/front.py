"""Which trials nobody beats: the Pareto front of a search, its winner, and ranks of whole fronts for halving."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

from nas.records import Status, Trial

F = TypeVar("F")


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
    epsilon: object = getattr(objective, "epsilon", None)  # not every axis has one
    if not isinstance(epsilon, float) or not math.isfinite(value):
        return value
    return float(math.floor(value / epsilon + 0.5))


def nondominated_sort(points: Sequence[Sequence[float]]) -> list[int]:
    """The rank of each signed vector (smaller is better): 0 is the front, 1 the front of the rest, and so on.

    Equal vectors share a rank. Takes O(n log n) comparisons for up to two axes, and O(n^2) at most (efficient
    non-dominated sort, Zhang et al. 2015). Raises ValueError on NaN, which has no rank.
    """
    check(*points)
    # In lexicographic order only an earlier vector can dominate a later one, so that no rank changes again.
    order = sorted(range(len(points)), key=lambda i: tuple(points[i]))
    fronts: list[list[tuple[float, ...]]] = []
    ranks = [0] * len(points)
    for i in order:
        point = tuple(points[i])
        ranks[i] = first_free(fronts, partial(beaten, point=point))
        if ranks[i] == len(fronts):
            fronts.append([])
        fronts[ranks[i]].append(point)
    return ranks


def check(*points: Sequence[float]) -> None:
    """ValueError where a vector holds NaN."""
    if any(math.isnan(x) for point in points for x in point):
        raise ValueError("cannot rank a vector that holds NaN; leave such trials out")


def first_free(fronts: Sequence[F], beats: Callable[[F], bool]) -> int:
    """The first front in which nothing beats a vector; whoever is beaten in a front is beaten in all before it."""
    low, high = 0, len(fronts)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if beats(fronts[middle]) else (low, middle)
    return low


def beaten(front: Sequence[tuple[float, ...]], point: tuple[float, ...]) -> bool:
    """Whether a member of a front dominates ``point``, behind which none comes in lexicographic order."""
    if len(point) <= 2:  # the last member has the least second axis
        return len(front) > 0 and dominates(front[-1], point)
    return any(dominates(one, point) for one in reversed(front))


def pareto(trials: Sequence[Trial], objectives: Sequence[Objective]) -> tuple[Trial, ...]:
    """The COMPLETE trials that no other one dominates, best in the first objective first.

    Ties go to the later objectives, within an epsilon to the better value, then to the lower number. Of several
    trials with one digest and equal values only the first stays. A trial without a finite value for every objective
    takes no part.
    """
    vectors = {
        trial.number: signed(trial.objectives, objectives)
        for trial in trials
        if trial.status is Status.COMPLETE and measured(trial, objectives)
    }
    entrants = sorted((trial for trial in trials if trial.number in vectors), key=lambda one: vectors[one.number])
    best: list[Trial] = []
    front: list[tuple[float, ...]] = []
    for trial in entrants:
        if not beaten(front, vectors[trial.number]):
            best.append(trial)
            front.append(vectors[trial.number])
    best.sort(key=lambda trial: (vectors[trial.number], _exact(trial.objectives, objectives), trial.number))
    first: dict[tuple[object, str], Trial] = {}
    for trial in best:
        first.setdefault((vectors[trial.number], trial.digest), trial)
    return tuple(first.values())


def grown(front: tuple[Trial, ...], trial: Trial, objectives: Sequence[Objective]) -> tuple[Trial, ...]:
    """:func:`pareto` of a front and one more trial, without ranking where that one has no place on it."""
    if trial.status is not Status.COMPLETE or not measured(trial, objectives):
        return front
    vector = signed(trial.objectives, objectives)
    if any(dominates(signed(one.objectives, objectives), vector) for one in front):
        return front
    return pareto((*front, trial), objectives)


def winner(trials: Sequence[Trial], objectives: Sequence[Objective]) -> Trial | None:
    """The front member that is best in the first objective, or None while no trial is COMPLETE."""
    return next(iter(pareto(trials, objectives)), None)


def measured(trial: Trial, objectives: Sequence[Objective]) -> bool:
    """Whether a trial has a finite value for every objective."""
    return all(math.isfinite(trial.objectives.get(one.metric, math.nan)) for one in objectives)


def dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Whether ``a`` is nowhere larger than ``b``, and not the same."""
    return a != b and all(map(operator.le, a, b))
