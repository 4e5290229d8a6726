"""Small experiments, a trainer that only pretends, and the command line in this process."""

import csv
import random
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from graphs import Topology
from nas.cli import main
from nas.evaluate import Job, Outcome, Report
from nas.executors.serial import SerialExecutor
from nas.experiment import Experiment
from nas.observer import Observer
from nas.run_folder import RunFolder
from nas.study import Study
from search_space.document import dump

sys.path.insert(0, str(Path(__file__).parent))  # for servers.py

SECONDS = 0.25  # what every pretended trial takes, so that whole tables can be compared


def tiny(**changes: Any) -> dict[str, Any]:
    """An experiment of a few seconds as plain data; sections in ``changes`` replace whole sections, None drops one."""
    data: dict[str, Any] = {
        "name": "tiny",
        "seed": 3,
        "trials": 8,
        "data": {"kind": "digits"},
        "backbone": {"kind": "mixer", "dim": 8, "patch": 4},
        "space": {
            "depth": {"low": 2, "high": 3},
            "families": {
                "residual": {},
                "dense": {},
                "hyper": {"streams": 2},
                "wiring": {"edges": {"low": 1, "high": 3}, "in_degree": 3},
            },
        },
        "objectives": [{"metric": "accuracy", "goal": "maximize"}, {"metric": "flops", "goal": "minimize"}],
        "train": {"budget_gflops": 0.05, "batch": 32, "lr": 4.0e-3, "warmup": 0.1, "threads": 1},
        "search": {"halving": {"rungs": 3, "keep": 0.34}, "random_share": 0.15},
        "confirm": {"seeds": 2},
    }
    return {name: value for name, value in (data | changes).items() if value is not None}


WIDE = {  # hundreds of different topologies
    "depth": {"low": 2, "high": 8},
    "families": {"residual": {}, "hyper": {"streams": [2, 3]}, "wiring": {"edges": {"low": 1, "high": 9}}},
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write :func:`tiny` with changes to a file and give its path."""

    def written(*, file: str = "tiny.yaml", **changes: Any) -> Path:
        path = tmp_path / file
        path.write_text(dump(tiny(**changes)))
        return path

    return written


@pytest.fixture(scope="session")
def tiny_file() -> Callable[..., Path]:
    """Write :func:`tiny` with changes to a path and give it back."""

    def written(path: Path, **changes: Any) -> Path:
        path.write_text(dump(tiny(**changes)))
        return path

    return written


@pytest.fixture
def make(write: Callable[..., Path]) -> Callable[..., Experiment]:
    """Load :func:`tiny` with changes."""
    return lambda **changes: Experiment.load(write(**changes))


@pytest.fixture(scope="session")
def wide() -> dict[str, Any]:
    return WIDE


@dataclass
class Fake:
    """Pretends to train: numbers come from the digest and the seed, nothing from the clock.

    Each topology ends in one of ``ends``, drawn by its digest; those that do not complete end half-way.
    """

    ends: tuple[str, ...] = ("complete",)
    weights: bytes = b"weights"
    jobs: list[Job] = field(default_factory=list)

    def __call__(self, job: Job) -> Generator[Report, bool, Outcome]:
        self.jobs.append(job)
        rng = random.Random(f"{Topology.from_dict(dict(job.topology)).digest}/{job.seed}")
        end, quality = rng.choice(self.ends), rng.random()
        accuracy = loss = None
        for step in sorted({*job.report_at, job.steps}):
            if end != "complete" and 2 * step > job.steps:
                trace = "Traceback: a crash" if end == "failed" else None
                return Outcome(job.number, end, step, SECONDS, accuracy, loss, f"made to be {end}", trace)
            accuracy, loss = quality * step / job.steps, 1.0 - quality
            asks = step in job.ask_at
            go_on = yield Report(job.number, step, loss, accuracy, loss, asks)
            if asks and not go_on:
                return Outcome(job.number, "stopped", step, SECONDS, accuracy, loss, "dominated at its rung")
        if job.weights is not None:
            job.weights.write_bytes(self.weights)
        measured = (accuracy / 2, 2.0 - quality) if job.test else (None, None)
        return Outcome(job.number, "complete", job.steps, SECONDS, accuracy, loss, None, None, *measured)


@pytest.fixture
def fake() -> type[Fake]:
    return Fake


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Callable[..., Study]]:
    """Run a study with a :class:`Fake` in a folder, new or to be continued, and give it when it is done."""

    def run(
        experiment: Experiment,
        trainer: Callable[[Job], Generator[Report, bool, Outcome]] | None = None,
        folder: Path | None = None,
        observers: tuple[Observer, ...] = (),
    ) -> Study:
        path = tmp_path / "run" if folder is None else folder
        begun = (path / "events.jsonl").exists()
        held = RunFolder.resume(path, experiment) if begun else RunFolder.create(path, experiment)
        try:
            done = Study(experiment, held, SerialExecutor(trainer or Fake()), observers)
            done.run()
        finally:
            held.log.close()
        return done

    return run


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    status: int
    out: str
    err: str


@pytest.fixture
def wireloom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Ran]]:
    """Run the command in this process and in an empty working folder, without MLflow."""
    monkeypatch.setenv("WIRELOOM_TRACKING", "off")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGINT)

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr("sys.argv", ["wireloom", *map(str, arguments)])
        capsys.readouterr()
        status: Any = 0
        try:
            main()
        except SystemExit as end:
            status = end.code or 0
        out, err = capsys.readouterr()
        return Ran(status, out, err)

    yield run
    signal.signal(signal.SIGINT, handler)


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table without the column that a clock decides."""
    with path.open(newline="") as file:
        return [{name: cell for name, cell in row.items() if name != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture
def rows() -> Callable[[Path], list[dict[str, str]]]:
    return read_rows


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes]]:
    """Every file below a folder with what is in it, and every folder."""

    def found(path: Path) -> dict[str, bytes]:
        return {
            str(each.relative_to(path)): each.read_bytes() if each.is_file() else b"a folder"
            for each in sorted(path.rglob("*"))
        }

    return found


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a whole search that really trained; read it, and copy it before changing anything."""
    from rich.console import Console

    from nas.search import run_search

    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.yaml").write_text(dump(tiny()))
    experiment = Experiment.load(folder / "tiny.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WIRELOOM_TRACKING", "off")
        held = RunFolder.create(folder / "run", experiment)
        run_search(experiment, held, Console(quiet=True))
        held.log.close()
    yield folder / "run"
    assert (folder / "run" / "trials.csv").is_file(), "a test changed the shared run"
