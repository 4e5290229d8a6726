"""The known designs of a race: each at the deepest depth at which it keeps to the limits."""

from collections.abc import Sequence
from dataclasses import dataclass

from graphs import TopologyError
from nas.experiment import Experiment
from nas.pricing import judged, model_cost
from search_space.space import Point


@dataclass(frozen=True, slots=True)
class Baseline:
    """A known design at ``point``, or left out of the race (``runs`` is false: ``point`` is its shallowest).

    ``why`` says what is wrong with the next deeper point, or, where it is left out, with this one.
    """

    point: Point
    runs: bool
    why: str | None = None

    def __str__(self) -> str:
        if self.runs:
            return "runs" if self.why is None else f"runs; not deeper: {self.why}"
        return f"left out: {self.why}"


def baselines(experiment: Experiment) -> tuple[Baseline, ...]:
    """Every known design that the space declares, the residual network first; none where the file wants none."""
    return designs(experiment) if experiment.search.baselines else ()


def designs(experiment: Experiment) -> tuple[Baseline, ...]:
    """The same whether or not the file wants them in the race."""
    return tuple(_deepest(experiment, points[::-1]) for points in experiment.space.designs())


def _deepest(experiment: Experiment, points: Sequence[Point]) -> Baseline:
    """The last of ``points``, which get deeper, that may be trained.

    Costs grow with depth, so this halves: deep plans take seconds each.
    """
    fits, refused = 0, len(points)  # before fits all may be trained, from refused on none
    why = None
    probe = refused - 1
    while fits < refused:
        reason = _problem(experiment, points[probe])
        if reason is None:
            fits = probe + 1
        else:
            refused, why = probe, reason
        probe = (fits + refused) // 2
    return Baseline(points[max(fits - 1, 0)], runs=fits > 0, why=why)


def _problem(experiment: Experiment, point: Point) -> str | None:
    """Why a point may not be trained, said of its depth; None if it may."""
    try:
        parts = model_cost(experiment, experiment.space.topology(point))
    except TopologyError as error:
        return f"at depth {point.depth} {error}"
    # Known without a plan: no wiring makes it less.
    parameters = parts.fixed.parameters + sum(block.parameters for block in parts.blocks)
    limit = experiment.limits.get("parameters")
    if limit is not None and parameters > limit:
        return f"at depth {point.depth} the backbone alone has {parameters:,} parameters, over the limit {limit:,.0f}"
    _, reason = judged(experiment, point)
    return None if reason is None else f"at depth {point.depth} {reason}"
