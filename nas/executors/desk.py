"""What the study's thread and the thread that drives a cluster hand each other. No ray here."""

from collections import deque
from collections.abc import Callable, Iterable
from threading import Condition
from typing import Any

from nas.jobs import Job, Outcome, Report

# Seconds for which a driver with other things to do waits for a study that is thinking. Not less: Tune keeps one idle
# process for the next trial and ends a second one, which then takes longer to start than most studies think.
PATIENCE = 5.0


class Desk:
    """Jobs go one way, messages the other; safe between threads, and every wait ends with :meth:`close`."""

    def __init__(self, say: Callable[[str], None] = lambda text: None) -> None:
        self.say = say  # tells the user something, from the cluster's side
        self.closed = False
        self._jobs: deque[Job] = deque()
        self._messages: deque[Report | Outcome] = deque()
        self._answers: dict[int, bool] = {}
        self._error: BaseException | None = None
        self._study_waits = False
        self._changed = Condition()

    def __getstate__(self) -> dict[str, Any]:
        # Tune writes down all that it is given, to restore it some day; ours is never restored.
        return {}

    # ---- the study's side

    def submit(self, job: Job) -> None:
        with self._changed:
            self._jobs.append(job)
            self._changed.notify_all()

    def next(self) -> Report | Outcome:
        """The next message; waits for one. Raises what :meth:`fail` was given, once all before it is read."""
        with self._changed:
            self._wait()
            self._raise()
            return self._messages.popleft()

    def gather(self, seconds: float) -> list[Report | Outcome]:
        """The messages that are there; waits for one, but not for longer than ``seconds``. Raises as :meth:`next`."""
        with self._changed:
            self._wait(seconds)
            self._raise()
            found = list(self._messages)
            self._messages.clear()
            return found

    def ready(self, seconds: float) -> bool:
        """Whether :meth:`next` need not wait; waits for that up to so many seconds."""
        with self._changed:
            return self._wait(seconds)

    def _wait(self, seconds: float | None = None) -> bool:
        self._study_waits = True
        self._changed.notify_all()
        try:
            return self._changed.wait_for(lambda: bool(self._messages) or self._error is not None, seconds)
        finally:
            self._study_waits = False

    def _raise(self) -> None:
        if self._error is not None and not self._messages:
            raise self._error

    def answer(self, number: int, go_on: bool) -> None:
        with self._changed:
            self._answers[number] = go_on
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing more is wanted: who waits on the other side is let go."""
        with self._changed:
            self.closed = True
            self._jobs.clear()
            self._changed.notify_all()

    # ---- the cluster's side

    def take(self, *, block: bool) -> Job | None:
        """The next job. Where ``block`` waits until there is one; else only for a study that is about to submit.

        None where there is none, for now or, after :meth:`close`, for ever.
        """
        with self._changed:
            if block:
                self._changed.wait_for(lambda: self._jobs or self.closed)
            else:
                # A study that waits for us has submitted all it wants. One that works on a message may submit the
                # next job in a moment: going to sleep in the cluster's event loop first would cost more.
                self._changed.wait_for(
                    lambda: self._jobs or self.closed or (self._study_waits and not self._messages), PATIENCE
                )
            return self._jobs.popleft() if self._jobs else None

    def put(self, messages: Iterable[Report | Outcome]) -> None:
        with self._changed:
            self._messages.extend(messages)
            self._changed.notify_all()

    def ask(self, number: int) -> bool:
        """The study's answer to the report that was put last; no, where it left without one."""
        with self._changed:
            self._changed.wait_for(lambda: number in self._answers or self.closed)
            return self._answers.pop(number, False)

    def fail(self, error: BaseException) -> None:
        """The study's next :meth:`next` raises ``error``."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()
