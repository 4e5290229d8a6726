"""A job under way as its executor sees it, and what its end means where the job itself cannot say. No ray here."""

import time
from collections.abc import Iterable
from typing import Any

from graphs.errors import UserError
from nas.executors.cluster import ClusterError, last_line
from nas.jobs import Job, Outcome, Report

# What ray says of a process, or of its machine, that is no more.
GONE = ("actor died", "ActorDiedError", "ActorUnavailableError", "is unavailable", "Node failure", "node died")
NEVER_BEGAN = "creation task"
OTHER_FAILED = "RankFailed: "  # one of the other processes of a trial, by itself
BY_MEMORY = ("running low on memory", "ray.exceptions.OutOfMemoryError")


class Running:
    """``since`` is when it began to run, None while it waits for a machine; ``overdue`` that it was ended for time."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.since: float | None = None
        self.overdue = False
        self._last: Report | None = None

    def heard(self, messages: Iterable[Report | Outcome]) -> None:
        for message in messages:
            if isinstance(message, Report):
                self._last = message

    @property
    def late(self) -> bool:
        """Whether it has run for longer than it may, and is still to be ended."""
        limit = self.job.seconds_limit
        running = self.since is not None and limit is not None and not self.overdue
        return running and time.monotonic() - (self.since or 0.0) > (limit or 0.0)

    def end(self, error: str) -> Outcome | UserError:
        """What ray's ``error`` means for the trial, or for the whole search where no worker can work."""
        line = last_line(error)
        if self.overdue:
            return self.out_of_time()
        if any(sign in error for sign in BY_MEMORY):
            return self._ended("failed", "out of memory: its machine had none left, and ray ended it", cause="memory")
        if OTHER_FAILED in line:
            reason = line.partition(OTHER_FAILED)[2]
            memory = reason.startswith("out of memory")
            more = {"cause": "memory"} if memory else {"traceback": error}
            return self._ended("failed", reason, **more)
        if NEVER_BEGAN in error:
            return ClusterError(f"a worker cannot start: {line}")
        if any(sign in error for sign in GONE):
            return self.lost(line)
        return self._ended("failed", f"its worker failed: {line}", traceback=error)

    def out_of_time(self) -> Outcome:
        """The outcome of a job that ran for longer than it may."""
        limit = self.job.seconds_limit or 0.0
        return self._ended("failed", f"out of time: ended after resources.seconds, {limit:g} s", cause="time")

    def lost(self, why: str) -> Outcome:
        """The outcome of a job whose worker died."""
        return self._ended("lost", why)

    def _ended(self, kind: str, reason: str, **more: Any) -> Outcome:
        last = self._last
        if last is None:
            return Outcome(self.job.number, kind, 0, 0.0, reason=reason, **more)
        return Outcome(self.job.number, kind, last.step, last.seconds, last.accuracy, last.loss, reason, **more)
