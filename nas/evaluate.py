"""Train and measure one topology: the only place where graphs and trainers meet. Needs torch."""

import traceback
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from graphs import Topology
from graphs.compiler import compile as compile_topology
from nas.errors import RunFolderError
from nas.jobs import Job, Outcome, Report
from nas.keeping import Keeper, Stopwatch
from nas.latency import latency
from trainers import checkpoint, resume
from trainers.backbones import build
from trainers.catalogue import Source
from trainers.data import Data, Split, load, load_test
from trainers.errors import CheckpointError, Diverged, NotKept, TeamError
from trainers.loop import train, using_threads
from trainers.metrics import evaluate as measure
from trainers.seeding import generator
from trainers.team import Team

MEND = "mend that (make room on a full disk), then --resume trains this trial again and goes on"
Gather = Callable[[Job], AbstractContextManager[Team | None]]
DEVICE = "device"  # of the weights' metadata: cpu or cuda, where they were trained and measured
FINGERPRINT = "data_fingerprint"  # of the weights' metadata: what they were trained on


class Classifier(nn.Module):
    """Stem, wired blocks and head as one model: inputs -> logits. ``watch`` runs while it is in training mode."""

    def __init__(self, stem: nn.Module, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.stem = stem
        self.body = body
        self.head = head
        self.watch: Stopwatch | None = None

    def train(self, mode: bool = True) -> Self:
        if self.watch is not None:
            self.watch.run(mode)
        return super().train(mode)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(self.stem(inputs)))
        return logits


def build_model(
    topology: Topology, backbone: Mapping[str, Any], *, seed: int, impl: str = "reference", **sizes: Any
) -> Classifier:
    """The model of a trial at its initial weights, which depend on the seed and the blocks' names alone.

    ``impl`` is the engine of the mixes, of :func:`graphs.compile`; a search keeps to the reference. ``sizes`` are
    those of the data: :class:`trainers.catalogue.Facts`.
    """
    options = {name: value for name, value in backbone.items() if name not in ("kind", "dim")}
    parts = build(
        backbone["kind"],
        depth=topology.depth,
        dim=backbone["dim"],
        hints=topology.block_hints,
        **sizes,
        **options,
    )
    parts.initialise(seed)
    return Classifier(
        parts.stem,
        compile_topology(topology, parts.blocks, dim=backbone["dim"], impl=impl, generator=generator(seed, "wiring")),
        parts.head,
    )


@lru_cache(maxsize=2)
def dataset(data: str | Source) -> Data:
    """The train and validation parts, loaded once a process."""
    return load(data)


@lru_cache(maxsize=2)
def held_out(data: str | Source) -> Split:
    """The test part, which no trial of a search is measured on."""
    return load_test(data)


def alone(job: Job) -> AbstractContextManager[Team | None]:
    """A job in this process and in no other."""
    return nullcontext()


def evaluate(
    job: Job, written: Callable[[Path], None] = lambda path: None, *, gather: Gather = alone
) -> Generator[Report, bool, Outcome]:
    """Train ``job``: yields a Report at each asked step, is sent whether to go on, and returns the Outcome.

    Where ``job.keep`` is there, the training goes on from it: what was reported up to then is said again, and the
    outcome is that of a training which never stopped. ``written`` is called after each time it is written.

    ``seconds`` of the outcome is wall time in training mode, that is of training steps alone: imports, loading
    data, building the model and its optimiser, validation, waiting for an answer and saving are not in it.

    What goes wrong inside a trial is an outcome, not an exception. What passes through: an interrupt, and a
    RunFolderError where the weights cannot be saved, because that is the disk's fault and not the topology's.

    Where the job asks for its latency, that is measured first, and in every report and the outcome; a topology over
    the limit is not trained and the outcome is ``rejected``.

    ``gather`` holds the team that this process trains in and leads. Where another one of it goes, the job is ``lost``.
    """
    training = _trained(job, written, gather)
    answer: bool | None = None  # None starts a generator
    try:
        try:
            seconds, problem = _timed(job)
        except Exception as error:
            return _crashed(Outcome(job.number, "failed", 0, 0.0), error)
        if problem is not None:
            return Outcome(job.number, "rejected", 0, 0.0, reason=problem, latency=seconds)
        while True:
            answer = yield replace(training.send(answer), latency=seconds)  # type: ignore[arg-type]
    except StopIteration as stop:
        outcome: Outcome = stop.value
        return replace(outcome, latency=seconds)
    finally:
        training.close()
        if job.device != "cpu":
            torch.cuda.empty_cache()  # others may share the device


def _timed(job: Job) -> tuple[float | None, str | None]:
    """The seconds of inference, where they are asked for, and why the topology is too slow, if it is."""
    timing = job.latency
    if timing is None:
        return None, None
    if timing.known is not None:
        return timing.known, None  # it was let through
    data = dataset(job.data)
    inputs = data.validation.inputs[: timing.batch].to(job.device)
    mine, other = (
        build_model(Topology.from_dict(dict(one)), job.backbone, seed=job.seed, **data.facts).to(job.device)
        for one in (job.topology, timing.residual)
    )
    with using_threads(job.recipe.threads):
        found = latency(mine, other, inputs, timing.runs)
    if timing.limit is None or found.seconds <= timing.limit:
        return found.seconds, None
    samples = "a sample" if timing.batch == 1 else f"{timing.batch} samples"
    depth = job.topology["depth"]
    return found.seconds, (
        f"latency {found.seconds:.3g} s for {samples}, {found.ratio:.2f} times that of the residual network of depth "
        f"{depth}, is over the limit {timing.limit:g}"
    )


def _trained(job: Job, written: Callable[[Path], None], gather: Gather) -> Generator[Report, bool, Outcome]:
    watch = Stopwatch()
    step = 0
    accuracy = loss = None
    try:
        data = dataset(job.data)
        model = build_model(
            Topology.from_dict(dict(job.topology)),
            job.backbone,
            seed=job.seed,
            **data.facts,
        ).to(job.device)
        keeper = None
        if job.keep is not None:
            job.keep.parent.mkdir(parents=True, exist_ok=True)
            keeper = Keeper(job.keep, job.keep_seconds, watch, written)
            own = resume.identity(model, data, job.recipe, steps=job.steps, seed=job.seed)
            notes = resume.notes(job.keep, own)
            if notes is None:  # of an earlier run in this place, or half of one: worth nothing
                job.keep.unlink(missing_ok=True)
            for past in () if notes is None else keeper.again(notes):
                step, accuracy, loss = past.step, past.accuracy, past.loss
                yield past
        model.watch = watch
        with gather(job) as team:
            progress = train(
                model,
                data,
                job.recipe,
                steps=job.steps,
                seed=job.seed,
                report_at=job.report_at,
                keep=keeper,
                team=team,
            )
            for point in progress:
                watch.run(False)
                step, accuracy, loss = point.step, point.accuracy, point.loss
                asks = step in job.ask_at
                report = Report(job.number, step, point.train_loss, accuracy, loss, asks, seconds=watch.seconds)
                if keeper is not None:
                    keeper.said(report)
                go_on = yield report
                if asks and not go_on:
                    if keeper is not None:
                        keeper.closing = job.waits
                    progress.close()
                    return Outcome(job.number, "stopped", step, watch.seconds, accuracy, loss, "dominated at its rung")
                watch.run(True)
        watch.run(False)
        if job.weights is not None:
            _save(job.weights, model, {**job.metadata, FINGERPRINT: data.fingerprint, DEVICE: job.device})
        done = Outcome(job.number, "complete", step, watch.seconds, accuracy, loss)
        if job.test:
            test_accuracy, test_loss = measure(model, held_out(job.data))
            done = replace(done, test_accuracy=test_accuracy, test_loss=test_loss)
        return done
    except RunFolderError:
        raise
    except NotKept as error:
        raise RunFolderError(f"{error}; {MEND}") from error
    except CheckpointError as error:
        if job.keep is None:
            raise
        job.keep.unlink(missing_ok=True)
        return Outcome(job.number, "lost", step, watch.seconds, reason=str(error))
    except TeamError as error:
        watch.run(False)
        return Outcome(job.number, "lost", step, watch.seconds, accuracy, loss, str(error))
    except Diverged as error:
        watch.run(False)
        return Outcome(job.number, "diverged", error.step, watch.seconds, accuracy, loss, str(error))
    except Exception as error:
        watch.run(False)
        return _crashed(Outcome(job.number, "failed", step, watch.seconds, accuracy, loss), error)
    finally:
        if job.device != "cpu":
            torch.cuda.empty_cache()  # others may share the device


def _crashed(outcome: Outcome, error: Exception) -> Outcome:
    """The outcome with what a trial died of; that it was for want of memory needs no traceback."""
    if out_of_memory(error):
        return replace(outcome, reason=f"out of memory: {error}", cause="memory")
    return replace(outcome, reason=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())


def out_of_memory(error: Exception) -> bool:
    """Whether it is for want of memory; torch has a type of its own for that on a GPU alone."""
    texts = ("DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(text in str(error) for text in texts)


def _save(path: Path, model: nn.Module, metadata: dict[str, str]) -> None:
    try:
        checkpoint.save(path, model.state_dict(), metadata)
    except OSError as error:
        raise RunFolderError(
            f"{path}: the trained weights cannot be written: {error.strerror or error}; {MEND}"
        ) from error


def accuracy_of(model: nn.Module, data: str | Source) -> tuple[float, float]:
    """Validation accuracy and loss of a model on a data set."""
    with torch.inference_mode():
        return measure(model, dataset(data).validation)
