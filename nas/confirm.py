"""Fresh seeds for what the search picked: the winner and the residual network trained again, and compared in pairs."""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.files import replace_file
from nas.front import winner
from nas.jobs import Outcome
from nas.records import Trial
from nas.report import residual_baseline

if TYPE_CHECKING:
    from nas.study import Study

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Accuracies of the winner and of the residual network on the same fresh seeds.

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

    def __str__(self) -> str:
        verdict = "includes" if self.low <= 0 <= self.high else "excludes"
        gap, low, high = (f"{100 * value:+.2f}" for value in (self.difference, self.low, self.high))
        return (
            f"on {self.seeds} fresh seeds the winner has {self.winner_mean:.2%} (sd {self.winner_sd:.2%}) and the "
            f"residual network {self.baseline_mean:.2%} (sd {self.baseline_sd:.2%}); paired difference {gap} points, "
            f"95 % interval {low} to {high}, which {verdict} zero"
        )


def confirm(study: "Study", say: Any) -> None:
    """Train the winner and its residual baseline on the experiment's fresh seeds, those not yet in the log."""
    settings = study.experiment.confirm
    if settings is None:
        return
    seeds = fresh_seeds(study.experiment.seed, settings.seeds)
    pending = [
        (t, seed) for t in _candidates(study) for seed in seeds if (t.digest, seed) not in study.ledger.confirmed
    ]
    for trial, seed in pending:
        say(f"confirming trial {trial.number} ({trial.family}) on seed {seed}")
        study.executor.submit(study.job(trial.number, seed=seed))
        while not isinstance(message := study.next_message(), Outcome):
            pass
        study.log_confirmed(trial, seed, message)


def fresh_seeds(seed: int, count: int) -> range:
    """Seeds that no trial of the search was trained on: the ones behind its own."""
    return range(seed + 1, seed + 1 + count)


def _candidates(study: "Study") -> list[Trial]:
    trials = study.ledger.ordered()
    best = winner(trials, study.experiment.objectives)
    if best is None:
        return []
    baseline = residual_baseline(trials, best)
    return [best] if baseline is None or baseline.digest == best.digest else [best, baseline]


def rows(confirmed: Mapping[tuple[str, int], Mapping[str, Any]]) -> list[Row]:
    """The table of ``confirm.csv``: one row per topology and fresh seed."""
    columns = ("trial", "family", "digest", "seed", "status", "accuracy", "loss", "spent_flops", "seconds")
    return [{name: event.get(name) for name in columns} for event in confirmed.values()]


def write(path: Path, table: Sequence[Row]) -> None:
    """Write ``confirm.csv``; floats read back exactly."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, table[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: repr(v) if isinstance(v, float) else v for name, v in row.items()} for row in table)
    replace_file(path, buffer.getvalue().encode())


def compare(confirmed: Mapping[tuple[str, int], Mapping[str, Any]], best: str, baseline: str) -> Comparison | None:
    """The paired comparison of two digests over the seeds on which both completed; None below two seeds."""
    accuracy = {key: event["accuracy"] for key, event in confirmed.items() if event["status"] == "COMPLETE"}
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
