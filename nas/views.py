"""The views of a run: tables, pictures, report and winner, rebuilt from the event log whenever asked."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphs import Topology, draw
from nas.audit import Audit, audit
from nas.confirm import pair_of, verdict
from nas.confirm import rows as confirmation_rows
from nas.confirm import write as write_confirmation
from nas.errors import RunFolderError
from nas.events import read
from nas.experiment import Experiment
from nas.front import pareto, winner
from nas.ledger import Ledger
from nas.objectives import NEED_CLASSES
from nas.plots import save_pareto
from nas.records import Trial
from nas.report import write_report
from nas.tables import write_pareto, write_trials
from nas.units import show
from trainers.catalogue import describe

DRAWN = 6  # topologies drawn in the report


class Views:
    """A run's folder as read from disk: its experiment and the state its log adds up to."""

    def __init__(self, folder: Path, experiment: Experiment, ledger: Ledger) -> None:
        self.folder = folder
        self.experiment = experiment
        self.ledger = ledger

    @classmethod
    def open(cls, folder: Path) -> "Views":
        """Read a run's folder; RunFolderError where it is none."""
        if not (folder / "events.jsonl").is_file():
            raise RunFolderError(f"{folder} is no run's folder: it has no events.jsonl")
        experiment = Experiment.load(folder / "experiment.yaml", read_data=False)
        return cls(folder, experiment, Ledger.replay(read(folder / "events.jsonl")))

    @property
    def trials(self) -> tuple[Trial, ...]:
        return self.ledger.ordered()

    @property
    def front(self) -> tuple[Trial, ...]:
        return pareto(self.trials, self.experiment.objectives)

    @property
    def winner(self) -> Trial | None:
        return winner(self.trials, self.experiment.objectives)

    @property
    def verdict(self) -> str:
        """What fresh seeds say of the winner beside the residual network of its depth; empty if not confirmed."""
        pair = pair_of(self.experiment, self.trials) if self.ledger.confirmed else None
        return "" if pair is None else verdict(pair, self.ledger.confirmed)

    @property
    def audit(self) -> Audit:
        """What the learning curves say of early stopping."""
        needs = any(one.metric in NEED_CLASSES for one in self.experiment.objectives)
        # A user's own data are read for this alone where an objective asks for the number of classes.
        classes = describe(self.experiment.data.source)["classes"] if needs else 0
        return audit(self.experiment, self.ledger, classes)

    def write_tables(self) -> None:
        """``trials.csv`` and ``pareto.csv``."""
        objectives = self.experiment.objectives
        write_trials(self.folder / "trials.csv", self.trials, objectives)
        write_pareto(self.folder / "pareto.csv", self.front, objectives)

    def write_all(self) -> None:
        """Every view: tables, ``pareto.png``, ``winner/topology.yaml`` and ``report.html``."""
        objectives, front, best = self.experiment.objectives, self.front, self.winner
        self.write_tables()
        save_pareto(self.folder / "pareto.png", self.trials, objectives, front)
        if best is not None:
            (self.folder / "winner").mkdir(exist_ok=True)
            topology_of(best).save(self.folder / "winner" / "topology.yaml")
        confirmed = confirmation_rows(self.ledger.confirmed)
        if confirmed:
            write_confirmation(self.folder / "confirm.csv", confirmed)
        write_report(
            self.folder,
            name=self.experiment.name,
            trials=self.trials,
            objectives=objectives,
            front=front,
            winner=best,
            facts=self.facts(),
            drawings={trial.digest: draw.picture(topology_of(trial), plan=False) for trial in front[:DRAWN]},
            commands=self.commands(),
            verdict=self.verdict,
            audit=list(self.audit.lines()),
            confirmation=[{name: _shown(name, value) for name, value in row.items()} for row in confirmed],
        )

    def facts(self) -> dict[str, str]:
        """What the report says of the environment: ``lock.json``, flat."""
        try:
            lock = json.loads((self.folder / "lock.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return _flat(lock)

    def commands(self) -> list[tuple[str, str]]:
        """What a reader may want to type next, with a word on what it does."""
        return [
            ("compile the winner and check it", command("compile", self.folder, "--out", self.folder / "model")),
            ("run this search again", command("search", self.folder / "experiment.yaml")),
            ("look at the winner", command("show", self.folder / "winner" / "topology.yaml")),
        ]


def command(*arguments: object) -> str:
    """A ``wireloom`` command as one types it into a shell."""
    return shlex.join(["wireloom", *map(str, arguments)])


def topology_of(trial: Trial) -> Topology:
    """The topology of a trial that has one."""
    if trial.topology is None:
        raise RunFolderError(f"trial {trial.number} has no topology: {trial.reason}")
    return Topology.from_dict(dict(trial.topology))


def _shown(name: str, value: object) -> object:
    """A cell of the confirmation table in its unit."""
    return show(name, value) if isinstance(value, float) else value


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key} ")
        elif isinstance(value, list):
            flat |= _flat({f"{key} {number}": one for number, one in enumerate(value, start=1)}, prefix)
        else:
            flat[f"{prefix}{key}".strip()] = "–" if value is None else str(value)
    return flat
