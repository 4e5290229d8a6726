"""One search from experiment to report: what ``wireloom search`` does, as a function."""

import math
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from rich.console import Console
from rich.text import Text

from graphs import draw
from graphs.errors import UserError
from nas import interrupts, tracked
from nas.advice import advice
from nas.confirm import confirm
from nas.errors import ExperimentError
from nas.executors import Executor
from nas.experiment import Experiment
from nas.gates import train_gates
from nas.jobs import Report
from nas.ledger import Ask
from nas.live import LivePage
from nas.lock import environment
from nas.mirror import mirrored
from nas.noise import train_replicas, with_noise
from nas.open_door import DoorKeeper
from nas.pricing import Priced, counted, priced
from nas.progress import ProgressBoard
from nas.records import Trial
from nas.run_folder import RunFolder
from nas.spending import spending
from nas.study import ASKS_PER_TRIAL, Study
from nas.tracker import Tracker
from nas.trainings import training, trainings
from nas.views import Views, topology_of
from nas.warm import take
from search_space.space import RESIDUAL
from trainers.errors import TrainerError

TABLES_REST = 100  # a table of many trials is written anew after this many times what it takes
LIVE_SECONDS = 10.0  # a running trial is shown in MLflow at its rungs, and between them this often
SAMPLED = 64  # random points tried, beside the corners, before a limit is called impossible


@dataclass(frozen=True, slots=True)
class Done:
    """A finished search: its views, and the command that opens its tracking."""

    views: Views
    study: Study
    tracking: str

    @property
    def shortfall(self) -> str:
        """Why there are fewer trials than were asked for, as far as asks tell; empty where there are as many."""
        if not self.study.exhausted:
            return ""
        ledger = self.study.ledger
        count = Counter(ask.verdict for ask in ledger.asks)
        seen = f"{count['duplicate']} asks repeated an earlier topology, {count['rejected']} were rejected"
        if self.study.done:
            return f"every point of the space is done or explained: {ledger.trained} topologies were trained, {seen}"
        return (
            f"stopped after {len(ledger.asks)} asks with {ledger.trained} of {self.study.experiment.trials} trials: "
            f"{seen} (at most {ASKS_PER_TRIAL} asks per trial)"
        )


def too_small(experiment: Experiment) -> str | None:
    """A warning where the space has fewer points than there are trials, as far as points can be counted."""
    size = experiment.space.size()
    if size is None or experiment.search.sampler == "exhaustive":  # which is meant to come to an end
        return None
    names = {family.name for family in experiment.space.families}
    points = size + (experiment.search.baselines and RESIDUAL not in names)  # the residual network races anyway
    if points >= experiment.trials:
        return None
    return f"the space has {points} points, fewer than the {experiment.trials} trials: the search will stop short"


def check_reachable(experiment: Experiment) -> list[Priced]:
    """Price extreme and random points; ExperimentError where none of them meets the limits or can be trained."""
    space = experiment.space
    points = [*space.baselines(), *space.corners(), *(space.random(Random(i)) for i in range(SAMPLED))]
    found: list[Priced] = []
    refused: UserError | TrainerError | None = None
    for point in points:
        try:
            found.append(priced(experiment, space.topology(point)))
        except (UserError, TrainerError) as error:
            refused = refused or error
    if not found:
        raise ExperimentError(f"no point of the space can be trained: {refused}")
    for metric, limit in experiment.limits.items():
        least = min(counted(item.cost, item.peak_bytes).get(metric, 0.0) for item in found)
        if least > limit:
            raise ExperimentError(
                f"limits.{metric}: {limit:,.0f} is below every point tried; the least of {len(found)} has {least:,.0f}"
            )
    return found


class _Tracking:
    """The observer that keeps MLflow and the tables up to date, and heeds a Ctrl-C that got lost."""

    def __init__(self, tracker: Tracker, views: Views, study: Study) -> None:
        self.tracker = tracker
        self.views = views
        self.study = study
        self._next = 0.0  # when tables are due
        self.shown: dict[int, float] = {}  # when a running trial was last put into MLflow

    def asked(self, ask: Ask, reason: str | None) -> None:
        interrupts.check()

    def reported(self, report: Report, steps: int) -> None:
        interrupts.check()
        with self.study.timed("tracking"):
            now = time.monotonic()
            if report.asks or now - self.shown.get(report.number, -math.inf) >= LIVE_SECONDS:
                self.shown[report.number] = now
                ledger = self.study.ledger
                curve = ledger.curves[report.number].values()
                self.tracker.live(tracked.running(ledger.asked[report.number], curve))

    def paused(self, trial: Trial) -> None:
        """Nothing of it is shown until it goes on, or the search ends."""

    def finished(self, trial: Trial) -> None:
        if time.monotonic() >= self._next:
            started = time.monotonic()
            with self.study.timed("views"):
                self.views.write_tables()
            self._next = time.monotonic() + TABLES_REST * (time.monotonic() - started)
        with self.study.timed("tracking"):
            self.shown.pop(trial.number, None)
            self.tracker.trial(trial)


def _picture(trial: Trial) -> bytes | None:
    return None if trial.topology is None else draw.thumbnail(topology_of(trial))


def run_search(experiment: Experiment, folder: RunFolder, console: Console, executor: Executor | None = None) -> Done:
    """Run or continue the search in ``folder`` and write every view; KeyboardInterrupt leaves it resumable.

    Trials run in ``executor``, by default one at a time in this process. Raises StorageError where the experiment's
    storage cannot be used or holds another run.
    """
    with mirrored(folder.path, experiment.storage, lambda message: console.print(Text(message, style="yellow"))):
        return _run_search(experiment, folder, console, executor)


def _run_search(experiment: Experiment, folder: RunFolder, console: Console, executor: Executor | None) -> Done:
    from nas.evaluate import dataset
    from nas.executors.serial import SerialExecutor

    executor = executor or SerialExecutor()
    study = Study(experiment, folder, executor)
    views = Views(folder.path, experiment, study.ledger)
    data = dataset(experiment.data.source)
    folder.settle(environment(data.fingerprint, _device(), data.files))
    board = ProgressBoard(experiment, study.ledger, console)
    with board:
        for note in folder.notes:
            board.say(note)
        tracker = Tracker(
            folder.path,
            experiment_name=experiment.name,
            run_name=folder.path.name,
            run_key=folder.key,
            warn=board.say,
            picture=_picture,
        )
        with study.timed("tracking"):
            tracker.start(
                parameters(experiment),
                {"experiment.yaml": (folder.path / "experiment.yaml").read_bytes()},
                {"trials": str(experiment.trials)},
            )
            for trial in study.ledger.ordered():  # what an interrupted run did not get to write
                if trial.number not in study.rungs.waiting:
                    tracker.trial(trial)
            for one in trainings(experiment, study.ledger):
                tracker.training(one)
        for design in study.designs:
            if not design.runs:
                board.say(f"no baseline of {design.point.family}: {design.why}")
        for said in advice(experiment):
            board.say(said)
        live = LivePage(folder, experiment, study.ledger)

        def say(message: str) -> None:
            board.say(message)
            live.tick()

        try:
            take(study, data.fingerprint, say)
            train_replicas(study, say)
            measured = with_noise(experiment, study.ledger)
            study.experiment = views.experiment = board.experiment = live.experiment = measured
            train_gates(study, say)
            study.observers = (board, _Tracking(tracker, views, study), live, *_door(study, board))
            study.run()
            live.write(refresh=experiment.report.refresh)
            confirm(study, say, lambda event: tracker.training(training(experiment, study.ledger, event)))
            with study.timed("views"):
                views.write_all()
                for problem in views.problems:
                    board.say(problem)
        except BaseException:
            with suppress(OSError):  # why the search stopped matters more
                views.write_tables()
            live.write(refresh=None)
            tracker.interrupted()
            raise
        finally:
            executor.close()
        with study.timed("tracking"):
            names = (
                "report.html",
                "pareto.png",
                "trials.csv",
                "pareto.csv",
                "hypervolume.csv",
                "confirm.csv",
                "confirm_seeds.csv",
                "lock.json",
            )
            if views.winner is not None and folder.weight_file(views.winner.number).is_file():
                tracker.winner(views.winner, _model(folder, views.winner), _model_tags(views.winner))
            tracker.finish("FINISHED", _totals(views), {name: folder.path / name for name in names})
    with suppress(OSError):  # there is none, or trials wait there for a search made longer
        (folder.path / "checkpoints").rmdir()
    if not study.ledger.ended:
        folder.log.append("end", trained=study.ledger.trained, asks=len(study.ledger.asks))
    if views.winner is None:
        raise ExperimentError(_why_no_winner(study))
    return Done(views, study, tracker.command)


def _door(study: Study, board: ProgressBoard) -> tuple[DoorKeeper, ...]:
    """The keeper of the open door, its folder up to date, if the file opens one."""
    if study.experiment.search.open is None:
        return ()
    keeper = DoorKeeper(study.experiment, study.folder.path, study.ledger, board.say)
    keeper.start()
    return (keeper,)


def _why_no_winner(study: Study) -> str:
    reasons = [trial.reason or trial.status.value for trial in study.ledger.ordered()]
    return (
        f"no trial completed in {len(study.ledger.asks)} asks (at most {ASKS_PER_TRIAL} per trial); "
        f"the first reason: {reasons[0] if reasons else 'none was proposed'}"
    )


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def parameters(experiment: Experiment) -> Mapping[str, str | float]:
    """The params of the search's own run in MLflow."""
    return {
        "data": experiment.data.kind,
        "backbone": experiment.backbone.kind,
        "dim": experiment.backbone.dim,
        "seed": experiment.seed,
        "sampler": experiment.search.sampler,
        "budget_gflops": experiment.train.budget_gflops,
        "lr": experiment.train.lr,
        "families": " ".join(family.name for family in experiment.space.families),
    }


def _model(folder: RunFolder, best: Trial) -> Mapping[str, Path]:
    """The files of the winner as the model registry holds them: what :func:`nas.load_model` loads, and the card."""
    winner = folder.path / "winner"
    return {
        "topology.yaml": winner / "topology.yaml",
        "model.safetensors": folder.weight_file(best.number),
        "experiment.yaml": folder.path / "experiment.yaml",
        "card.md": winner / "card.md",
    }


def _model_tags(best: Trial) -> Mapping[str, str]:
    values = {"accuracy": best.accuracy, "loss": best.loss, "parameters": best.parameters, **best.objectives}
    return {"family": best.family} | {name: str(value) for name, value in values.items() if value is not None}


def _totals(views: Views) -> Mapping[str, float]:
    totals = {
        "trials": float(len(views.trials)),
        "front": float(len(views.front)),
        "spent_gflops": sum(spending(views.ledger).values()) / 1e9,
    }
    best = views.winner
    return totals | ({f"winner_{name}": value for name, value in best.objectives.items()} if best is not None else {})


def plan_of(path: Path) -> Experiment:
    """Load an experiment and check that some point of it can be trained within its limits."""
    experiment = Experiment.load(path)
    try:
        check_reachable(experiment)
    except ExperimentError as error:
        raise UserError(f"{path}: {error}") from error
    return experiment
