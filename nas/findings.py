"""What the fresh seeds say: a row per network, its comparison with the baseline, and the words that are allowed."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from nas.compare import Advantage, Comparison, advantage, compare, detectable
from nas.confirm import SHARES, Lineup, lineup_of, measurements, quality
from nas.experiment import Experiment
from nas.ledger import Ledger
from nas.records import Status, Trial
from nas.units import describe, difference, show

BUDGETS = len(SHARES) + 1  # of the baseline's curve; with fewer nothing is read off it


@dataclass(frozen=True, slots=True)
class Finding:
    """One network on the fresh seeds; ``mean`` and ``sd`` are of the test split over ``seeds`` completed trainings.

    ``searched`` is what the search had measured on the validation split, ``advantage`` with its interval is the
    compute advantage; each is None where it is not known.
    """

    name: str
    role: str  # winner, front or baseline
    trial: int | None
    family: str
    depth: int
    digest: str
    flops: float
    seeds: int
    mean: float | None
    sd: float | None
    searched: float | None = None
    comparison: Comparison | None = None
    advantage: Advantage | None = None
    advantage_low: Advantage | None = None
    advantage_high: Advantage | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """A whole confirmation. ``metric`` is accuracy or loss; ``curve`` the baseline's mean by share of the budget."""

    metric: str
    lineup: Lineup
    rows: tuple[Finding, ...]
    curve: tuple[tuple[float, float], ...]
    curve_seeds: int
    openings: int
    measured: int
    trials: int

    @property
    def winner(self) -> Finding:
        return self.rows[0]

    @property
    def baseline(self) -> Finding | None:
        return next((row for row in self.rows if row.role == "baseline"), None)

    @property
    def confirmed(self) -> int:
        """How many members of the front are among the rows; one may be the baseline."""
        front = {trial.digest for trial in (self.lineup.winner, *self.lineup.others)}
        return sum(row.digest in front for row in self.rows)

    def sentences(self) -> list[str]:
        """All of it in words: the winner, the scope, the power, the curve, the test split."""
        return [
            self._winner_text(),
            *self._scope(),
            *self._power(),
            *self._curve_text(),
            self._split_text(),
        ]

    def _split_text(self) -> str:
        return (
            f"The test split was opened {_times(self.openings)}, for a list of networks and seeds fixed before, and "
            f"measured {_times(self.measured)}: at the end of each of these trainings."
        )

    def verdict(self) -> str:
        """The winner and the test split alone, for the terminal."""
        said = self.sentences()
        return f"{said[0]} {said[-1]}"

    def _winner_text(self) -> str:
        lineup, mine = self.lineup, self.winner
        if lineup.own:
            return (
                f"{lineup} has nothing to be compared with: it is the residual network of depth {lineup.depth} itself; "
                f"on {mine.seeds} fresh seeds and the test split it has {self.figure(mine)}."
            )
        if lineup.baseline is None:
            return (
                f"{lineup} has nothing to be compared with: {lineup.problem}. On {mine.seeds} fresh seeds and the test "
                f"split it has {self.figure(mine)}."
            )
        found, base = mine.comparison, self.baseline
        if found is None or base is None:
            few = "fewer than two fresh seeds were completed by both"
            return f"no interval for {lineup} and the residual network of depth {lineup.depth}: {few}."
        said = f"{self.said(found)}."
        if mine.advantage is not None:
            said = f"{said[:-1]}. Compute advantage: {self.advantage_text(mine)}."
        return (
            f"on {found.seeds} fresh seeds and the test split {lineup} has {self.figure(mine)} and the residual "
            f"network of the same depth, {lineup.depth}, has {self.figure(base)}; paired difference "
            f"{self.gap(found.difference)}, 95 % bootstrap interval on the test split {self.interval(found)}: {said}"
        )

    def said(self, found: Comparison) -> str:
        """Whether the interval includes zero, and what follows."""
        if found.excludes_zero:
            return f"zero is outside, so {found.word} than it there"
        if found.low <= 0 <= found.high:
            return "zero is inside, so no difference is shown"
        return (
            f"zero is outside, but not of Student's t interval, {self.gap(found.t_low)} to {self.gap(found.t_high)}, "
            "which few seeds call for: no difference is shown"
        )

    def _scope(self) -> list[str]:
        confirmed = self.confirmed
        which = "the whole front" if confirmed == self.lineup.front else "spread along it"
        lines = [f"Confirmed: {confirmed} of the {self.lineup.front} members of the front, {which}."]
        compared = [row for row in self.rows if row.comparison is not None]
        if any(row.depth != self.lineup.depth for row in compared):
            lines.append(
                f"All are compared with the one residual network, of depth {self.lineup.depth}, at equal training "
                "compute; a member of another depth differs from it in more than its wiring."
            )
        if len(compared) > 1:
            lines.append(f"Of {len(compared)} intervals of 95 % one in twenty misses by chance.")
        return lines

    def _power(self) -> list[str]:
        base = self.baseline or self.winner
        if base.sd is None or base.seeds < 2:
            return []
        least = detectable(base.sd, base.seeds)
        text = (
            f"With {base.seeds} seeds and a standard deviation of {show(self.metric, base.sd)} a true difference of "
            f"{difference(self.metric, least)[1:]} would be seen in 80 % of cases without pairing; smaller ones may be "
            "there and not be seen."
        )
        return [text]

    def _curve_text(self) -> list[str]:
        if not self.curve:
            return []
        points = ", ".join(f"{share:g}x: {show(self.metric, mean)}" for share, mean in self.curve)
        few = f"; with fewer than {BUDGETS} budgets nothing is read off it" if len(self.curve) < BUDGETS else ""
        return [f"The baseline at other budgets, {_seeds(self.curve_seeds)}: {points}{few}."]

    def figure(self, row: Finding) -> str:
        """Mean and sd of a row in words."""
        if row.mean is None:
            return "no figure"
        sd = "" if row.sd is None else f" (sd {show(self.metric, row.sd)})"
        return f"{show(self.metric, row.mean)}{sd}"

    def gap(self, value: float) -> str:
        return difference(self.metric, value)

    def interval(self, found: Comparison) -> str:
        return f"{self.gap(found.low)} to {self.gap(found.high)}"

    def advantage_text(self, row: Finding) -> str:
        """The compute advantage with its interval, in words."""
        mine = row.advantage
        if mine is None:
            return "–"
        ends = f" (interval {row.advantage_low} to {row.advantage_high})"
        if mine.times is None:
            return f"as good as {mine} the baseline's training compute, where its curve ends{ends}"
        return f"as good as {mine} the baseline's training compute{ends}"

    def table(self) -> list[dict[str, object]]:
        """``confirm.csv``: a row per network."""
        return [_record(row, self.metric) for row in self.rows]

    def to_dict(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "metric": self.metric,
            "networks": self.table(),
            "front": self.lineup.front,
            "problem": self.lineup.problem,
            "curve": [{"share": share, "mean": mean} for share, mean in self.curve],
            "curve_seeds": self.curve_seeds,
            "test_openings": self.openings,
            "test_measurements": self.measured,
            "said": self.sentences(),
        }


def findings(experiment: Experiment, ledger: Ledger) -> Findings | None:
    """What the log says of the present front on fresh seeds; None where none of it was confirmed."""
    trials = ledger.ordered()
    lineup = lineup_of(experiment, trials) if ledger.confirmed else None
    if lineup is None or not any(digest == lineup.winner.digest for digest, _ in ledger.confirmed):
        return None
    metric = quality(experiment)
    gain = -1 if metric == "loss" else 1
    base = None if lineup.baseline is None else lineup.baseline.topology.digest
    curve, curve_seeds = _curve(ledger, base, metric)
    rows = [_finding(ledger, lineup.winner, "winner", metric)]
    if lineup.baseline is not None and not lineup.own:
        rows.append(_baseline(ledger, lineup, trials, metric))
    others = [_finding(ledger, trial, "front", metric) for trial in lineup.others if trial.digest != base]
    seen = {digest for digest, _ in ledger.confirmed}
    rows += [row for row in others if row.digest in seen]  # a log of before has the winner alone
    compared = tuple(
        row if base is None or base == row.digest else _compared(ledger, row, base, metric, gain, curve) for row in rows
    )
    openings = max(len(ledger.openings), 1)  # logs of before did not count them
    return Findings(metric, lineup, compared, curve, curve_seeds, openings, measurements(ledger), len(trials))


def _values(ledger: Ledger, digest: str, metric: str) -> dict[int, float]:
    """The test split by seed, of completed trainings."""
    found = ((seed, event.get(f"test_{metric}")) for (own, seed), event in ledger.confirmed.items() if own == digest)
    return {seed: float(value) for seed, value in found if value is not None}


def _summary(values: Sequence[float]) -> tuple[int, float | None, float | None]:
    mean = statistics.mean(values) if values else None
    return len(values), mean, statistics.stdev(values) if len(values) > 1 else None


def _finding(ledger: Ledger, trial: Trial, role: str, metric: str) -> Finding:
    values = list(_values(ledger, trial.digest, metric).values())
    depth = int(trial.point["depth"])
    name, searched = f"#{trial.number} {describe(trial)}", getattr(trial, metric)
    return Finding(
        name, role, trial.number, trial.family, depth, trial.digest, trial.flops, *_summary(values), searched
    )


def _baseline(ledger: Ledger, lineup: Lineup, trials: Sequence[Trial], metric: str) -> Finding:
    assert lineup.baseline is not None, "only a baseline that is there is looked at"
    digest = lineup.baseline.topology.digest
    known = next((trial for trial in trials if trial.digest == digest), None)
    whole = known is not None and known.status is Status.COMPLETE  # one stopped early is no figure to compare with
    values = list(_values(ledger, digest, metric).values())
    name = f"{'' if known is None else f'#{known.number} '}residual depth={lineup.depth}"
    return Finding(
        name, "baseline", None if known is None else known.number, "residual", lineup.depth, digest,
        float(lineup.baseline.cost.flops), *_summary(values), getattr(known, metric) if whole else None,
    )  # fmt: skip


def _compared(
    ledger: Ledger, row: Finding, base: str, metric: str, gain: int, curve: Sequence[tuple[float, float]]
) -> Finding:
    ours, theirs = _values(ledger, row.digest, metric), _values(ledger, base, metric)
    seeds = sorted(ours.keys() & theirs.keys())
    found = compare([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds], gain)
    row = replace(row, comparison=found)
    if found is None or len(curve) < BUDGETS:
        return row
    ends = (found.low, found.high) if gain > 0 else (found.high, found.low)
    at = [advantage(curve, gap, gain) for gap in (found.difference, *ends)]
    return replace(row, advantage=at[0], advantage_low=at[1], advantage_high=at[2])


def _curve(ledger: Ledger, base: str | None, metric: str) -> tuple[tuple[tuple[float, float], ...], int]:
    """The baseline's mean on the test split by share of the budget, over the seeds that have every share."""
    if base is None:
        return (), 0
    found: dict[float, dict[int, float]] = {1.0: _values(ledger, base, metric)}
    for (digest, seed, share), event in ledger.budgets.items():
        value = event.get(f"test_{metric}")
        if digest == base and value is not None:
            found.setdefault(share, {})[seed] = value
    seeds = set.intersection(*(set(values) for values in found.values()))
    if len(found) < 2 or not seeds:
        return (), 0
    means = ((share, statistics.mean(found[share][seed] for seed in sorted(seeds))) for share in sorted(found))
    return tuple(means), len(seeds)


def _record(row: Finding, metric: str) -> dict[str, object]:
    found = row.comparison
    record: dict[str, object] = {
        "role": row.role,
        "trial": row.trial,
        "family": row.family,
        "depth": row.depth,
        "digest": row.digest,
        "flops": row.flops,
        "metric": f"test_{metric}",
        "n": row.seeds,
        "mean": row.mean,
        "sd": row.sd,
        f"validation_{metric}_in_search": row.searched,
        "paired_n": None if found is None else found.seeds,
        "paired_difference": None if found is None else found.difference,
    }
    for name in ("low", "high", "t_low", "t_high", "word"):
        record[name] = None if found is None else getattr(found, name)
    for name in ("advantage", "advantage_low", "advantage_high"):
        read: Advantage | None = getattr(row, name)
        record[f"compute_{name}"] = None if read is None else str(read)
    return record


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"mean of {count} seeds"
