"""What a worker is given and what it says: plain data, the same for every executor. No torch needed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainers.catalogue import Source
from trainers.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Timing:
    """How a topology's inference is timed before it is trained: beside ``residual``, a network of the same depth.

    Seconds are those of ``batch`` samples, ``known`` if they were measured before; over the ``limit`` there is no
    training.
    """

    residual: Mapping[str, Any]
    batch: int
    runs: int
    limit: float | None = None
    known: float | None = None


NO_TRIAL = -1  # the number of a job that belongs to no trial; where there are several at once, those below too


@dataclass(frozen=True, slots=True)
class Job:
    """Everything a worker needs to train one trial, as plain data.

    ``report_at`` are the steps at which to measure; ``ask_at`` those of them at which to ask whether to go on.
    ``weights`` is where the trained weights go, if anywhere. ``keep`` is where the state of the training is kept every
    ``keep_seconds`` seconds, and from where it goes on if it is there already; ``waits`` says that a job which is told
    to stop keeps its state there, to go on another time, and ``last`` that a job which is lost does not go on. ``test``
    asks for the test split at the very end: a trial of a search never does. ``seconds_limit`` is how long a trial may
    run, by the clock, before an executor that can end it does; ``device`` is where torch is to train it.
    """

    number: int
    topology: Mapping[str, Any]
    data: str | Source
    backbone: Mapping[str, Any]
    recipe: Recipe
    seed: int
    steps: int
    flops_per_step: float
    report_at: tuple[int, ...]
    ask_at: tuple[int, ...] = ()
    weights: Path | None = None
    keep: Path | None = None
    keep_seconds: float = 60.0
    waits: bool = False
    test: bool = False
    last: bool = False
    latency: Timing | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    seconds_limit: float | None = None
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class Report:
    """One measurement of a running trial; ``asks`` whether the study is to say if it goes on.

    ``kept``: it was made before the checkpoint that the training went on from, and is said again. ``seconds`` is that
    of training steps so far.
    """

    number: int
    step: int
    train_loss: float
    accuracy: float
    loss: float
    asks: bool
    kept: bool = False
    latency: float | None = None  # seconds of inference, where the job asked for them
    seconds: float = field(default=0.0, compare=False)  # what a clock says is no part of what was measured


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended: ``complete``, ``stopped``, ``rejected`` (too slow), ``diverged``, ``failed``, or ``lost``.

    A lost job says nothing of its topology and is run again. ``seconds`` is that of training steps. ``cause`` says of a
    failure that it was for want of ``memory`` or ``time``.
    """

    number: int
    kind: str
    step: int
    seconds: float
    accuracy: float | None = None
    loss: float | None = None
    reason: str | None = None
    traceback: str | None = None
    test_accuracy: float | None = None
    test_loss: float | None = None
    latency: float | None = None
    cause: str | None = None
