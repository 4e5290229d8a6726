"""The executor of a laptop: one job at a time, in this process."""

import time
from collections.abc import Callable, Generator

from nas.evaluate import evaluate
from nas.executors.running import Running
from nas.jobs import Job, Outcome, Report

Evaluate = Callable[[Job], Generator[Report, bool, Outcome]]


class SerialExecutor:
    """Runs each job to its end before the next; a message is produced when it is asked for.

    A job whose time is over ends at its next report, with the outcome it has where an executor can end it at once.
    """

    slots = 1

    def __init__(self, evaluate: Evaluate = evaluate) -> None:
        self._evaluate = evaluate
        self._running: Generator[Report, bool, Outcome] | None = None
        self._answer: bool | None = None  # None starts a generator
        self._job: Running | None = None

    def submit(self, job: Job) -> None:
        self._running = self._evaluate(job)
        self._answer = None
        self._job = Running(job)
        self._job.since = time.monotonic()

    def next(self) -> Report | Outcome:
        assert self._running is not None, "next() without a job"
        assert self._job is not None
        if self._answer and self._job.late:  # one that was told to stop has its say
            self.close()
            return self._job.out_of_time()
        try:
            message = self._running.send(self._answer)  # type: ignore[arg-type]
        except StopIteration as stop:
            self._running = None
            outcome: Outcome = stop.value
            return outcome
        self._answer = True
        self._job.heard((message,))
        return message

    def ready(self, seconds: float) -> bool:
        return True  # the job runs inside next()

    def answer(self, number: int, go_on: bool) -> None:
        self._answer = go_on

    def close(self) -> None:
        if self._running is not None:
            self._running.close()
            self._running = None
