"""What one trial takes of a machine: the ``resources`` section of an experiment, and what is made of it."""

from dataclasses import dataclass
from typing import Self

from pydantic import Field, field_validator, model_validator

from search_space.schema import Strict, wrong

MOST_CPUS = 4096
MOST_GPUS = 64
MOST_SECONDS = 1e8
MOST_WORKERS = 1024
ROOM = 0.9  # the part of a GPU's memory that derived shares fill: its driver and fragments take the rest


class Resources(Strict):
    """What a trial gets where trials are placed on machines, with ``--executor ray``.

    ``cpu`` defaults to ``train.threads``, or else 1, ``gpu`` to what the largest trial's memory needs where there are
    GPUs, and to none elsewhere. Below 1 they are a part of one: several trials share it. ``workers`` processes train a
    trial together, each on its part of every batch, with a GPU each; as many as ``gpu`` where that is more than 1, and
    otherwise one. ``cpu`` and ``gpu`` are those of all of them. ``seconds`` is how long a
    trial may run, by the clock; one that does not end by then is ended, and FAILED; ``serial`` does it at reports.
    """

    cpu: float | None = Field(default=None, gt=0, le=MOST_CPUS)
    gpu: float | None = Field(default=None, ge=0, le=MOST_GPUS)
    workers: int | None = Field(default=None, ge=1, le=MOST_WORKERS)
    seconds: float | None = Field(default=None, gt=0, le=MOST_SECONDS)

    @field_validator("cpu", "gpu")
    @classmethod
    def _whole(cls, value: float | None) -> float | None:
        if value is not None and value > 1 and value != int(value):
            raise wrong(
                f"{value:g} is neither a part of one nor a whole number; write {int(value)} or {int(value) + 1}"
            )
        return value

    @model_validator(mode="after")
    def _one_gpu_each(self) -> Self:
        given, gpus = self.workers, self.gpu
        if given is not None and gpus and gpus != given and max(gpus, given) > 1:
            named = f"gpu: {given}" if given > 1 else f"workers: {gpus:g}"
            raise wrong(f"{given} of them cannot have {gpus:g} GPUs, one each; write {named}", at=("workers",))
        return self

    @property
    def processes(self) -> int:
        """How many processes train a trial."""
        return self.workers or max(1, int(self.gpu or 0))


@dataclass(frozen=True)
class Share:
    """CPUs and GPUs of one trial, which ``workers`` processes train; below 1 a part of one."""

    cpu: float = 1.0
    gpu: float = 0.0
    workers: int = 1

    def __str__(self) -> str:
        named = {"cpu": self.cpu, "gpu": self.gpu} if self.gpu else {"cpu": self.cpu}
        named |= {"workers": self.workers} if self.workers > 1 else {}
        return "{" + ", ".join(f"{name}: {value:g}" for name, value in named.items()) + "}"

    @property
    def each(self) -> "Share":
        """That of one of the processes."""
        return Share(self.cpu / self.workers, self.gpu / self.workers)

    def enforce(self) -> None:
        """Hold this process to a share of one process. Needs torch."""
        import torch

        torch.set_num_threads(max(1, int(self.cpu)))
        if 0 < self.gpu < 1 and torch.cuda.is_available():
            torch.cuda.set_per_process_memory_fraction(self.gpu)


def share_of(resources: Resources, device: float | None, *, threads: int | None, peak: float) -> Share:
    """The share of a trial: what the file says, else derived.

    ``peak`` is what the largest trial needs and ``device`` what a GPU has, in bytes; None where there is no GPU.
    """
    workers = resources.processes
    cpu = resources.cpu or float((threads or 1) * workers)
    if resources.gpu is not None:
        return Share(cpu, resources.gpu, workers)
    if device is None or workers > 1:
        return Share(cpu, 0.0 if device is None else float(workers), workers)
    trials = max(1, int(ROOM * device / peak))
    return Share(cpu, 1 / trials)
