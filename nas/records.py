"""What a trial is once it has left the study: frozen records, the same for every executor and every view."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Value = bool | int | float | str


class Status(StrEnum):
    """How a trial ended.

    COMPLETE: trained on its full budget. PRUNED: stopped early, its values are those of its last rung.
    REJECTED: illegal or over a limit, never trained. DIVERGED: a loss was not finite. FAILED: it raised.
    """

    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    REJECTED = "REJECTED"
    DIVERGED = "DIVERGED"
    FAILED = "FAILED"

    @property
    def trained(self) -> bool:
        """Whether the trial used training compute, and so counts against ``trials``."""
        return self is not Status.REJECTED


STATUS = {  # how a job ends, and what its trial is then
    "complete": Status.COMPLETE,
    "stopped": Status.PRUNED,
    "rejected": Status.REJECTED,
    "diverged": Status.DIVERGED,
    "failed": Status.FAILED,
}


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One point of a learning curve. ``accuracy`` and ``loss`` are of the validation split where measured."""

    step: int
    flops: float  # training FLOPs spent so far
    train_loss: float  # nats per label, mean since the previous point
    accuracy: float | None = None
    loss: float | None = None  # nats per label


@dataclass(frozen=True, slots=True)
class Trial:
    """One finished trial.

    ``flops`` are inference FLOPs of one sample, wiring included; ``traffic`` is the wiring's reads and writes,
    forward and backward, in units of one pass over one hidden state; ``budget_flops`` and ``spent_flops`` are
    training FLOPs; ``seconds`` is the wall time of training steps alone. ``objectives`` maps each objective of the
    experiment to its value and is empty where the trial produced none. ``reason`` says why a trial is not COMPLETE.
    ``topology`` is the JSON form.
    """

    number: int
    status: Status
    source: str  # baseline, random, or the sampler's name
    family: str
    point: Mapping[str, Value]
    digest: str
    seed: int
    budget_flops: float
    spent_flops: float
    flops: float
    parameters: int
    traffic: float
    objectives: Mapping[str, float] = field(default_factory=dict)
    accuracy: float | None = None
    loss: float | None = None
    seconds: float | None = None
    reason: str | None = None
    curve: tuple[CurvePoint, ...] = ()
    topology: Mapping[str, Any] | None = None
