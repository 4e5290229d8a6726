"""Fresh seeds for what the search picked: the winner and the residual network of its depth, compared in pairs.

The winner was chosen by the validation split, which flatters it; so they are compared on the test split, which is
measured once at the end of each of these trainings and at no other time of a search.
"""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.experiment import Experiment
from nas.files import replace_file
from nas.front import winner
from nas.jobs import Outcome
from nas.pricing import Priced, judged, priced
from nas.records import Trial
from search_space.space import Point

if TYPE_CHECKING:
    from nas.study import Study

Row = Mapping[str, object]
Confirmed = Mapping[tuple[str, int], Mapping[str, Any]]  # the log's events by digest and seed

NO_TRIAL = -1  # the number of a job that belongs to no trial
COLUMNS = {  # of confirm.csv, and where the log has them
    "trial": "trial",
    "family": "family",
    "depth": "depth",
    "digest": "digest",
    "seed": "seed",
    "status": "status",
    "validation_accuracy": "accuracy",
    "validation_loss": "loss",
    "test_accuracy": "test_accuracy",
    "test_loss": "test_loss",
    "spent_flops": "spent_flops",
    "seconds": "seconds",
}


@dataclass(frozen=True, slots=True)
class Pair:
    """What is confirmed: the winner, and the residual network of its depth or the reason why there is none."""

    winner: Trial
    depth: int
    baseline: Priced | None
    problem: str | None = None

    def __str__(self) -> str:
        return f"trial {self.winner.number} ({self.winner.family}, depth {self.depth})"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Test accuracies of the winner and of the residual network on the same fresh seeds.

    ``low`` and ``high`` bound the mean paired difference at 95 % (Student's t over seeds).
    """

    seeds: int
    winner_mean: float
    winner_sd: float
    baseline_mean: float
    baseline_sd: float
    difference: float
    low: float
    high: float


def pair_of(experiment: Experiment, trials: Sequence[Trial]) -> Pair | None:
    """The winner of some trials and the network to compare it with; None while there is no winner."""
    best = winner(trials, experiment.objectives)
    if best is None:
        return None
    point = Point.from_dict(best.point)
    plan, reason = judged(experiment, experiment.space.residual(point.depth))
    if plan is None:
        return Pair(
            best, point.depth, None, f"the residual network of depth {point.depth} may not be trained: {reason}"
        )
    if plan.topology.digest == best.digest:
        return Pair(best, point.depth, None, f"it is the residual network of depth {point.depth} itself")
    return Pair(best, point.depth, plan)


def confirm(study: "Study", say: Any) -> None:
    """Train the winner and the residual network of its depth on the experiment's fresh seeds, those not in the log."""
    settings = study.experiment.confirm
    pair = None if settings is None else pair_of(study.experiment, study.ledger.ordered())
    if settings is None or pair is None:
        return
    seeds = fresh_seeds(study.experiment.seed, settings.seeds)
    plan = priced(study.experiment, study.experiment.space.topology(Point.from_dict(pair.winner.point)))
    contenders: list[tuple[str, int | None, Priced]] = [(str(pair), pair.winner.number, plan)]
    if pair.baseline is not None:
        number = study.ledger.digests.get(pair.baseline.topology.digest)
        contenders.append((f"the residual network of depth {pair.depth}", number, pair.baseline))
    pending = [
        (name, number, plan, seed)
        for name, number, plan in contenders
        for seed in seeds
        if (plan.topology.digest, seed) not in study.ledger.confirmed
    ]
    if pending and pair.problem is not None:
        say(f"confirming {pair} alone: {pair.problem}")
    for name, number, plan, seed in pending:
        say(f"confirming {name} on seed {seed}")
        job = study.job(plan, number=NO_TRIAL if number is None else number, seed=seed)
        study.executor.submit(replace(job, test=True))
        while not isinstance(message := study.next_message(), Outcome):
            pass
        study.log_confirmed(plan, number=number, seed=seed, outcome=message)


def fresh_seeds(seed: int, count: int) -> range:
    """Seeds that no trial of the search was trained on: the ones behind its own."""
    return range(seed + 1, seed + 1 + count)


def rows(confirmed: Confirmed) -> list[Row]:
    """The table of ``confirm.csv``: one row per topology and fresh seed."""
    return [{name: event.get(key) for name, key in COLUMNS.items()} for event in confirmed.values()]


def write(path: Path, table: Sequence[Row]) -> None:
    """Write ``confirm.csv``; floats read back exactly."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, table[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: repr(v) if isinstance(v, float) else v for name, v in row.items()} for row in table)
    replace_file(path, buffer.getvalue().encode())


def openings(confirmed: Confirmed) -> int:
    """How many times the test split was measured."""
    return sum(event.get("test_accuracy") is not None for event in confirmed.values())


def compare(confirmed: Confirmed, best: str, baseline: str) -> Comparison | None:
    """The paired comparison of two digests over the seeds on which both completed; None below two seeds."""
    accuracy = {key: value for key, event in confirmed.items() if (value := event.get("test_accuracy")) is not None}
    seeds = sorted(seed for digest, seed in accuracy if digest == best and (baseline, seed) in accuracy)
    if best == baseline or len(seeds) < 2:
        return None
    from scipy.stats import t as student

    ours = [accuracy[best, seed] for seed in seeds]
    theirs = [accuracy[baseline, seed] for seed in seeds]
    gaps = [a - b for a, b in zip(ours, theirs, strict=True)]
    mean = statistics.mean(gaps)
    half = float(student.ppf(0.975, len(gaps) - 1)) * statistics.stdev(gaps) / len(gaps) ** 0.5
    return Comparison(
        len(seeds),
        statistics.mean(ours),
        statistics.stdev(ours),
        statistics.mean(theirs),
        statistics.stdev(theirs),
        mean,
        mean - half,
        mean + half,
    )


def verdict(pair: Pair, confirmed: Confirmed) -> str:
    """What the fresh seeds say of the winner, in a sentence or two; empty where nothing was confirmed."""
    if not any(digest == pair.winner.digest for digest, _ in confirmed):
        return ""
    counted = f"The test split was measured {openings(confirmed)} times: at the end of each of these trainings."
    if pair.baseline is None:
        return f"{pair} has nothing to be compared with: {pair.problem}. {counted}"
    found = compare(confirmed, pair.winner.digest, pair.baseline.topology.digest)
    if found is None:
        few = "fewer than two fresh seeds were completed by both"
        return f"no interval for {pair} and the residual network of depth {pair.depth}: {few}. {counted}"
    word = "includes" if found.low <= 0 <= found.high else "excludes"
    gap, low, high = (f"{100 * value:+.2f}" for value in (found.difference, found.low, found.high))
    return (
        f"on {found.seeds} fresh seeds and the test split {pair} has {found.winner_mean:.2%} "
        f"(sd {found.winner_sd:.2%}) and the residual network of the same depth, {pair.depth}, has "
        f"{found.baseline_mean:.2%} (sd {found.baseline_sd:.2%}); paired difference {gap} points, 95 % interval on "
        f"the test split {low} to {high}, which {word} zero. {counted}"
    )
