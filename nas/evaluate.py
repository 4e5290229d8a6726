"""Train and measure one topology: the only place where graphs and trainers meet. Needs torch."""

import time
import traceback
from collections.abc import Generator, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from graphs import Topology
from graphs.compiler import compile as compile_topology
from nas.jobs import Job, Outcome, Report
from trainers import checkpoint
from trainers.backbones import build
from trainers.data import Data, load
from trainers.errors import Diverged
from trainers.loop import train
from trainers.metrics import evaluate as measure


class Classifier(nn.Module):
    """Stem, wired blocks and head as one model: images -> logits."""

    def __init__(self, stem: nn.Module, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.stem = stem
        self.body = body
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(self.stem(images)))
        return logits


def build_model(
    topology: Topology, backbone: Mapping[str, Any], *, classes: int, image: tuple[int, int], channels: int, seed: int
) -> Classifier:
    """The model of a trial at its initial weights, which depend on the seed and the blocks' names alone."""
    options = {name: value for name, value in backbone.items() if name not in ("kind", "dim")}
    parts = build(
        backbone["kind"],
        depth=topology.depth,
        classes=classes,
        image=image,
        channels=channels,
        dim=backbone["dim"],
        **options,
    )
    parts.initialise(seed)
    return Classifier(parts.stem, compile_topology(topology, parts.blocks, dim=backbone["dim"]), parts.head)


@lru_cache(maxsize=2)
def dataset(kind: str) -> Data:
    """The train and validation parts, loaded once a process."""
    return load(kind)


def evaluate(job: Job) -> Generator[Report, bool, Outcome]:
    """Train ``job``: yields a Report at each asked step, is sent whether to go on, and returns the Outcome.

    What goes wrong inside a trial is an outcome, not an exception; only an interrupt passes through.
    """
    started = time.perf_counter()
    waited = 0.0
    step = 0
    accuracy = loss = None
    try:
        data = dataset(job.data)
        model = build_model(
            Topology.from_dict(dict(job.topology)),
            job.backbone,
            classes=data.classes,
            image=data.image,
            channels=data.channels,
            seed=job.seed,
        )
        started = time.perf_counter()
        progress = train(model, data, job.recipe, steps=job.steps, seed=job.seed, report_at=job.report_at)
        for point in progress:
            step, accuracy, loss = point.step, point.accuracy, point.loss
            asked = time.perf_counter()
            asks = step in job.ask_at
            go_on = yield Report(job.number, step, point.train_loss, accuracy, loss, asks)
            waited += time.perf_counter() - asked
            if asks and not go_on:
                progress.close()
                seconds = time.perf_counter() - started - waited
                return Outcome(job.number, "stopped", step, seconds, accuracy, loss, "dominated at its rung")
        seconds = time.perf_counter() - started - waited
        if job.weights is not None:
            checkpoint.save(job.weights, model.state_dict(), dict(job.metadata))
        return Outcome(job.number, "complete", step, seconds, accuracy, loss)
    except Diverged as error:
        elapsed = time.perf_counter() - started - waited
        return Outcome(job.number, "diverged", error.step, elapsed, accuracy, loss, str(error))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        elapsed = time.perf_counter() - started - waited
        return Outcome(job.number, "failed", step, elapsed, accuracy, loss, reason, traceback.format_exc())


def accuracy_of(model: nn.Module, kind: str) -> tuple[float, float]:
    """Validation accuracy and loss of a model on a data set."""
    with torch.inference_mode():
        return measure(model, dataset(kind).validation)
