"""What is done once the log is on the disk, and how often the disk is waited for."""

import math
import time
from collections.abc import Callable, Iterable, MutableMapping

from nas.events import EventLog
from nas.timed import Timed

GATHER = 0.25  # seconds from one wait for the disk to the next, where one that serves for many can be had


class Commits:
    """Observers, and workers of a few, learn of what happened only when a power cut can no longer undo it.

    And only then what it makes needless is deleted: a power cut leaves no log that still needs it.
    """

    def __init__(self, log: EventLog, times: MutableMapping[str, float]) -> None:
        self._log, self._times = log, times
        self._then: list[Callable[[], None]] = []
        self._last = -math.inf  # when the log was last brought to the disk

    def then(self, actions: Iterable[Callable[[], None]]) -> None:
        """Do these, in order, behind the next :meth:`commit`."""
        self._then += actions

    @property
    def waiting(self) -> bool:
        """Whether anything is to be done."""
        return bool(self._then)

    @property
    def early(self) -> float:
        """Seconds until the disk is to be waited for again; 0 where that was long ago."""
        return max(0.0, self._last + GATHER - time.monotonic())

    def commit(self) -> None:
        """Bring the log to the disk, and do what waits for that."""
        with Timed(self._times, "log"):
            self._log.sync()
        self._last = time.monotonic()
        while self._then:
            self._then.pop(0)()
