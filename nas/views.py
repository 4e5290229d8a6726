"""The views of a run: tables, pictures, report and winner, rebuilt from the event log whenever asked."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphs import Topology, draw
from graphs.errors import UserError
from nas.analysis import Analysis, analysis
from nas.audit import Audit, audit
from nas.card import card
from nas.confirm import rows as training_rows
from nas.confirm import write as write_confirmation
from nas.edges import Importance
from nas.errors import RunFolderError
from nas.events import read
from nas.experiment import Experiment
from nas.files import replace_file
from nas.findings import Findings, findings
from nas.front import pareto, winner
from nas.ledger import Ledger
from nas.noise import with_noise
from nas.objectives import NEED_CLASSES
from nas.plots import save_pareto
from nas.records import Trial
from nas.report import summary, write_report
from nas.run_folder import RunFolder
from nas.standing import reference_for
from nas.tables import write_pareto, write_trials, write_volume
from nas.units import show
from nas.volume import Volume, volume
from trainers.catalogue import describe
from trainers.errors import TrainerError

DRAWN = 8  # topologies drawn in the report


class Views:
    """A run's folder as read from disk: its experiment and the state its log adds up to."""

    def __init__(self, folder: Path, experiment: Experiment, ledger: Ledger) -> None:
        self.folder = folder
        self.experiment = experiment
        self.ledger = ledger
        self.problems: list[str] = []  # of files that a view could not be made from

    @classmethod
    def open(cls, folder: Path) -> "Views":
        """Read a run's folder; RunFolderError where it is none."""
        experiment = cls.experiment_of(folder)
        ledger = Ledger.replay(read(folder / "events.jsonl"))
        return cls(folder, with_noise(experiment, ledger), ledger)

    @staticmethod
    def experiment_of(folder: Path) -> Experiment:
        """The experiment of a run's folder as its file has it; RunFolderError where it is none."""
        if not (folder / "events.jsonl").is_file():
            raise RunFolderError(f"{folder} is no run's folder: it has no events.jsonl")
        return Experiment.load(folder / "experiment.yaml", read_data=False)

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
        found = self.findings
        return "" if found is None else found.verdict()

    @property
    def findings(self) -> Findings | None:
        """What fresh seeds say of the whole front; None if the winner was not confirmed."""
        return findings(self.experiment, self.ledger)

    def importance(self) -> Importance | None:
        """What each edge of the trained winner is worth: measured once and kept beside it; None without a winner."""
        best = self.winner
        if best is None:
            return None
        path = self.folder / "winner" / "importance.json"
        kept = Importance.load(path, best.digest)
        if kept is not None:
            return kept
        if not (self.folder / "weights" / RunFolder.weight_name(best.number)).exists():
            return Importance(best.digest, problem="the winner's weights are not in the run's folder")
        from nas.artifact import winner_importance

        try:
            found = winner_importance(self, best)
        except (UserError, TrainerError) as error:
            self.problems.append(str(error))
            return Importance(best.digest, problem=f"no edge of the winner could be measured: {error}")
        found.save(path)
        return found

    def analysis(self) -> Analysis:
        """Everything that the report works out of the log and the winner's weights."""
        return analysis(self.experiment, self.ledger, self.importance())

    def summary(self, found: Analysis | None = None) -> dict[str, Any]:
        """The whole report as plain data for JSON."""
        commands = [{"what": what, "command": command} for what, command in self.commands()]
        return (
            summary(self.trials, self.experiment.objectives)
            | (self.analysis() if found is None else found).to_dict()
            | {
                "verdict": self.verdict,
                "audit": self.audit.to_dict(),
                "hypervolume": self.volume().to_dict(),
                "trainings": training_rows(self.ledger),
                "reproduce": commands,
                "experiment": self.experiment.resolved(),
                "facts": self.facts(),
            }
        )

    @property
    def audit(self) -> Audit:
        """What the learning curves say of early stopping."""
        needs = any(one.metric in NEED_CLASSES for one in self.experiment.objectives)
        # A user's own data are read for this alone where an objective asks for the number of classes.
        classes = describe(self.experiment.data.source)["classes"] if needs else 0
        return audit(self.experiment, self.ledger, classes)

    def volume(self) -> Volume:
        """The hypervolume of the search and how it grew, in the order in which trials finished."""
        trials = tuple(self.ledger.trials.values())
        return volume(trials, self.experiment.objectives, reference_for(self.experiment, self.ledger))

    def write_tables(self) -> None:
        """``trials.csv`` and ``pareto.csv``."""
        objectives = self.experiment.objectives
        write_trials(self.folder / "trials.csv", self.trials, objectives)
        write_pareto(self.folder / "pareto.csv", self.front, objectives)

    def write_all(self, *, refresh: float | None = None) -> Analysis:
        """Every view: tables, ``pareto.png``, the winner's topology and card, and ``report.html``.

        ``refresh`` is given while the search runs: after so many seconds a browser loads the report again.
        What could not be made because a file is damaged is in ``problems``. Raises OSError.
        """
        objectives, front, best = self.experiment.objectives, self.front, self.winner
        self.write_tables()
        grown = self.volume()
        write_volume(self.folder / "hypervolume.csv", grown)
        save_pareto(self.folder / "pareto.png", self.trials, objectives, front)
        if best is not None:
            (self.folder / "winner").mkdir(exist_ok=True)
            topology_of(best).save(self.folder / "winner" / "topology.yaml")
        found = self.analysis()
        if best is not None:
            text = card(self.experiment, best, topology_of(best), self.folder.name, found.findings)
            replace_file(self.folder / "winner" / "card.md", text.encode())
        trainings = training_rows(self.ledger)
        if trainings:
            write_confirmation(self.folder / "confirm_seeds.csv", trainings)
        if found.findings is not None:
            write_confirmation(self.folder / "confirm.csv", found.findings.table())
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
            confirmation=[{name: _shown(name, value) for name, value in row.items()} for row in trainings],
            analysis=found,
            volume=grown,
            refresh=refresh,
        )
        return found

    def check(self) -> None:
        """RunFolderError where a view could not be made; every other one is written."""
        if self.problems:
            raise RunFolderError(f"{'; '.join(self.problems)}; everything else is in {self.folder}/report.html")

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
