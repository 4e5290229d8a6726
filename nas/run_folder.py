"""The folder of one run: what is in it, how it is made, and when it may be continued."""

import json
import platform
import subprocess
import uuid
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from nas.errors import RunFolderError
from nas.events import EventLog
from nas.experiment import Experiment
from nas.files import replace_file
from search_space.document import dump

VERSIONED = ("wireloom", "torch", "numpy", "networkx", "optuna", "mlflow", "scikit-learn")


class RunFolder:
    """Paths of a run and its event log; see :meth:`create` and :meth:`resume`."""

    def __init__(self, path: Path, log: EventLog) -> None:
        self.path = path
        self.log = log

    @property
    def weights(self) -> Path:
        return self.path / "weights"

    def weight_file(self, number: int) -> Path:
        """Where the trained weights of a trial are, as long as it is on the front."""
        return self.weights / self.weight_name(number)

    @staticmethod
    def weight_name(number: int) -> str:
        return f"trial-{number:04d}.safetensors"

    @classmethod
    def create(cls, path: Path, experiment: Experiment) -> "RunFolder":
        """Make a new folder; RunFolderError where it holds a run already or cannot be written."""
        if (path / "events.jsonl").exists():
            raise RunFolderError(
                f"{path} holds a run already ({_held(path)}); continue it with --resume or choose another --out"
            )
        if path.exists() and not path.is_dir():
            raise RunFolderError(f"{path} is not a folder; choose another --out")
        if path.exists() and any(path.iterdir()):
            raise RunFolderError(f"{path} is not empty and holds no run; choose another --out")
        try:
            path.mkdir(parents=True, exist_ok=True)
            replace_file(path / "experiment.yaml", dump(experiment.resolved()).encode())
            (path / "weights").mkdir()
            log = EventLog(path / "events.jsonl")
            # The key names this run for ever, wherever its folder is moved.
            log.append("start", name=experiment.name, seed=experiment.seed, key=uuid.uuid4().hex)
        except OSError as error:
            raise RunFolderError(f"{path}: cannot be written: {error.strerror}; choose another --out") from error
        return cls(path, log)

    @classmethod
    def resume(cls, path: Path, experiment: Experiment) -> "RunFolder":
        """Open the folder of an earlier run of the same experiment; RunFolderError says what differs."""
        if not (path / "experiment.yaml").exists():
            raise RunFolderError(f"{path} holds no run to resume; leave --resume out to start one")
        held = Experiment.load(path / "experiment.yaml")
        differing = _differences(held.resolved(), experiment.resolved())
        if differing:
            raise RunFolderError(
                f"{path} holds another experiment: {'; '.join(differing[:4])}; "
                "resume it with the file it was started with, or choose another --out"
            )
        log = EventLog(path / "events.jsonl")
        if not log.events:  # the crash came before the first line
            (path / "weights").mkdir(exist_ok=True)
            log.append("start", name=experiment.name, seed=experiment.seed, key=uuid.uuid4().hex)
        replace_file(path / "experiment.yaml", dump(experiment.resolved()).encode())  # it may have been made longer
        return cls(path, log)

    @property
    def key(self) -> str:
        """What names this run in other systems."""
        return str(self.log.events[0]["key"])

    def write_lock(self, facts: Mapping[str, Any]) -> None:
        """Write ``lock.json``: what is needed to run this again.

        What a run was started with stays; where it is continued with something else, that is added to ``resumed``.
        """
        path = self.path / "lock.json"
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            held = dict(facts)
        resumed = held.pop("resumed", [])
        if dict(facts) not in (held, *resumed):
            resumed.append(dict(facts))
        contents = held | ({"resumed": resumed} if resumed else {})
        replace_file(path, (json.dumps(contents, indent=1) + "\n").encode())


def _held(path: Path) -> str:
    try:
        held = Experiment.load(path / "experiment.yaml")
    except ValueError:
        return "its experiment.yaml cannot be read"
    return f"experiment {held.name!r}, seed {held.seed}"


def _differences(held: Any, given: Any, key: str = "") -> list[str]:
    """What differs between two resolved experiments, ``trials`` aside: a search may be made longer."""
    if isinstance(held, dict) and isinstance(given, dict):
        return [
            line
            for name in [*held, *(name for name in given if name not in held)]
            if f"{key}{name}" != "trials"
            for line in _differences(held.get(name), given.get(name), f"{key}{name}.")
        ]
    return [] if held == given else [f"{key[:-1]} is {held!r} there and {given!r} here"]


def environment(fingerprint: str, device: str) -> dict[str, Any]:
    """Versions, commit, machine and data: the contents of ``lock.json``."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device,
        "versions": {name: _version(name) for name in VERSIONED},
        "commit": _commit(),
        "data_fingerprint": fingerprint,
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the source this runs from, with ``+`` where the tree differs; None outside a checkout."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+"],
            cwd=here, capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


def choose(experiment: Experiment, out: Path | None, resume: bool, root: Path = Path("runs")) -> Path:
    """The folder of a run: ``out``, or ``runs/<name>`` with a number behind it where that is taken.

    To resume without ``out`` the newest run of that name is meant.
    """
    if out is not None:
        return out
    taken = {_number(path.name, experiment.name): path for path in root.glob(f"{experiment.name}*")}
    taken.pop(None, None)
    if resume:
        logs = [path for path in taken.values() if (path / "events.jsonl").exists()]
        if not logs:
            raise RunFolderError(f"there is no run of {experiment.name!r} under {root}/ to resume; give --out DIR")
        return max(logs, key=lambda path: (path / "events.jsonl").stat().st_mtime_ns)
    last = max((number for number in taken if number is not None), default=0)
    return root / (f"{experiment.name}-{last + 1}" if last else experiment.name)


def _number(folder: str, name: str) -> int | None:
    """1 for ``name`` itself, n for ``name-n``, None for the folder of something else."""
    tail = folder.removeprefix(name)
    if not tail:
        return 1
    return int(tail[1:]) if tail[0] == "-" and tail[1:].isdecimal() else None
