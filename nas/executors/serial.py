"""The executor of a laptop: one job at a time, in this process."""

from collections.abc import Callable, Generator

from nas.evaluate import evaluate
from nas.jobs import Job, Outcome, Report

Evaluate = Callable[[Job], Generator[Report, bool, Outcome]]


class SerialExecutor:
    """Runs each job to its end before the next; a message is produced when it is asked for."""

    slots = 1

    def __init__(self, evaluate: Evaluate = evaluate) -> None:
        self._evaluate = evaluate
        self._running: Generator[Report, bool, Outcome] | None = None
        self._answer: bool | None = None  # None starts a generator

    def submit(self, job: Job) -> None:
        self._running = self._evaluate(job)
        self._answer = None

    def next(self) -> Report | Outcome:
        assert self._running is not None, "next() without a job"
        try:
            message = self._running.send(self._answer)  # type: ignore[arg-type]
        except StopIteration as stop:
            self._running = None
            outcome: Outcome = stop.value
            return outcome
        self._answer = True
        return message

    def answer(self, number: int, go_on: bool) -> None:
        self._answer = go_on

    def close(self) -> None:
        if self._running is not None:
            self._running.close()
            self._running = None
