"""Early stopping with several objectives: whole fronts are ranked per rung, at equal training FLOPs."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from nas.layers import Layers

if TYPE_CHECKING:
    from nas.experiment import Halving
    from nas.ledger import Ledger

Rung = Mapping[int, Sequence[float]] | Layers  # by trial: its objectives there, to be minimised
BASELINE = "baseline"  # the source of the asks for known designs
TOLERANCE = 0.1  # of a rung's FLOPs: a trial whose steps come no closer to it is not compared there


def rung_fractions(halving: "Halving | None") -> tuple[float, ...]:
    """The shares of the budget at which a trial may be stopped, ascending: ``keep^(rungs-1), .., keep``."""
    if halving is None:
        return ()
    return tuple(halving.keep**power for power in range(halving.rungs - 1, 0, -1))


def rungs_at(halving: "Halving | None", steps: int) -> dict[int, int]:
    """The training step at which a trial of ``steps`` steps comes to each rung, by the rung's place from 0.

    A rung is a share of the budget, and so the same FLOPs for everybody. A trial of few long steps has no part in a
    rung that none of its steps is near, and is not stopped there.
    """
    found: dict[int, int] = {}
    for place, fraction in enumerate(rung_fractions(halving)):
        exact = fraction * steps
        step = max(1, round(exact))
        if step < steps and abs(step - exact) <= TOLERANCE * exact:
            found[place] = step
    return found


def whole(ledger: "Ledger", halving: "Halving | None") -> frozenset[int]:
    """The trials that are trained in full whatever they do at rungs: baselines, and the first ``audit`` others."""
    jobs = [(ask.number, ask.source) for ask in ledger.asks if ask.verdict == "job" and ask.number is not None]
    others = [number for number, source in jobs if source != BASELINE]
    audited = others if halving is None else others[: halving.audit]
    return frozenset(number for number, source in jobs if source == BASELINE).union(audited)


def promoted(rung: Rung, waiting: Collection[int], keep: float) -> int | None:
    """The best of ``waiting`` that is among the best ``keep`` of the rung, in the same order; None if none is.

    A front does not go on as a whole here: with two objectives it can be everybody.
    """
    return next((number for number in _layers(rung).best(keep) if number in waiting), None)


def _layers(rung: Rung) -> Layers:
    return rung if isinstance(rung, Layers) else Layers(rung)
