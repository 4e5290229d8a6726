"""Would early stopping mislead? How well a cheap rung ranks topologies beside their full training."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nas.experiment import Experiment, Halving
from nas.front import signed
from nas.halving import TOLERANCE, rung_fractions, whole
from nas.layers import Layers
from nas.ledger import Ledger
from nas.objectives import GROWING, values
from nas.records import CurvePoint, Status, Trial

FEWEST = 10  # topologies; with fewer there is no audit
TRUSTED = 0.5  # Kendall's tau below which halving is warned of: one pair in four or more is the wrong way round
DRAWS = 1000  # of the bootstrap
MOST = 400  # topologies that tau is taken over, drawn at random: its interval takes the square of their number
SHARES = (0.1, 0.3, 0.5)  # of the budget, looked at where the search has no halving

Known = Sequence[tuple[Trial, dict[str, float]]]  # trials with their objectives at a rung


@dataclass(frozen=True, slots=True)
class Rank:
    """How one rung, at ``share`` of the budget, ranks ``topologies`` by ``metric``, beside the full budget.

    ``tau`` is Kendall's tau-b, ``low`` and ``high`` its 95 % bootstrap interval over topologies; None where all values
    are equal. ``lost`` of the ``front`` topologies that nobody beats in full would have been stopped at the rung.
    """

    share: float
    metric: str
    topologies: int
    tau: float | None
    low: float | None
    high: float | None
    front: int
    lost: int

    @property
    def misleads(self) -> bool:
        """Whether to distrust the rung: a low tau, or an interval that includes no correlation."""
        return self.tau is None or self.low is None or self.tau < TRUSTED or self.low <= 0


@dataclass(frozen=True, slots=True)
class Audit:
    """What a search's own learning curves say of early stopping.

    ``survivors``: whether only what halving let through could be looked at, which is the better part and hides the
    topologies that start slowly. ``problem`` says why there is no audit.
    """

    ranks: tuple[Rank, ...] = ()
    survivors: bool = False
    problem: str | None = None

    @property
    def warning(self) -> str | None:
        """What to be warned of, in a sentence; None where every rung ranks well."""
        bad = [f"{one.share:.0%} ({one.metric} {_tau(one)})" for one in self.ranks if one.misleads]
        if not bad:
            return None
        return (
            f"halving would mislead: what is best at {', '.join(bad)} of the budget is not reliably best in the end; "
            "search without halving, or with a larger keep and fewer rungs"
        )

    def lines(self) -> Iterator[str]:
        """The audit for people, a line each."""
        if self.problem is not None:
            yield f"no audit of early stopping: {self.problem}"
            return
        for one in self.ranks:
            yield (
                f"at {one.share:.1%} of the budget, {one.metric} of {one.topologies} topologies: Kendall's tau "
                f"{_tau(one)}; {one.lost} of the {one.front} best in full would have been stopped there"
            )
        if self.survivors:
            yield (
                "these are the topologies that halving let through, so slow starters are not among them: set "
                f"search.halving.audit to {FEWEST} or more to train some in full whatever they do at rungs"
            )
        yield self.warning or "halving ranks well enough here"

    def to_dict(self) -> dict[str, Any]:
        """The same for programs."""
        ranks = [asdict(one) | {"misleads": one.misleads} for one in self.ranks]
        return {"ranks": ranks, "survivors": self.survivors, "problem": self.problem, "warning": self.warning}


def audit(experiment: Experiment, ledger: Ledger, classes: int) -> Audit:
    """Compare rungs with the full budget over the trials that were trained in full.

    Those that no rung could have stopped are taken alone where they are enough. Objectives that training does not
    change, such as flops, rank the same everywhere and are left out of tau.
    """
    halving = experiment.search.halving
    complete = [trial for trial in ledger.ordered() if trial.status is Status.COMPLETE and trial.objectives]
    free = whole(ledger, halving)
    unbiased = complete if halving is None else [trial for trial in complete if trial.number in free]
    survivors = len(unbiased) < FEWEST
    looked = complete if survivors else unbiased
    metrics = [one.metric for one in experiment.objectives if one.metric in GROWING]
    if not metrics:
        return Audit(problem="no objective changes with training")
    if len(looked) < FEWEST:
        return Audit(problem=f"{len(looked)} topologies were trained in full, and at least {FEWEST} are needed")
    found: list[Rank] = []
    for share in rung_fractions(halving) or SHARES:
        pairs = [(trial, _at(experiment, trial, share, classes)) for trial in looked]
        known = [(trial, early) for trial, early in pairs if early is not None]
        if len(known) >= FEWEST:
            front, lost = _stopped(experiment, known)
            found += [_rank(share, metric, known, front, lost) for metric in metrics]
    if not found:
        return Audit(problem="too few trials were measured near a rung")
    return Audit(tuple(found), survivors=survivors and halving is not None)


def _at(experiment: Experiment, trial: Trial, share: float, classes: int) -> dict[str, float] | None:
    """A trial's objectives where it had used a share of its budget; None where it was not measured near there."""
    wanted = share * trial.budget_flops
    near: CurvePoint | None = min(trial.curve, key=lambda point: abs(point.flops - wanted), default=None)
    if near is None or near.accuracy is None or near.loss is None or abs(near.flops - wanted) > TOLERANCE * wanted:
        return None
    # Memory and latency, which a trial has only where they are objectives, do not change with training either.
    costs = {**trial.objectives, "flops": trial.flops, "parameters": trial.parameters, "traffic": trial.traffic}
    for metric in GROWING:
        costs.pop(metric, None)
    return values(
        experiment.objectives,
        costs,
        accuracy=near.accuracy,
        loss=near.loss,
        seconds=0.0,
        classes=classes,
        curve=[point for point in trial.curve if point.step <= near.step],
        budget_flops=trial.budget_flops,
    )


def _rank(share: float, metric: str, known: Known, front: int, lost: int) -> Rank:
    drawn = known if len(known) <= MOST else random.Random(0).sample(known, MOST)
    early = [at[metric] for _, at in drawn]
    late = [trial.objectives[metric] for trial, _ in drawn]
    low, high = interval(early, late)
    return Rank(share, metric, len(drawn), kendall(early, late), low, high, front, lost)


def _stopped(experiment: Experiment, known: Known) -> tuple[int, int]:
    """How many nobody beats in full, and how many of them a rung would have stopped."""
    objectives = experiment.objectives
    rung = Layers({trial.number: signed(at, objectives) for trial, at in known})
    full = Layers({trial.number: signed(trial.objectives, objectives) for trial, _ in known})
    keep = (experiment.search.halving or Halving()).keep
    front, stay = {*full.front()}, {*rung.front(), *rung.best(keep)}  # as Layers.goes_on says of each alone
    return len(front), len(front - stay)


def kendall(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Kendall's tau-b, which corrects for ties; None where one of the two is all ties. O(n^2)."""
    return _tau_b(_order(a), _order(b))


def interval(a: Sequence[float], b: Sequence[float]) -> tuple[float | None, float | None]:
    """The 95 % percentile interval of tau over topologies drawn with replacement; the same on every call.

    A draw pairs a topology with itself at times, which says nothing: such pairs are ties. Draws that are all ties are
    left out.
    """
    count = len(a)
    drawn = np.random.default_rng(0).integers(0, count, (DRAWS, count))
    times = np.stack([np.bincount(each, minlength=count) for each in drawn]).astype(float)

    def over_pairs(signs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Their sum in each draw, in which a pair counts as often as its members meet; whole numbers, so exact."""
        found: np.ndarray[Any, Any] = (times @ signs.astype(float) * times).sum(axis=1)
        return found

    order_a, order_b = _order(a), _order(b)
    agreed, in_a, in_b = over_pairs(order_a * order_b), over_pairs(abs(order_a)), over_pairs(abs(order_b))
    told = (in_a > 0) & (in_b > 0)
    taus = sorted((agreed[told] / np.sqrt(in_a[told] * in_b[told])).tolist())
    if not taus:
        return None, None
    return taus[round(0.025 * (len(taus) - 1))], taus[round(0.975 * (len(taus) - 1))]


def _order(values: Sequence[float]) -> np.ndarray[Any, Any]:
    """The sign of every pair's difference."""
    column = np.asarray(values, dtype=float)[:, None]
    signs: np.ndarray[Any, Any] = np.sign(column - column.T).astype(np.int8)
    return signs


def _tau_b(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float | None:
    different = math.sqrt(float(np.count_nonzero(a)) * float(np.count_nonzero(b)))
    return float((a * b).sum(dtype=np.int64)) / different if different else None


def _tau(one: Rank) -> str:
    if one.tau is None or one.low is None or one.high is None:
        return "unknown, all values are equal"
    return f"{one.tau:+.2f} (95 % {one.low:+.2f} to {one.high:+.2f})"
