"""Train one topology outside a search: what ``wireloom train`` does, as functions. Needs torch.

The folder of a training holds ``training.jsonl``, its log: the start, each report, that the test split was opened, and
the result. Everything else there is written from it and from the weights, and ``state.safetensors``, from which an
interrupted training goes on to the same bits, is gone when it has ended.
"""

import csv
import io
import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from graphs import Topology
from nas.artifact import TRAINED_SNIPPET, WEIGHTS
from nas.card import trained_card
from nas.errors import RunFolderError
from nas.evaluate import FINGERPRINT, Classifier, build_model, dataset, held_out
from nas.events import Event, EventLog, read
from nas.experiment import Experiment
from nas.files import named, replace_file
from nas.jobs import Report
from nas.keeping import Keeper, Stopwatch
from nas.pricing import Priced, backbone_options, broken_limit, priced
from nas.study import CURVE_POINTS
from search_space.document import dump
from trainers import checkpoint, resume
from trainers.data import Data
from trainers.errors import Diverged, TrainerError
from trainers.loop import train
from trainers.metrics import evaluate as measure
from trainers.recipe import Recipe

STATE, LOG = "state.safetensors", "training.jsonl"
KEEP_SECONDS = 60.0
ONE = 0  # the number of the only trial there is
COLUMNS = ("step", "flops", "train_loss", "accuracy", "loss")


@dataclass(frozen=True, slots=True)
class Trained:
    """How a training ended. ``accuracy`` and ``loss`` (nats per label) are of the validation split.

    ``spent_flops`` are training FLOPs, ``seconds`` the wall time of training steps alone, in all processes together.
    """

    digest: str
    seed: int
    steps: int
    spent_flops: float
    seconds: float
    accuracy: float
    loss: float
    test_accuracy: float
    test_loss: float


@dataclass(frozen=True, slots=True)
class Said:
    """What a training tells while it runs: sentences, each step (step, of how many) and each report."""

    note: Callable[[str], None] = lambda text: None
    step: Callable[[int, int], None] = lambda step, steps: None
    report: Callable[[Report], None] = lambda report: None


def default_folder(experiment: Experiment, topology: Topology) -> Path:
    """Where a training goes that was not told: the same for the same experiment, topology and seed."""
    return Path("runs") / f"{experiment.name}-{topology.digest[:8]}-s{experiment.seed}"


def train_topology(
    topology: Topology, experiment: Experiment, out: Path, *, resumed: bool = False, said: Said | None = None
) -> Trained:
    """Train with the experiment's data, backbone, recipe, budget and seed, and leave a usable model in ``out``.

    KeyboardInterrupt comes after the state was written, from which ``resumed`` goes on; a second Ctrl-C does not wait.
    Of a training that has ended it gives the result again. Raises RunFolderError where the folder holds something
    else, UserError or TrainerError where the topology cannot be trained, and Diverged's sentence as TrainerError.
    """
    said = said or Said()
    plan = priced(experiment, topology)
    problem = broken_limit(experiment, plan.cost)
    if problem is not None:
        said.note(f"a search would reject this topology: {problem}")
    log = _begin(plan, experiment, out, resumed)
    try:
        ended = [event for event in log.events if event["event"] == "result"]
        if ended:
            said.note(f"{out} has ended; its result is")
            return _result(ended[-1])
        return _Training(plan, experiment, out, log, said).run()
    finally:
        log.close()


def _begin(plan: Priced, experiment: Experiment, out: Path, resumed: bool) -> EventLog:
    """The log of a new training, or that of the one which is to go on; RunFolderError where the folder forbids it."""
    start = _start(plan, experiment)
    if resumed:
        if not (out / LOG).is_file():
            raise RunFolderError(f"{out} holds no training to resume; leave --resume out to start one")
        held = next(iter(read(out / LOG)), start)
        for name, value in start.items():
            if held.get(name) != json.loads(json.dumps(value)):
                raise RunFolderError(
                    f"{out} holds another training: {name} is {_short(held.get(name))} there and {_short(value)} here; "
                    "resume it with the files and the seed it was started with, or choose another --out"
                )
        log = EventLog(out / LOG)
    else:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            what = (
                "holds a training already; --resume goes on with it, or" if (out / LOG).is_file() else "is not empty;"
            )
            raise RunFolderError(f"{out} {what} choose another --out")
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(f"{out}: cannot be written: {error.strerror}; choose another --out") from error
        log = EventLog(out / LOG)
    try:
        plan.topology.save(out / "topology.yaml")
        replace_file(out / "experiment.yaml", dump(experiment.resolved()).encode())
        if not log.events:
            log.append("start", **start)
    except BaseException:
        log.close()
        raise
    return log


def _start(plan: Priced, experiment: Experiment) -> dict[str, Any]:
    """What must be the same for a training to go on."""
    whole = experiment.resolved()
    return {
        "digest": plan.topology.digest,
        "seed": experiment.seed,
        "steps": plan.steps,
        **{name: whole[name] for name in ("data", "backbone", "train")},
    }


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _result(event: Event) -> Trained:
    return Trained(**{name: event[name] for name in Trained.__dataclass_fields__})


class _Keeper(Keeper):
    """Writes the state after the step in which Ctrl-C is pressed, too, and raises KeyboardInterrupt then."""

    def __init__(self, path: Path, watch: Stopwatch, passed: Callable[[int], None]) -> None:
        super().__init__(path, KEEP_SECONDS, watch, lambda path: None)
        self.pressed = False
        self._passed = passed

    def due(self, step: int) -> bool:
        self._passed(step)
        return self.pressed or super().due(step)

    def saved(self) -> None:
        super().saved()
        self.check()

    def check(self) -> None:
        """KeyboardInterrupt where one is waiting."""
        if self.pressed:
            raise KeyboardInterrupt

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Ctrl-C waits for the end of a step; the second one does not."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def press(number: int, frame: FrameType | None) -> None:
            if self.pressed:
                raise KeyboardInterrupt
            self.pressed = True

        signal.signal(signal.SIGINT, press)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


class _Training:
    """One process's part of a training."""

    def __init__(self, plan: Priced, experiment: Experiment, out: Path, log: EventLog, said: Said) -> None:
        self.plan, self.experiment, self.out, self.log, self.said = plan, experiment, out, log, said
        self.data: Data = dataset(experiment.data.source)
        self.watch = Stopwatch()
        self.curve: dict[int, Report] = {}
        self.keeper = _Keeper(out / STATE, self.watch, lambda step: said.step(step, plan.steps))

    def run(self) -> Trained:
        train_of = self.experiment.train
        recipe = Recipe(
            train_of.batch, train_of.lr, train_of.warmup, train_of.weight_decay, train_of.clip, train_of.threads
        )
        model = build_model(
            self.plan.topology,
            backbone_options(self.experiment),
            seed=self.experiment.seed,
            impl="fused",
            **self.data.facts,
        ).to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        with self.keeper.listening():
            try:
                self._train(model, recipe)
            except Diverged as error:
                self.log.append("diverged", step=error.step)
                raise TrainerError(f"{error}; try a lower train.lr or a longer train.warmup") from error
            self.keeper.check()
            return self._end(model)

    def _train(self, model: Classifier, recipe: Recipe) -> None:
        steps = self.plan.steps
        own = resume.identity(model, self.data, recipe, steps=steps, seed=self.experiment.seed)
        notes = resume.notes(self.keeper.path, own) if self.keeper.path.exists() else None
        if notes is not None:
            for report in self.keeper.again(notes):
                self._take(report)
        at = {max(1, round(steps * part / CURVE_POINTS)) for part in range(1, CURVE_POINTS + 1)}
        model.watch = self.watch
        for point in train(
            model, self.data, recipe, steps=steps, seed=self.experiment.seed, report_at=at, keep=self.keeper
        ):
            self.watch.run(False)
            report = Report(ONE, point.step, point.train_loss, point.accuracy, point.loss, asks=False)
            self.keeper.said(report)
            self._take(report)
            self.watch.run(True)
        self.watch.run(False)

    def _take(self, report: Report) -> None:
        self.curve[report.step] = report
        if not report.kept:
            self.log.append("report", point={name: getattr(report, name) for name in COLUMNS if name != "flops"})
            self._write_curve()
        self.said.report(report)

    def _write_curve(self) -> None:
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(COLUMNS)
        for step, report in sorted(self.curve.items()):
            table.writerow([step, step * self.plan.flops_per_step, report.train_loss, report.accuracy, report.loss])
        replace_file(self.out / "curve.csv", text.getvalue().encode())

    def _end(self, model: Classifier) -> Trained:
        """Write the weights, open the test split, once, and write what is known of the model."""
        experiment, topology, out = self.experiment, self.plan.topology, self.out
        last = self.curve[self.plan.steps]
        metadata = {
            "digest": topology.digest,
            "seed": str(experiment.seed),
            "family": topology.family,
            FINGERPRINT: self.data.fingerprint,
        }
        with named(out / WEIGHTS):
            checkpoint.save(out / WEIGHTS, model.state_dict(), metadata)
        if not any(event["event"] == "open" for event in self.log.events):
            self.log.append("open", split="test", digest=topology.digest)
        test_accuracy, test_loss = measure(model, held_out(experiment.data.source))
        result = Trained(
            digest=topology.digest,
            seed=experiment.seed,
            steps=self.plan.steps,
            spent_flops=self.plan.steps * self.plan.flops_per_step,
            seconds=self.watch.seconds,
            accuracy=last.accuracy,
            loss=last.loss,
            test_accuracy=test_accuracy,
            test_loss=test_loss,
        )
        calls = "function" in (experiment.data.kind, experiment.backbone.kind)
        snippet = TRAINED_SNIPPET.replace(".parent)", ".parent, trust=True)") if calls else TRAINED_SNIPPET
        replace_file(out / "load.py", snippet.encode())
        replace_file(out / "card.md", trained_card(experiment, topology, **asdict(result)).encode())
        replace_file(out / "result.json", (json.dumps(asdict(result), indent=1) + "\n").encode())
        self._write_curve()
        self.log.append("result", **asdict(result))
        (out / STATE).unlink(missing_ok=True)
        return result
