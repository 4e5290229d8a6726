"""What one trial takes of a machine: the ``resources`` section of an experiment, and what is made of it."""

from dataclasses import dataclass

from pydantic import Field, field_validator

from search_space.schema import Strict, wrong

MOST_CPUS = 4096
MOST_GPUS = 64
MOST_SECONDS = 1e8
ROOM = 0.9  # the part of a GPU's memory that derived shares fill: its driver and fragments take the rest


class Resources(Strict):
    """What a trial gets where trials are placed on machines, with ``--executor ray``.

    ``cpu`` defaults to ``train.threads``, or else 1, ``gpu`` to what the largest trial's memory needs where there are
    GPUs, and to none elsewhere. Below 1 they are a part of one: several trials share it. ``seconds`` is how long a
    trial may run, by the clock; one that does not end by then is ended, and FAILED; ``serial`` does it at reports.
    """

    cpu: float | None = Field(default=None, gt=0, le=MOST_CPUS)
    gpu: float | None = Field(default=None, ge=0, le=MOST_GPUS)
    seconds: float | None = Field(default=None, gt=0, le=MOST_SECONDS)

    @field_validator("cpu", "gpu")
    @classmethod
    def _whole(cls, value: float | None) -> float | None:
        if value is not None and value > 1 and value != int(value):
            raise wrong(
                f"{value:g} is neither a part of one nor a whole number; write {int(value)} or {int(value) + 1}"
            )
        return value


@dataclass(frozen=True)
class Share:
    """CPUs and GPUs of one trial; below 1 a part of one."""

    cpu: float = 1.0
    gpu: float = 0.0

    def __str__(self) -> str:
        return f"{{cpu: {self.cpu:g}" + (f", gpu: {self.gpu:g}}}" if self.gpu else "}")

    def enforce(self) -> None:
        """Hold this process to its share. Needs torch."""
        import torch

        torch.set_num_threads(max(1, int(self.cpu)))
        if 0 < self.gpu < 1 and torch.cuda.is_available():
            torch.cuda.set_per_process_memory_fraction(self.gpu)


def share_of(resources: Resources, device: float | None, *, threads: int | None, peak: float) -> Share:
    """The share of a trial: what the file says, else derived.

    ``peak`` is what the largest trial needs and ``device`` what a GPU has, in bytes; None where there is no GPU.
    """
    cpu = resources.cpu or float(threads or 1)
    if resources.gpu is not None:
        return Share(cpu, resources.gpu)
    if device is None:
        return Share(cpu)
    trials = max(1, int(ROOM * device / peak))
    return Share(cpu, 1 / trials)
