"""When free workers get their next jobs: at once in a small cluster, a few of them together in a large one."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nas.errors import RunFolderError

SHARE = 256  # one worker in so many may wait for others
SOON = 0.25  # seconds for which it does, at most


class Patience:
    """Lets workers that are free wait for others, so that one wait for the disk serves them all.

    A job starts when its ask is on the disk, and what ended meanwhile goes there with it. What that costs is bounded
    by the cluster's size: less than a 256th of its workers wait, so below 512 none does.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._waiting = 0
        self._until = 0.0  # when the first of them has waited enough

    def ended(self) -> None:
        """A job ended: its worker is free."""
        if not self._waiting:
            self._until = self.clock() + SOON
        self._waiting += 1

    def served(self) -> None:
        """Free workers got what there was for them."""
        self._waiting = 0

    def left(self, workers: int) -> float:
        """Seconds for which those of so many workers that are free may wait; 0.0 where they are to be served now."""
        if not self._waiting or self._waiting >= workers // SHARE:
            return 0.0
        return max(0.0, self._until - self.clock())


@contextmanager
def told(commit: Callable[[], None]) -> Iterator[None]:
    """Whatever ends the search, Ctrl-C or a cluster that is gone: what has ended is told first.

    A log that could not be written is not tried again: the second time it may seem to go well.
    """
    try:
        yield
    except RunFolderError:
        raise
    except BaseException as error:
        try:
            commit()
        except BaseException as second:
            error.add_note(f"Then what had ended could not be told: {second!r}")
        raise
