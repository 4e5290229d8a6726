"""What can be wrong with a run's folder: each disagreement with the event log, where it is, and what mends it."""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from graphs import Topology
from graphs.errors import UserError
from nas import holder, tables
from nas.confirm import CHECKPOINTS
from nas.events import Event
from nas.experiment import Experiment
from nas.ledger import Ledger
from nas.records import Status, Trial
from nas.run_folder import RunFolder
from nas.sampling import Proposer
from nas.views import Views
from trainers.errors import CheckpointError

DRAFT = re.compile(r"\..+?\.(\d+)(\.tmp)?")  # of nas.files and trainers.checkpoint, with the process that wrote it
NOT_OURS = ("mlartifacts", "model")


@dataclass(frozen=True, slots=True)
class Problem:
    """One disagreement: its ``kind``, what it is, where, what ``--repair`` does, and how, where anything can."""

    kind: str  # log, proposals, files, views, tracking or mirror
    what: str
    where: str
    repair: str
    fix: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """The run that is looked at; ``alive`` where somebody drives it, so that what is under way is no disagreement."""

    views: Views
    alive: bool

    @property
    def folder(self) -> Path:
        return self.views.folder

    @property
    def experiment(self) -> Experiment:
        return self.views.experiment

    @property
    def ledger(self) -> Ledger:
        return self.views.ledger

    @property
    def waiting(self) -> set[int]:
        """Trials stopped at a rung that may go on one day."""
        halving = self.experiment.search.halving
        if halving is None or halving.form != "promotion":
            return set()
        return {trial.number for trial in self.views.trials if trial.status is Status.PRUNED}


def of_log(case: Case) -> Iterator[Problem]:
    """A line that a crash cut off, and a name left by a driver that died."""
    log = case.folder / "events.jsonl"
    if case.alive:  # it is being written
        return
    data = log.read_bytes()
    if data and not data.endswith(b"\n"):
        half = len(data) - data.rfind(b"\n") - 1
        # Taking the lock, as every repair does, cuts it off.
        yield Problem(
            "log", f"the last line was cut off by a crash ({half} bytes)", str(log), "cut it off", lambda: None
        )
    name = case.folder / holder.NAME
    if name.exists():
        yield Problem("log", "the name of a driver that has died", str(name), "delete it", lambda: None)


def of_facts(case: Case) -> Iterator[Problem]:
    """Whether ``lock.json`` and ``experiment.yaml`` are those of the run."""
    lock = case.folder / "lock.json"
    nothing = "nothing: restore it from a copy"
    if len(case.ledger.asks) and not case.alive:
        try:
            json.loads(lock.read_text(encoding="utf-8"))["data_fingerprint"]
        except FileNotFoundError:
            yield Problem("files", "versions and data are not written down", str(lock), nothing + ", or --resume")
        except (OSError, ValueError, LookupError, TypeError):
            yield Problem("files", "it is damaged", str(lock), nothing)
    start = case.ledger.start or {}
    for name in ("name", "seed"):
        if start.get(name, getattr(case.experiment, name)) != getattr(case.experiment, name):
            what = f"its {name} is {getattr(case.experiment, name)!r}, but the log began with {start[name]!r}"
            yield Problem("files", what, str(case.folder / "experiment.yaml"), nothing)


def of_proposals(case: Case) -> Iterator[Problem]:
    """Whether what the sampler would be told, and Optuna would see, is what the log says."""
    experiment, ledger = case.experiment, case.ledger
    where = str(case.folder / "events.jsonl")
    nothing = "nothing: go on with the versions in lock.json"
    numbers = [ask.number for ask in ledger.asks if ask.number is not None]
    if sorted(numbers) != list(range(len(numbers))):
        twice = [number for number, count in Counter(numbers).items() if count > 1]
        yield Problem("proposals", f"trials are asked for twice or left out: {twice[:5]}", where, nothing)
    for ask in ledger.asks:
        if ask.twin is not None and ledger.digests.get(ask.digest) != ask.twin:
            yield Problem(
                "proposals", f"ask {ask.index} repeats trial {ask.twin}, which is another topology", where, nothing
            )
    for number, event in _topologies(ledger):
        try:
            now = Topology.from_dict(event).digest
        except UserError as error:
            yield Problem("proposals", f"the topology of trial {number} cannot be read: {error}", where, nothing)
            continue
        if ledger.digests.get(now) != number:
            yield Problem("proposals", f"the topology of trial {number} has another digest now, {now}", where, nothing)
    yield from _optuna(experiment, ledger, where, nothing)


def _topologies(ledger: Ledger) -> Iterator[tuple[int, Event]]:
    for trial in ledger.ordered():
        if trial.topology is not None:
            yield trial.number, dict(trial.topology)
    for number, event in ledger.open.items():
        yield number, event["topology"]


def _optuna(experiment: Experiment, ledger: Ledger, where: str, nothing: str) -> Iterator[Problem]:
    """Compare the states of the trials that Optuna would be given with those in the log."""
    proposer = Proposer(
        experiment.space,
        goals=[one.goal for one in experiment.objectives],
        sampler="tpe",
        seed=experiment.seed,
        random_share=experiment.search.random_share,
    )
    expected = {None: "RUNNING", Status.COMPLETE: "COMPLETE", Status.FAILED: "FAIL"}
    own = ledger.history()[len(ledger.warm) :]  # behind what earlier searches found
    for ask, told in zip(ledger.asks, own, strict=True):
        trial = ledger.trials.get(-1 if ask.number is None or ask.twin is not None else ask.number)
        status = Status.PRUNED if ask.twin is not None else trial.status if trial is not None else None
        wanted = (
            expected.get(status, "PRUNED"),
            tuple(trial.objectives.values()) if trial and status is Status.COMPLETE else None,
        )
        try:
            seen = proposer.seen(told)
        except ValueError as error:
            yield Problem("proposals", f"Optuna refuses ask {ask.index}: {error}", where, nothing)
            continue
        if seen is not None and seen != wanted:
            what = f"Optuna would be told {seen[0]} of ask {ask.index}, and the log says {wanted[0]}"
            yield Problem("proposals", what, where, nothing)


def of_files(case: Case) -> Iterator[Problem]:
    """Weights, checkpoints and tracebacks that should not be there, or are missing, and what was left half-written."""
    front, open_ = {trial.number for trial in case.views.front}, set(case.ledger.open)
    failed = {trial.number for trial in case.views.trials if trial.status is Status.FAILED}
    allowed = {"weights": front | open_, "checkpoints": open_ | case.waiting, "failures": failed | open_}
    if not case.alive:  # whose driver deletes and writes while we look
        for folder, numbers in allowed.items():
            for path in sorted((case.folder / folder).glob("[!.]*")):
                number = _number(path)
                if folder == "checkpoints" and path.match(CHECKPOINTS):
                    if case.ledger.ended:  # until then the confirmation goes on from it
                        yield _needless(path, "files", "the checkpoint of a confirmation that is over")
                elif number not in numbers:
                    yield _needless(path, "files", f"{folder} of a trial that {_why(case, number, folder)}")
        for number in sorted(front):
            yield from _weights(case, number)
    for path in sorted(_drafts(case.folder)):
        match = DRAFT.fullmatch(path.name)
        if match is not None and not holder.running(int(match[1])) and not case.alive:
            yield _needless(path, "files", "half a file that a crash left")


def _weights(case: Case, number: int) -> Iterator[Problem]:
    from trainers import checkpoint

    path = case.folder / "weights" / RunFolder.weight_name(number)
    lost = "nothing: restore it from a copy or from the mirror; without it the trial cannot be compiled"
    trial = case.ledger.trials[number]
    try:
        digest = checkpoint.read_metadata(path).get("digest", trial.digest)
    except CheckpointError as error:
        if path.exists():
            yield Problem(
                "files", f"the weights of trial {number}, on the front, are damaged: {error}", str(path), lost
            )
        else:
            yield Problem("files", f"the weights of trial {number}, on the front, are missing", str(path), lost)
        return
    if digest != trial.digest:
        what = f"the weights of trial {number}, on the front, are those of another topology, {digest}"
        yield Problem("files", what, str(path), lost)


def _drafts(folder: Path) -> Iterator[Path]:
    for at, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in NOT_OURS]
        yield from (Path(at) / name for name in names if name.startswith("."))


def _number(path: Path) -> int:
    found = re.fullmatch(r"trial-(\d+)\.\w+", path.name)
    return -1 if found is None else int(found[1])


def _why(case: Case, number: int, folder: str) -> str:
    if number not in case.ledger.asked and number not in case.ledger.trials:
        return "is not in the log"
    return {"weights": "is not on the front", "checkpoints": "is over", "failures": "did not fail"}[folder]


def _needless(path: Path, kind: str, what: str) -> Problem:
    return Problem(kind, what, str(path), "delete it", partial(path.unlink, missing_ok=True))


def of_views(case: Case) -> Iterator[Problem]:
    """Tables, report and winner that are not what the log gives. A driver that is alive is about to write them."""
    if case.alive:
        return
    views, objectives = case.views, case.experiment.objectives
    expected: dict[str, str] = {}
    if views.trials:
        expected |= {
            "trials.csv": tables.text(views.trials, objectives),
            "pareto.csv": tables.text(views.front, objectives),
        }
    every: tuple[str, ...] = ()
    if case.ledger.ended:
        expected["hypervolume.csv"] = tables.volume_text(views.volume())
        every = ("report.html", "pareto.png", *(("winner/topology.yaml", "winner/card.md") if views.winner else ()))
    for name, wanted in expected.items():
        yield from _differs(case, name, wanted)
    for name in every:
        if not (case.folder / name).is_file():
            yield _remade(case, name, "it is missing", views.write_all)
    best, file = views.winner, case.folder / "winner" / "topology.yaml"
    if best is not None and file.is_file() and _digest(file) != best.digest:
        yield _remade(
            case, "winner/topology.yaml", f"it is not that of the winner, trial {best.number}", views.write_all
        )
    page = case.folder / "report.html"
    if case.ledger.ended and page.is_file() and 'http-equiv="refresh"' in page.read_text(encoding="utf-8")[:4000]:
        yield _remade(
            case, "report.html", "it is the page of a search that runs, and this one has ended", views.write_all
        )


def _differs(case: Case, name: str, wanted: str) -> Iterator[Problem]:
    path = case.folder / name
    fix: Callable[[], object] = case.views.write_all if name == "hypervolume.csv" else case.views.write_tables
    if not path.is_file():
        yield _remade(case, name, "it is missing", fix)
    elif path.read_bytes() != wanted.encode():
        yield _remade(case, name, "it is not what the log gives", fix)


def _remade(case: Case, name: str, what: str, fix: Callable[[], object]) -> Problem:
    return Problem("views", what, str(case.folder / name), "make it anew from the log", fix)


def _digest(file: Path) -> str:
    try:
        return Topology.load(file).digest
    except (UserError, OSError):
        return ""


def finished(case: Case) -> list[Trial]:
    """The trials of which everybody was told, so that MLflow has them."""
    waiting = set() if case.ledger.ended else case.waiting
    return [trial for trial in case.views.trials if trial.number not in waiting]
