"""An executor that is driven from another machine: the study's side and what stands for the study there. No ray here.

The study's side, :class:`FarExecutor`, calls the :class:`Engine` over a :class:`Wire`. Calls arrive in their order and
are carried out one at a time, so that what was submitted is known there before the study waits.
"""

import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Protocol
from uuid import uuid4

from graphs.errors import UserError
from nas.errors import RunFolderError
from nas.executors import Executor
from nas.executors.cluster import ClusterError, unwritten
from nas.executors.worker import fetch
from nas.files import replace_file
from nas.jobs import Job, Outcome, Report

WAIT = 2.0  # seconds for which the engine waits for a message before it says that there is none
LOST = 60.0  # seconds without an answer after which the engine is given up; Ray Client itself tries for 30 to come back
PIECE = 4 * 2**20  # bytes of weights fetched at once: it has LOST seconds to come, over a slow line too
ENDED = 40.0  # seconds that the engine is given to end what runs


@dataclass(frozen=True)
class Away:
    """What a study on another machine has there: the ``token`` in its folder and its ``versions``.

    ``landing`` is the folder on this machine into which weights are fetched that it is yet to bring.
    """

    token: str
    versions: Mapping[str, str]
    landing: Path


def landed(landing: Path, number: int) -> Path:
    """Where the weights of a job are in the folder ``landing``."""
    return landing / f"{number}.safetensors"


class Gathering(Executor, Protocol):
    """An executor that can be asked without waiting for ever."""

    def gather(self, seconds: float) -> list[Report | Outcome]: ...


@dataclass(frozen=True)
class Heard:
    """What an engine says: messages, each with the size in bytes of weights that are to be fetched, if there are any.

    ``error`` comes after the messages. ``said`` is for the user.
    """

    slots: int
    messages: tuple[tuple[Report | Outcome, int | None], ...] = ()
    said: tuple[str, ...] = ()
    error: Exception | None = None


class Engine:
    """Stands for the study where the executor is, which ``make`` builds; nothing but plain data comes and goes.

    ``make`` is given the study's token and versions with a landing folder, and what is told the user.
    """

    def __init__(self, make: Callable[[Away, Callable[[str], None]], Gathering]) -> None:
        self._make = make
        self._said: deque[str] = deque()
        self._folder: Path | None = None
        self._executor: Gathering | None = None
        self._failed: UserError | None = None

    def open(self, token: str, versions: Mapping[str, str]) -> Heard:
        """Build the executor; an error is a UserError that says why it cannot be had."""
        self._folder = Path(tempfile.mkdtemp(prefix="wireloom-weights-"))
        try:
            self._executor = self._make(Away(token, versions, self._folder), self._said.append)
        except UserError as error:
            self.leave()
            return Heard(0, error=error)
        return Heard(self._executor.slots)

    def submit(self, job: Job) -> None:
        """Hand a job on; what it cannot be for is said by :meth:`next`, since nobody waits here."""
        try:
            self._there.submit(job)
        except UserError as error:
            self._failed = error

    def answer(self, number: int, go_on: bool) -> None:
        self._there.answer(number, go_on)

    def next(self, seconds: float) -> Heard:
        """What the executor says, which may be nothing within ``seconds``."""
        messages: list[Report | Outcome] = []
        error: Exception | None = None
        if self._failed is not None:
            return Heard(1, error=self._failed)
        try:
            messages = self._there.gather(seconds)
            slots = self._there.slots
        except UserError as found:
            slots, error = 1, found
        except Exception as found:  # as text: not every error survives the way
            slots, error = 1, RuntimeError(f"{type(found).__name__}: {found}")
        said = [self._said.popleft() for _ in range(len(self._said))]  # another thread says more meanwhile
        return Heard(slots, tuple((message, self._size(message)) for message in messages), tuple(said), error)

    def read(self, number: int, offset: int, size: int) -> bytes:
        """A piece of the weights of a job."""
        assert self._folder is not None
        with landed(self._folder, number).open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def drop(self, number: int) -> None:
        """The weights of a job are not needed any more."""
        assert self._folder is not None
        landed(self._folder, number).unlink(missing_ok=True)

    def close(self) -> None:
        """Stop what runs; more can be submitted."""
        self._failed = None
        self._there.close()
        assert self._folder is not None
        for left in self._folder.iterdir():
            left.unlink(missing_ok=True)

    def leave(self) -> None:
        """Leave nothing behind; nothing is called after this."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _there(self) -> Gathering:
        assert self._executor is not None, "open() comes first"
        return self._executor

    def _size(self, message: Report | Outcome) -> int | None:
        assert self._folder is not None
        place = landed(self._folder, message.number)
        return place.stat().st_size if isinstance(message, Outcome) and place.exists() else None


class Wire(Protocol):
    """Calls to an :class:`Engine` by the names of its methods. Both raise ClusterError where it cannot be reached."""

    def tell(self, name: str, *arguments: object) -> None:
        """Call it and go on at once."""
        ...

    def ask(self, name: str, *arguments: object) -> Any:
        """Call it and wait for what it gives, for as long as that takes."""
        ...


class FarExecutor:
    """The study's side. ``folder`` is where jobs' files go; ``lost`` makes the error of an engine that does not answer.

    What the engine wants to be said is told ``say``. Raises what the engine cannot be opened for.
    """

    def __init__(
        self,
        wire: Wire,
        versions: Mapping[str, str],
        *,
        folder: Path | None,
        say: Callable[[str], None],
        lost: Callable[[str], ClusterError],
    ) -> None:
        self._wire = wire
        self._say = say
        self._lost = lost
        self._inbox: deque[tuple[Report | Outcome, int | None]] = deque()
        self._error: Exception | None = None
        self._weights: dict[int, Path] = {}
        self._under_way = False
        self.reached = True  # as far as is known
        self._probe = None if folder is None else folder.absolute() / ".executor"
        self._token = uuid4().hex
        opened: Heard = self._ask("open", self._token, dict(versions), within=LOST)
        if opened.error is not None:
            raise opened.error
        self._slots = opened.slots

    @property
    def slots(self) -> int:
        """How many trials the cluster held when it was last heard of."""
        return self._slots

    def submit(self, job: Job) -> None:
        if not self._under_way and self._probe is not None:
            replace_file(self._probe, self._token.encode())
        self._under_way = True
        if job.weights is not None:
            self._weights[job.number] = job.weights
        paths = {name: path.absolute() for name in ("weights", "keep") if (path := getattr(job, name)) is not None}
        self._tell("submit", replace(job, **paths))

    def next(self) -> Report | Outcome:
        """The next message, once its weights are here. ClusterError where the engine is not reached any more."""
        while not self._inbox:
            if self._error is not None:
                raise self._error
            self._hear(WAIT)
        message, size = self._inbox.popleft()
        if isinstance(message, Outcome):
            place = self._weights.pop(message.number, None)
            if size is not None and place is not None:
                self._bring(message.number, place, size)
        return message

    def ready(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not self._inbox and self._error is None:
            left = max(0.0, end - time.monotonic())
            self._hear(min(left, WAIT))
            if not left:
                break
        return bool(self._inbox) or self._error is not None

    def answer(self, number: int, go_on: bool) -> None:
        self._tell("answer", number, go_on)

    def close(self) -> None:
        """Stop what runs, within seconds; more can be submitted."""
        if not self._under_way:
            return
        self._under_way = False
        self._inbox.clear()
        self._error = None
        if self.reached:
            with suppress(ClusterError):  # it ends with the connection, if there is one
                self._ask("close", within=ENDED)

    def leave(self) -> None:
        """Let go of the engine: nothing is submitted after this."""
        try:
            self.close()
            if self.reached:
                with suppress(ClusterError):
                    self._ask("leave", within=ENDED)
        finally:
            if self._probe is not None:
                self._probe.unlink(missing_ok=True)

    def _hear(self, seconds: float) -> None:
        """Take in what the engine says within some seconds."""
        heard: Heard = self._ask("next", seconds, within=seconds + LOST)
        self._slots, self._error = heard.slots, heard.error
        for text in heard.said:
            self._say(text)
        self._inbox.extend(heard.messages)

    def _bring(self, number: int, place: Path, size: int) -> None:
        try:
            fetch(lambda *piece: self._ask("read", number, *piece, within=LOST), place, size, PIECE)
        except OSError as error:
            raise RunFolderError(unwritten(place, error)) from error
        self._tell("drop", number)

    def _tell(self, name: str, *arguments: object) -> None:
        try:
            self._wire.tell(name, *arguments)
        except ClusterError:
            self.reached = False
            raise

    def _ask(self, name: str, *arguments: object, within: float) -> Any:
        """Ask from another thread: what the wire is made of may wait for ever, and not heed a Ctrl-C."""
        answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

        def ask() -> None:
            try:
                answers.put((self._wire.ask(name, *arguments), None))
            except BaseException as error:
                answers.put((None, error))

        Thread(target=ask, name="engine", daemon=True).start()
        try:
            found, error = answers.get(timeout=within)
        except Empty:
            found, error = None, self._lost(f"it has not answered for {within:g} s")
        if error is not None:
            self.reached = not isinstance(error, ClusterError)
            raise error
        return found
