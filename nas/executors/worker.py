"""What runs one job after another in a worker's process: the far end of an executor. No ray here."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Protocol

from graphs.errors import UserError
from nas.jobs import Job, Outcome, Report

Evaluate = Callable[..., Generator[Report, bool, Outcome]]  # of a job and, maybe, of what is called with a checkpoint


class Store(Protocol):
    """Storage that all machines reach; :class:`nas.storage.Storage` is one."""

    def put(self, local: Path, name: str) -> None: ...

    def get(self, name: str, local: Path) -> bool: ...

    def delete(self, name: str) -> None: ...


TOGETHER = 0.05  # seconds for which messages are gathered ...
QUICK = 0.005  # ... as long as each comes this soon after the one before it
PIECE = 32 * 2**20  # bytes of weights fetched at once


@dataclass(frozen=True)
class Batch:
    """What a job said: ``messages`` in their order. An Outcome ends it; ``error`` is a fault that is not the trial's.

    ``weights`` is the size in bytes of weights that are yet to be fetched, None where they are in place or were not
    asked for. ``note`` is what the user should know though nothing ends by it.
    """

    messages: tuple[Report | Outcome, ...]
    weights: int | None = None
    error: str | None = None
    note: str | None = None

    @property
    def done(self) -> bool:
        return self.error is not None or isinstance(self.messages[-1], Outcome)

    @property
    def asks(self) -> bool:
        last = self.messages[-1] if self.messages else None
        return isinstance(last, Report) and last.asks


class Worker:
    """Holds the job under way, which runs in a thread: it goes on while its messages travel.

    ``prepare`` is called in each such thread. ``shared`` says whether the driver's folder can be written from here. If
    not, weights are left to be fetched, and checkpoints go to ``store`` or, without one, are not written. A store that
    fails costs a trial nothing but its checkpoint, and is said.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        *,
        shared: bool,
        store: Store | None = None,
        device: str = "cpu",
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self._evaluate = evaluate
        self._shared = shared
        self._store = store
        self._device = device
        self._prepare = prepare
        self._run: _Run | None = None
        self._folder: Path | None = None
        self._weights: Path | None = None
        self._note: str | None = None

    def take(self, job: Job) -> None:
        """Begin a job, in place of whatever was under way."""
        self.close()
        job = replace(job, device=self._device)
        evaluate, prepare = self._evaluate, self._prepare
        if not self._shared and (job.weights is not None or job.keep is not None):
            self._folder = Path(tempfile.mkdtemp(prefix="wireloom-"))
            if job.weights is not None:
                self._weights = self._folder / job.weights.name
            store, keep = self._store, None
            if job.keep is not None and store is not None:
                keep = self._folder / job.keep.name
                evaluate, prepare = _kept(evaluate, prepare, store, keep, self._tell)
            job = replace(job, weights=self._weights, keep=keep)
        self._run = _Run(evaluate, job, prepare)

    def answer(self, go_on: bool) -> None:
        """The answer to the report that asked; without one, the next :meth:`step` says yes."""
        assert self._run is not None, "answer() without a job"
        self._run.answer(go_on)

    def step(self) -> Batch:
        """What the job says next: waits for a message, and takes those that follow it quickly along."""
        assert self._run is not None, "step() without a job"
        messages, error = self._run.gather()
        if error is not None and not isinstance(error, UserError):
            raise error
        size = None
        if messages and isinstance(messages[-1], Outcome) and self._weights is not None and self._weights.exists():
            size = self._weights.stat().st_size
        note, self._note = self._note, None
        return Batch(messages, size, None if error is None else str(error), note)

    def _tell(self, note: str) -> None:
        self._note = note

    def fail(self, error: BaseException) -> None:
        """End the job under way with ``error``, which came from outside of its thread."""
        if self._run is not None:
            self._run.fail(error)

    def read(self, offset: int, size: int) -> bytes:
        """A piece of the weights that the last job left."""
        assert self._weights is not None, "read() without weights"
        with self._weights.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def close(self) -> None:
        """Let go of what runs, which ends at its next report, and of what was left."""
        if self._run is not None:
            self._run.leave()
            self._run = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = self._weights = None


def _kept(
    evaluate: Evaluate, prepare: Callable[[], None], store: Store, keep: Path, tell: Callable[[str], None]
) -> tuple[Evaluate, Callable[[], None]]:
    """The two with a checkpoint that is brought from ``store`` before, and to it each time it was written.

    One that could not be read, which costs the trial this run, goes from the store too: it begins again.
    """

    brought: list[bool] = []

    def trying(action: Callable[[], object]) -> None:
        try:
            action()
        except UserError as error:
            tell(f"a checkpoint is not kept, and the search goes on: {error}")

    def before() -> None:
        prepare()
        trying(lambda: store.get(keep.name, keep))
        brought.append(keep.exists())

    def whole(job: Job) -> Generator[Report, bool, Outcome]:
        outcome = yield from evaluate(job, lambda path: trying(lambda: store.put(path, path.name)))
        if outcome.kind == "lost" and any(brought) and not keep.exists():
            trying(lambda: store.delete(keep.name))
        return outcome

    return whole, before


class _Run:
    """One job in its thread."""

    def __init__(self, evaluate: Evaluate, job: Job, prepare: Callable[[], None]) -> None:
        self._said: SimpleQueue[Report | Outcome | BaseException] = SimpleQueue()
        self._answers: SimpleQueue[bool] = SimpleQueue()
        self._asked = False
        self._left = False
        self._thread = Thread(target=self._main, args=(evaluate, job, prepare), name=f"trial-{job.number}", daemon=True)
        self._thread.start()

    def _main(self, evaluate: Evaluate, job: Job, prepare: Callable[[], None]) -> None:
        try:
            prepare()
            running = evaluate(job)
            answer: bool | None = None  # which starts a generator
            while True:
                message = running.send(answer)  # type: ignore[arg-type]
                self._said.put(message)
                answer = self._answers.get() if message.asks else True
                if self._left:
                    running.close()
                    return
        except StopIteration as stop:
            self._said.put(stop.value)
        except BaseException as error:
            self._said.put(error)

    def answer(self, go_on: bool) -> None:
        self._asked = False
        self._answers.put(go_on)

    def gather(self) -> tuple[tuple[Report | Outcome, ...], BaseException | None]:
        """Messages up to one that asks, the last, or a pause; and what the job died of, if it did."""
        if self._asked:
            self.answer(True)
        messages: list[Report | Outcome] = []
        until = time.monotonic() + TOGETHER
        try:
            found = self._said.get()
            while not isinstance(found, BaseException):
                messages.append(found)
                self._asked = isinstance(found, Report) and found.asks
                if self._asked or isinstance(found, Outcome) or time.monotonic() > until:
                    return tuple(messages), None
                found = self._said.get(timeout=QUICK)
        except Empty:
            return tuple(messages), None
        return tuple(messages), found

    def fail(self, error: BaseException) -> None:
        self._said.put(error)

    def leave(self) -> None:
        self._left = True
        self._answers.put(False)


def fetch(read: Callable[[int, int], bytes], path: Path, size: int, piece: int = PIECE) -> None:
    """Bring what a worker left on its disk to ``path``, whole or not at all; ``read`` is its :meth:`Worker.read`."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            for offset in range(0, size, piece):
                file.write(read(offset, piece))
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
