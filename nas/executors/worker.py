"""What runs one job after another in a worker's process: the far end of an executor. No ray here."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path

from graphs.errors import UserError
from nas.jobs import Job, Outcome, Report

Evaluate = Callable[[Job], Generator[Report, bool, Outcome]]

TOGETHER = 0.05  # seconds for which messages are gathered ...
QUICK = 0.005  # ... as long as each comes this soon after the one before it
PIECE = 32 * 2**20  # bytes of weights fetched at once


@dataclass(frozen=True)
class Batch:
    """What a job said: ``messages`` in their order. An Outcome ends it; ``error`` is a fault that is not the trial's.

    ``weights`` is the size in bytes of weights that are yet to be fetched, None where they are in place or were not
    asked for.
    """

    messages: tuple[Report | Outcome, ...]
    weights: int | None = None
    error: str | None = None

    @property
    def done(self) -> bool:
        return self.error is not None or isinstance(self.messages[-1], Outcome)

    @property
    def asks(self) -> bool:
        last = self.messages[-1] if self.messages else None
        return isinstance(last, Report) and last.asks


class Worker:
    """Holds the job under way. ``shared`` says whether the driver's folder can be written from here."""

    def __init__(self, evaluate: Evaluate, *, shared: bool, device: str = "cpu") -> None:
        self._evaluate = evaluate
        self._shared = shared
        self._device = device
        self._running: Generator[Report, bool, Outcome] | None = None
        self._answer: bool | None = None  # None starts a generator
        self._folder: Path | None = None
        self._weights: Path | None = None

    def take(self, job: Job) -> None:
        """Begin a job, in place of whatever was under way."""
        self.close()
        job = replace(job, device=self._device)
        if job.weights is not None and not self._shared:
            self._folder = Path(tempfile.mkdtemp(prefix="wireloom-"))
            self._weights = self._folder / job.weights.name
            job = replace(job, weights=self._weights)
        self._running = self._evaluate(job)
        self._answer = None

    def answer(self, go_on: bool) -> None:
        """The answer to the report that asked; without one it is yes."""
        self._answer = go_on

    def step(self) -> Batch:
        """Run to the next message, or over a few that follow each other quickly."""
        assert self._running is not None, "step() without a job"
        messages: list[Report | Outcome] = []
        began = before = time.perf_counter()
        try:
            while True:
                message = self._running.send(self._answer)  # type: ignore[arg-type]
                self._answer = True
                messages.append(message)
                now = time.perf_counter()
                if message.asks or now - before > QUICK or now - began > TOGETHER:
                    return Batch(tuple(messages))
                before = now
        except StopIteration as stop:
            self._running = None
            there = self._weights is not None and self._weights.exists()
            size = self._weights.stat().st_size if there and self._weights is not None else None
            return Batch((*messages, stop.value), weights=size)
        except UserError as error:
            self._running = None
            return Batch(tuple(messages), error=str(error))

    def read(self, offset: int, size: int) -> bytes:
        """A piece of the weights that the last job left."""
        assert self._weights is not None, "read() without weights"
        with self._weights.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def close(self) -> None:
        """Let go of what runs and of what was left."""
        if self._running is not None:
            self._running.close()
            self._running = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = self._weights = None


def fetch(read: Callable[[int, int], bytes], path: Path, size: int) -> None:
    """Bring what a worker left on its disk to ``path``, whole or not at all; ``read`` is its :meth:`Worker.read`."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            for offset in range(0, size, PIECE):
                file.write(read(offset, PIECE))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def shares(probe: Path | None, token: str) -> bool:
    """Whether the driver's folder, where it left ``token`` in the file ``probe``, is the same folder here."""
    try:
        return probe is not None and probe.read_text(encoding="utf-8") == token
    except (OSError, UnicodeDecodeError):
        return False
