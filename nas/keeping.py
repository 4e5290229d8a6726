"""The checkpoint of a trial under way: the training's state, and what the trial had said and how long it took."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from graphs.errors import UserError
from nas.jobs import Report


class Stopwatch:
    """Adds up the seconds for which it runs."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since: float | None = None

    def run(self, on: bool) -> None:
        """Start, or stop; doing it twice changes nothing."""
        now = time.perf_counter()
        if self._since is not None:
            self.seconds += now - self._since
        self._since = now if on else None


class Keeper:
    """Says when the state of a trial is written (:class:`trainers.resume.Keeper`) and what stands beside it.

    That is every ``seconds`` seconds, and where the trial is told to wait. ``written`` is called with the file each
    time, to bring it to where other machines find it; where that fails with UserError or OSError the trial goes on, and
    the next time it is called again.
    """

    def __init__(self, path: Path, seconds: float, watch: Stopwatch, written: Callable[[Path], None]) -> None:
        self.path = path
        self.closing = False
        self._every = seconds
        self._watch = watch
        self._written = written
        self._reports: list[Report] = []
        self._last = time.monotonic()

    def due(self, step: int) -> bool:
        return time.monotonic() - self._last >= self._every

    def notes(self) -> dict[str, str]:
        self._watch.run(False)  # writing is not training
        said = [asdict(report) for report in self._reports]
        return {"reports": json.dumps(said), "seconds": repr(self._watch.seconds)}

    def saved(self) -> None:
        # What is elsewhere is older then, or absent, which costs time and is no fault of the topology's.
        with suppress(UserError, OSError):
            self._written(self.path)
        self._watch.run(True)
        self._last = time.monotonic()

    def said(self, report: Report) -> None:
        """Remember what the trial reported."""
        self._reports.append(report)

    def again(self, notes: dict[str, str]) -> list[Report]:
        """What the trial had said when ``notes`` were written, to be said again; the stopwatch goes on from there."""
        self._watch.seconds = float(notes["seconds"])
        self._reports = [Report(**(said | {"asks": False, "kept": True})) for said in json.loads(notes["reports"])]
        return list(self._reports)
