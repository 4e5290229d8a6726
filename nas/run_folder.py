"""The folder of one run: what is in it, how it is made, and when it may be continued."""

import json
import uuid
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from nas import lock
from nas.errors import RunFolderError
from nas.events import EventLog, read
from nas.experiment import Experiment
from nas.files import replace_file
from nas.ledger import Ledger
from search_space.document import dump

MAY_CHANGE = ("trials", "storage", "report", "resources")  # of an experiment: nothing proposed depends on them
ANEW = "leave --resume out and choose another --out"


class RunFolder:
    """Paths of a run, its experiment and its event log; see :meth:`create` and :meth:`resume`.

    ``experiment`` is what the run goes by. ``notes`` are sentences for the user on how it differs from what was asked.
    """

    def __init__(self, path: Path, experiment: Experiment, log: EventLog) -> None:
        self.path = path
        self.experiment = experiment
        self.log = log
        self.notes: list[str] = []

    @cached_property
    def weights(self) -> Path:
        return self.path / "weights"

    def weight_file(self, number: int) -> Path:
        """Where the trained weights of a trial are, as long as it is on the front."""
        return self.weights / self.weight_name(number)

    def checkpoint_file(self, number: int) -> Path:
        """Where the state of a trial's training is while it runs, or waits at a rung."""
        return self.path / "checkpoints" / self.weight_name(number)

    def tidy(self, *, weights: Iterable[int], checkpoints: Iterable[int]) -> None:
        """Drop the weights and checkpoints of other trials than these, and halves of files."""
        kept = {*map(self.weight_file, weights), *map(self.checkpoint_file, checkpoints)}
        for name in ("weights", "checkpoints"):
            for pattern in ("trial-*.safetensors", ".*"):
                for path in (self.path / name).glob(pattern):
                    if path not in kept:
                        path.unlink(missing_ok=True)

    @staticmethod
    def weight_name(number: int) -> str:
        return f"trial-{number:04d}.safetensors"

    @classmethod
    def create(cls, path: Path, experiment: Experiment) -> "RunFolder":
        """Make a new folder; RunFolderError where it holds a run already or cannot be written."""
        if path.exists() and not path.is_dir():
            raise RunFolderError(f"{path} is not a folder; choose another --out")
        if path.exists() and any(path.iterdir()):
            raise RunFolderError(f"{path} {_contents(path, experiment)}")
        try:
            path.mkdir(parents=True, exist_ok=True)
            replace_file(path / "experiment.yaml", dump(experiment.resolved()).encode())
            (path / "weights").mkdir()
            log = EventLog(path / "events.jsonl")
            folder = cls(path, experiment, log)
            folder._start()
        except OSError as error:
            raise RunFolderError(f"{path}: cannot be written: {error.strerror}; choose another --out") from error
        return folder

    @classmethod
    def resume(cls, path: Path, experiment: Experiment, *, exactly: bool = False) -> "RunFolder":
        """Open the folder of an earlier run of the same experiment; RunFolderError says what differs.

        The run goes on by the experiment in its folder, whose order of families decides what is proposed; only
        ``storage``, ``report``, ``resources`` and ``trials`` are taken over, and fewer trials than before only if
        ``exactly`` says that they are meant.
        """
        held = _experiment_of(path)
        _check_start(path, held)
        differing = _differences(held.resolved(), experiment.resolved())
        if differing:
            raise RunFolderError(
                f"{path} holds another experiment: {'; '.join(differing[:4])}; "
                f"resume it with the file it was started with, or {ANEW}"
            )
        log = EventLog(path / "events.jsonl")
        try:
            folder = cls(path, held, log)
            folder.experiment = held.replace(
                storage=experiment.storage, report=experiment.report, resources=experiment.resources
            )
            folder._take_trials(experiment.trials, Ledger.replay(log.events).trained, exactly)
            try:
                folder.weights.mkdir(exist_ok=True)  # somebody may have tidied it away
            except OSError as error:
                raise RunFolderError(
                    f"{folder.weights}: no folder can be made there: {error.strerror}; move what is there away"
                ) from error
            if not log.events:  # the crash came before the first line
                folder._start()
        except BaseException:
            log.close()
            raise
        return folder

    @property
    def key(self) -> str:
        """What names this run in other systems."""
        return str(self.log.events[0]["key"])

    def settle(self, facts: dict[str, Any]) -> None:
        """Write down what the run goes by from here on: ``lock.json`` and ``experiment.yaml``.

        ``facts`` are :func:`nas.lock.environment`. Raises RunFolderError, and writes nothing, where the data are
        not those the run was started with; what else differs goes to ``notes``.
        """
        note = lock.update(self.path / "lock.json", facts, begun=len(self.log.events) > 1)
        self.notes += [] if note is None else [note]
        text = dump(self.experiment.resolved()).encode()
        if (self.path / "experiment.yaml").read_bytes() != text:
            replace_file(self.path / "experiment.yaml", text)

    def _start(self) -> None:
        # The key names this run for ever, wherever its folder is moved.
        self.log.append("start", name=self.experiment.name, seed=self.experiment.seed, key=uuid.uuid4().hex)

    def _take_trials(self, asked: int, trained: int, exactly: bool) -> None:
        """Make the search longer or shorter; RunFolderError where it has more trials than it was asked for."""
        before = self.experiment.trials
        if exactly and asked < trained:
            raise RunFolderError(
                f"{self.path} holds {trained} trials, which --trials {asked} cannot take back: it counts them all; "
                f"--trials {trained} ends the search where it is, --trials {trained + asked} adds {asked} more"
            )
        if asked > before or (asked < before and exactly):
            self.notes.append(f"{asked} trials in all from now on, instead of {before}")
        elif asked < before:
            shorter = f"; --trials {asked} makes it shorter" if asked >= trained else ""
            self.notes.append(f"{before} trials in all, as it was before; the file now says {asked}{shorter}")
            asked = before
        self.experiment = self.experiment.replace(trials=asked)


def _experiment_of(path: Path) -> Experiment:
    """The experiment of a run that is to be resumed; RunFolderError where the folder holds none."""
    file = path / "experiment.yaml"
    if file.exists():
        return Experiment.load(file, read_data=False)
    if (path / "events.jsonl").exists():
        raise RunFolderError(
            f"{path} has an event log but no experiment.yaml; copy the file that the run was started with to {file} "
            f"and resume again, or {ANEW}"
        )
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunFolderError(f"{path} holds no run to resume; {ANEW}")
    raise RunFolderError(f"{path} holds no run to resume; leave --resume out to start one")


def _check_start(path: Path, held: Experiment) -> None:
    """RunFolderError where experiment.yaml is not what the log was started with, as far as that tells."""
    start = read(path / "events.jsonl")[:1] if (path / "events.jsonl").exists() else ()
    for name in ("name", "seed"):
        here = getattr(held, name)
        if start and start[0].get(name, here) != here:
            raise RunFolderError(
                f"{path / 'experiment.yaml'} is not that of this run: {name} is {here!r}, but the event log was "
                f"started with {start[0][name]!r}; if everything else is the same, write that there"
            )


def _contents(path: Path, experiment: Experiment) -> str:
    """Why no new run of ``experiment`` can be made in a folder that is not empty, and what can be done."""
    file = path / "experiment.yaml"
    begun = (path / "events.jsonl").exists()
    try:
        held = Experiment.load(file, read_data=False)
    except ValueError as error:
        if not begun:
            return "is not empty and holds no run; choose another --out"
        if file.exists():
            return f"holds a run already, but {error}; mend that file and --resume, or choose another --out"
        return (
            f"holds a run already, whose experiment.yaml is missing; copy the file that the run was started with to "
            f"{file} and continue it with --resume, or choose another --out"
        )
    if begun:
        named = f"experiment {held.name!r}, seed {held.seed}"
        return f"holds a run already ({named}); continue it with --resume or choose another --out"
    if _differences(held.resolved(), experiment.resolved()):
        return "is not empty and holds no run; choose another --out"
    return "holds this experiment, but no trial yet; begin it with --resume or choose another --out"


def _differences(held: Any, given: Any, key: str = "") -> list[str]:
    """What differs between two resolved experiments, aside from what may change while a search goes on."""
    if isinstance(held, dict) and isinstance(given, dict):
        return [
            line
            for name in [*held, *(name for name in given if name not in held)]
            if f"{key}{name}" not in MAY_CHANGE
            for line in _differences(held.get(name), given.get(name), f"{key}{name}.")
        ]
    return [] if held == given else [f"{key[:-1]} is {held!r} there and {given!r} here"]


def choose(experiment: Experiment, out: Path | None, resume: bool, root: Path = Path("runs")) -> Path:
    """The folder of a run: ``out``, or ``runs/<name>`` with a number behind it where that is taken.

    To resume without ``out`` the newest run of that name is meant.
    """
    if out is not None:
        return out
    taken = {path: _number(path.name, experiment.name) for path in root.glob(f"{experiment.name}*")}
    # runs/a-2 may be the second run of a, or the first of an experiment called a-2.
    own = {path: number for path, number in taken.items() if number and _name_in(path) in (experiment.name, None)}
    if resume:
        logs = [path for path in own if (path / "events.jsonl").exists()]
        if not logs:
            raise RunFolderError(f"there is no run of {experiment.name!r} under {root}/ to resume; give --out DIR")
        return max(logs, key=lambda path: (path / "events.jsonl").stat().st_mtime_ns)
    number = max(own.values(), default=0) + 1
    while (path := root / (experiment.name if number == 1 else f"{experiment.name}-{number}")).exists():
        number += 1
    return path


def _number(folder: str, name: str) -> int | None:
    """1 for ``name`` itself, n for ``name-n``, None for the folder of something else."""
    tail = folder.removeprefix(name)
    if not tail:
        return 1
    return int(tail[1:]) if tail[0] == "-" and tail[1:].isdecimal() else None


def _name_in(path: Path) -> str | None:
    """The name of the experiment that a folder's log was started with; None where that cannot be told."""
    try:
        with (path / "events.jsonl").open("rb") as file:
            return str(json.loads(file.readline())["name"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
