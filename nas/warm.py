"""Warm start: what earlier searches found is told to the sampler as history, and is no trial of this one.

It is taken in once, before the first ask, and is in the log from then on: a resumed search needs the earlier runs no
more.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphs import Topology, UserError
from nas.errors import ExperimentError
from nas.events import read
from nas.experiment import Experiment
from nas.ledger import Ledger
from nas.lock import DATA
from nas.proposal import Proposal
from nas.records import Status, Trial
from nas.samplers.known import Rank, ranks
from nas.sampling import WARM, Told
from search_space import enumeration
from search_space.point import Point
from search_space.recognise import wiring_point
from search_space.space import Space

if TYPE_CHECKING:
    from nas.study import Study

RERUN = "rerun"
USED = (Status.COMPLETE, Status.PRUNED, Status.DIVERGED)  # limits may be others now, and a crash says nothing
MOST_POINTS = 2000  # of a space that are looked through for the digests of a bare table


@dataclass(frozen=True, slots=True)
class Earlier:
    """What one earlier search gives: records for the log, and a sentence on what could be used."""

    told: tuple[Mapping[str, Any], ...]
    said: str


def take(study: "Study", fingerprint: str, say: Any) -> None:
    """Log the history that the file asks for, unless the log has it; ExperimentError where it is of something else."""
    experiment = study.experiment
    if not experiment.search.warm_start or study.ledger.warmed:
        return
    found = [earlier(Path(path), experiment, fingerprint) for path in experiment.search.warm_start]
    for one in found:
        say(one.said)
    study.log(WARM, runs=list(experiment.search.warm_start), told=[told for one in found for told in one.told])


def earlier(path: Path, experiment: Experiment, fingerprint: str) -> Earlier:
    """The trials of a run's folder or of a ``trials.csv``, as far as they are points of this space."""
    folder = path if path.is_dir() else path.parent
    if (folder / "events.jsonl").is_file():
        return _run(folder, experiment, fingerprint)
    if path.is_file() and path.suffix == ".csv":
        return _table(path, experiment)
    raise ExperimentError(f"search.warm_start: {path} is neither a run's folder nor its trials.csv")


def _run(folder: Path, experiment: Experiment, fingerprint: str) -> Earlier:
    held = Experiment.load(folder / "experiment.yaml", read_data=False)
    differing = [*_differences(held, experiment), *_other_data(folder, fingerprint)]
    if differing:
        raise ExperimentError(
            f"search.warm_start: the trials of {folder} cannot be compared with those of this search: "
            f"{'; '.join(differing)}; make them the same, or leave that run out"
        )
    trials = [trial for trial in Ledger.replay(read(folder / "events.jsonl")).ordered() if trial.status in USED]
    told = [record for trial in trials if (record := _record(trial, experiment)) is not None]
    return Earlier(tuple(told), _said(folder, len(told), len(trials), "outside this space"))


def _differences(held: Experiment, given: Experiment) -> Iterator[str]:
    """What must agree and does not: how networks are built, trained and judged. Threads change nothing that counts."""
    there, here = held.resolved(), given.resolved()
    for section in ("backbone", "train"):
        for name in dict.fromkeys((*there[section], *here[section])):
            before, now = there[section].get(name), here[section].get(name)
            if name != "threads" and before != now:
                yield f"{section}.{name} was {before!r} there and is {now!r} here"
    before, now = ({one["metric"]: one for one in whole["objectives"]} for whole in (there, here))
    if before != now:
        yield f"the objectives were {', '.join(before)} there and are {', '.join(now)} here, or differ in their options"


def _other_data(folder: Path, fingerprint: str) -> Iterator[str]:
    try:
        before = json.loads((folder / "lock.json").read_text(encoding="utf-8"))[DATA]
    except (OSError, ValueError, LookupError, TypeError):
        yield "its lock.json, which says what data it had, is missing or damaged"
        return
    if before != fingerprint:
        yield f"the data's fingerprint was {before} there and is {fingerprint} here"


def _record(trial: Trial, experiment: Experiment) -> Mapping[str, Any] | None:
    """A trial as the log has it; None where it is no point of this space."""
    point = _point(trial, experiment.space)
    if point is None:
        return None
    metrics = [one.metric for one in experiment.objectives]
    known = all(metric in trial.objectives for metric in metrics)
    values = [trial.objectives[metric] for metric in metrics] if known else None
    return {"point": point.to_dict(), "status": trial.status.value, "values": values, "digest": trial.digest}


def _point(trial: Trial, space: Space) -> Point | None:
    """The point of this space that a trial's topology is, if it is one."""
    point = Point.from_dict(trial.point)
    try:
        if space.topology(point).digest == trial.digest:
            return point
    except UserError:  # that space had another name, value or family
        pass
    return None if trial.topology is None else wiring_point(space, Topology.from_dict(dict(trial.topology)))


def _table(path: Path, experiment: Experiment) -> Earlier:
    """A table alone: it names topologies by digest, which are looked for among the points of this space."""
    metrics = [one.metric for one in experiment.objectives]
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row.get("status") in USED]
            budgets = {float(row["budget_flops"]) for row in rows}
            figures = [[float(row[metric]) for metric in metrics] if row[metrics[0]] else None for row in rows]
    except (OSError, ValueError, LookupError, TypeError) as error:
        needs = ", ".join(["status", "family", "digest", "budget_flops", *metrics])
        raise ExperimentError(f"search.warm_start: {path} has not the columns {needs} of a run ({error!r})") from error
    budget = experiment.train.budget_gflops * 1e9
    if budgets - {budget}:
        raise ExperimentError(
            f"search.warm_start: {path} has trials of {max(budgets - {budget}):g} training FLOPs, and those of this "
            f"search have {budget:g}; they cannot be compared"
        )
    known = {(point.family, digest): point for digest, point in _known(experiment.space)}
    told = []
    for row, values in zip(rows, figures, strict=True):
        point = known.get((row["family"], row["digest"]))
        if point is not None:
            record = {"point": point.to_dict(), "status": row["status"], "values": values, "digest": row["digest"]}
            told.append(record)
    why = "not found by their digests, because a table without its run's events.jsonl has no points"
    unchecked = "that data, backbone and recipe are the same nobody can tell from a table"
    return Earlier(tuple(told), f"{_said(path, len(told), len(rows), why)}; {unchecked}")


def _known(space: Space) -> Iterator[tuple[str, Point]]:
    """Digests and points that can be written down without a search: designs, corners, and all of a small space."""
    points: list[Point] = [point for depths in space.designs() for point in depths]
    points += space.corners()
    if enumeration.continuous(space) is None and (enumeration.count(space) or MOST_POINTS + 1) <= MOST_POINTS:
        points += enumeration.points(space)
    for point in dict.fromkeys(points):
        try:
            yield space.topology(point).digest, point
        except UserError:
            continue


def _said(path: Path, used: int, every: int, why: str) -> str:
    rest = f"; {every - used} are {why}" if every > used else ""
    return f"warm start: {used} of {every} trials of {path} are known to the sampler{rest}"


class Rerun:
    """Proposes the best of the warm history once more, as trials of this search; see :class:`nas.proposal.Proposer`."""

    def __init__(self, count: int, rank: Rank) -> None:
        self.count = count
        self.rank = rank

    def propose(self, ledger: Ledger) -> Proposal | None:
        """The next of the best ``count``: by front, then by the first objective."""
        asked = sum(ask.source == RERUN for ask in ledger.asks)
        if asked >= self.count:
            return None
        best = self._best(ledger.warm)
        return Proposal(best[asked].point, RERUN) if asked < len(best) else None

    def _best(self, warm: Sequence[Told]) -> list[Told]:
        complete = [told for told in warm if told.status is Status.COMPLETE and told.values is not None]
        places = ranks(complete, self.rank)
        order = sorted(range(len(complete)), key=lambda i: (places[i], self.rank(complete[i].values or ()), i))
        distinct: dict[str, Told] = {}
        for i in order:
            distinct.setdefault(complete[i].digest, complete[i])
        return list(distinct.values())[: self.count]
