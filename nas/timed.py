"""What the driver's time goes to."""

import time
from collections.abc import MutableMapping


class Timed:
    """Adds the seconds of a ``with`` block to those of ``what``; a class, since every event goes through several."""

    __slots__ = ("_since", "_times", "_what")

    def __init__(self, times: MutableMapping[str, float], what: str) -> None:
        self._times, self._what = times, what

    def __enter__(self) -> None:
        self._since = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self._times[self._what] += time.perf_counter() - self._since
