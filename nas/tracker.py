"""What a search tells its tracking: it puts things down and goes on; a thread of its own writes them.

A store that fails or is away never holds the search up. What was put down stays until it is written: it is tried again
with growing pauses, and after each failure the store is read again, because nobody knows how far the failed call came.
"""

import os
import shlex
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from nas import tracking
from nas.records import Trial
from nas.search_runs import Picture, SearchRuns
from nas.stores import NullStore, Store
from nas.trainings import Training

_LAST = ("winner", "end")  # written when nothing else is left, in this order
_TRIES = 3  # of one thing at the end, with a store that answers
_CROWD = 50  # with more than so many things to write, new topologies get no picture


class Tracker:
    """Writes one search to MLflow; only the driver holds one, and calls :meth:`finish` or :meth:`interrupted`.

    ``uri`` defaults to ``MLFLOW_TRACKING_URI``, else to a database in ``folder``; ``off`` here or in
    ``WIRELOOM_TRACKING`` writes nowhere. ``run_key`` names the search for ever: a resumed search finds its runs by it.
    ``warn`` is told in a sentence, from the writing thread, when MLflow fails and when it is back. ``pauses`` are the
    first and the longest seconds between two tries; ``patience`` is for how many seconds the end waits for a store
    that fails, ``longest`` for one that is at work on one thing. Raises UserError when mlflow is not installed, and
    nothing else.
    """

    def __init__(
        self,
        folder: Path,
        experiment_name: str,
        run_name: str,
        run_key: str,
        uri: str | None = None,
        *,
        warn: Callable[[str], None],
        picture: Picture | None = None,
        pauses: tuple[float, float] = (0.5, 30.0),
        patience: float = 10.0,
        longest: float = 600.0,
    ) -> None:
        off = "off" in (uri, os.environ.get("WIRELOOM_TRACKING", "").lower())
        database = f"sqlite:///{folder.resolve() / 'mlflow.db'}"
        self.uri = "off" if off else (uri or os.environ.get("MLFLOW_TRACKING_URI") or database)
        if not off:
            tracking.load()

        def opened() -> Store:
            return NullStore() if off else tracking.MlflowStore(self.uri, experiment_name, folder, run_key)

        self._experiment_name = experiment_name
        self._runs = SearchRuns(run_key, run_name, opened)
        self._warn, self._draw = warn, picture
        self._pauses, self._patience, self._longest = pauses, patience, longest
        self._changed = threading.Condition()
        self._pending: dict[str, Callable[[], None]] = {}
        self._tries: dict[str, int] = {}  # of what failed at the end
        self._lost: list[str] = []
        self._reason = ""  # of the last failure, until everything is written
        self._failing = False  # whether the last try failed
        self._began: float | None = None  # when the thing that is being written was begun
        self._ending = self._hurry = self._stop = False
        # A daemon: a server that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    @property
    def command(self) -> str:
        """What a person types, or the address to open, to see the runs; without passwords; empty when off."""
        if self.uri == "off":
            return ""
        parts = urlsplit(self.uri)
        if parts.scheme in ("http", "https"):
            return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        shown = '"$MLFLOW_TRACKING_URI"' if parts.password else shlex.quote(self.uri)
        return f"mlflow ui --backend-store-uri {shown}"

    def start(
        self,
        params: Mapping[str, str | float],
        artifacts: Mapping[str, bytes | str],
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """The search's own run; artifacts are contents by file name, ``tags`` what may change when it is continued."""
        self._put("start", lambda: self._runs.start(params, artifacts, tags or {}))

    def live(self, trial: Trial) -> None:
        """What is known of a running trial; what was put down of it before and is not written yet is left out."""
        self._put(f"running {trial.number}", lambda: self._runs.live(trial, self._picture()))

    def trial(self, trial: Trial) -> None:
        """A trial that ended."""
        with self._changed:
            self._pending.pop(f"running {trial.number}", None)
        self._put(f"trial {trial.number}", lambda: self._runs.trial(trial, self._picture()))

    def training(self, one: Training) -> None:
        """A training of a confirmation that ended."""
        self._put(f"training {one.key}", lambda: self._runs.training(one, self._picture()))

    def winner(self, trial: Trial, files: Mapping[str, Path], tags: Mapping[str, str]) -> None:
        """The winner for the model registry, as the experiment's model; files by the names they get there."""
        self._put("winner", lambda: self._runs.register(trial, self._experiment_name, files, tags))

    def finish(self, status: str, metrics: Mapping[str, float], artifacts: Mapping[str, Path]) -> None:
        """End the search's run with MLflow's ``status``; wait until all is written, or plainly cannot be.

        Artifacts are files by name, and absent ones are skipped.
        """
        self._end(lambda: self._runs.finish(status, metrics, artifacts), self._patience, self._longest)

    def interrupted(self) -> None:
        """End the search's run, and all that are running, as KILLED, without much waiting; a resumed one goes on."""
        with self._changed:
            for name in [name for name in self._pending if name.startswith("running ")]:
                del self._pending[name]
        self._end(lambda: self._runs.close("KILLED"), self._patience / 4, self._patience)

    def _picture(self) -> Picture | None:
        return self._draw if len(self._pending) < _CROWD else None

    def _put(self, name: str, write: Callable[[], None]) -> None:
        with self._changed:
            self._pending[name] = write
            self._changed.notify_all()

    def _end(self, write: Callable[[], None], patience: float, longest: float) -> None:
        with self._changed:
            self._ending = self._hurry = True
            self._put("end", write)
            failing_since: float | None = None
            while self._pending and self._thread.is_alive():
                now = time.monotonic()
                failing_since = (failing_since or now) if self._failing else None
                if failing_since is not None and now - failing_since > patience:
                    break
                if self._began is not None and now - self._began > longest:
                    self._reason = self._reason or f"no answer in {longest:g} s"
                    break
                self._changed.wait(0.1)
            missing = [*self._lost, *self._pending]
            self._stop = True
            self._changed.notify_all()
        if missing:
            self._warn(self._farewell(missing))
        else:
            self._thread.join(timeout=1.0)

    def _farewell(self, missing: list[str]) -> str:
        counts = {word: sum(name.startswith(f"{word} ") for name in missing) for word in ("trial", "training")}
        named = [f"{count} {word}{'s' * (count != 1)}" for word, count in counts.items() if count]
        what = " and ".join(named) or "the end of the search"
        return (
            f"tracking is not complete: {what} could not be written ({self._reason}); the run's folder has everything, "
            "and the same command with --resume writes what is missing"
        )

    def _work(self) -> None:
        """Write what is put down, in order, for as long as there is a search."""
        pause, longest = self._pauses
        while (taken := self._take()) is not None:
            failure, opened = self._try(taken[1])
            told = self._settle(*taken, failure, opened)
            if told:
                self._warn(told)
            if failure is None:
                pause = self._pauses[0]
                continue
            self._runs.forget()
            with self._changed:
                hurried = self._changed.wait_for(lambda: self._stop or self._hurry, timeout=pause)
                self._hurry = False
            pause = self._pauses[0] if hurried else min(2 * pause, longest)

    def _take(self) -> tuple[str, Callable[[], None]] | None:
        """The next thing to write, waited for; None when there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._stop)
            if self._stop:
                return None
            name = self._next()
            self._began = time.monotonic()
            return name, self._pending[name]

    def _try(self, write: Callable[[], None]) -> tuple[Exception | None, bool]:
        """What went wrong, if anything, and whether the store could be opened at least."""
        opened = False
        try:
            self._runs.open()
            opened = True
            write()
        except Exception as error:  # stores and servers raise whatever the libraries below them raise
            return error, opened
        return None, opened

    def _settle(self, name: str, write: Callable[[], None], failure: Exception | None, opened: bool) -> str:
        """Note how writing something went; what is to be said of it."""
        with self._changed:
            self._changed.notify_all()
            self._began, self._failing = None, failure is not None
            if self._stop:
                return ""
            if failure is not None:
                return self._failed(name, write, failure, opened)
            if self._pending.get(name) is write:
                del self._pending[name]
            if not self._reason or self._pending or self._lost:
                return ""
            self._reason = ""
            return "tracking goes on: everything that was missing is written"

    def _next(self) -> str:
        return next((name for name in self._pending if name not in _LAST), None) or next(
            name for name in _LAST if name in self._pending
        )

    def _failed(self, name: str, write: Callable[[], None], failure: Exception, opened: bool) -> str:
        """Put what could not be written behind all else; what is to be said of it."""
        first = not self._reason
        self._reason = self._plain(failure)
        if self._pending.get(name) is write:
            del self._pending[name]
            self._tries[name] = self._tries.get(name, 0) + (opened and self._ending)
            if self._tries[name] < _TRIES:
                self._pending[name] = write
            else:
                self._lost.append(name)
        if not first:
            return ""
        return (
            f"tracking waits: {self._reason}; the search goes on, and what is missing is written as soon as it can be"
        )

    def _plain(self, error: Exception) -> str:
        """An error in one line without passwords."""
        text = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        password = urlsplit(self.uri).password
        return text.replace(password, "***") if password else text
