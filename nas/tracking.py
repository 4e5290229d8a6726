"""The search as MLflow shows it: search = parent run, topology = child, seed = grandchild. The only user of mlflow.

MLflow is a view of the event log. Every call here may be repeated after a crash: runs are found again by a key
of our own, and what was written is written only once. When the server fails, the search goes on without it.
"""

import functools
import logging
import math
import os
import re
import shlex
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Concatenate, ParamSpec
from urllib.parse import urlsplit

from graphs.errors import UserError
from nas import tracked
from nas.records import Trial
from nas.tracked import Measured

P = ParamSpec("P")

_KEY, _SEARCH, _LOGGED, _NUMBER = "wireloom.key", "wireloom.search", "wireloom.logged", "number"
_BATCH, _PAGE = 1000, 1000  # metrics that MLflow takes in one call, runs that it returns in one

# Set only where the user has not: no telemetry, no links on the terminal, and a dead server gives up in seconds.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
}


def _harmless(method: "Callable[Concatenate[Tracker, P], None]") -> "Callable[Concatenate[Tracker, P], None]":
    """The one place where failures of MLflow end: the first is told, then every later call does nothing."""

    @functools.wraps(method)
    def guarded(tracker: "Tracker", /, *args: P.args, **kwargs: P.kwargs) -> None:
        if not tracker.on:
            return
        try:
            method(tracker, *args, **kwargs)
        except Exception as error:  # stores and servers raise whatever the libraries below them raise
            tracker.on = False
            tracker.warn(tracker.farewell(error))

    return guarded


class Tracker:
    """Writes one search to MLflow; only the driver holds one.

    ``uri`` defaults to ``MLFLOW_TRACKING_URI``, else to a database in ``folder``; ``off`` here or in
    ``WIRELOOM_TRACKING`` does nothing at all. ``run_key`` names the search for ever: a resumed search finds its
    runs by it. The first failure of MLflow is told to ``warn`` in one sentence and ends tracking in this
    process. Raises UserError when mlflow is not installed, and nothing else.
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
    ) -> None:
        assert "'" not in run_key, "the key goes into a query of MLflow as it is"
        self.warn = warn
        self.on = "off" not in (uri, os.environ.get("WIRELOOM_TRACKING", "").lower())
        database = f"sqlite:///{folder.resolve() / 'mlflow.db'}"
        self.uri = (uri or os.environ.get("MLFLOW_TRACKING_URI") or database) if self.on else "off"
        self._folder = folder
        self._experiment_name, self._run_name, self._key = experiment_name, run_name, run_key
        if self.on:
            _load()

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

    def farewell(self, error: Exception) -> str:
        """What ``warn`` is told when MLflow fails."""
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        return (
            f"tracking is off: {reason}; the run's folder has everything; "
            f"`wireloom report {shlex.quote(str(self._folder))}` and a later --resume complete it"
        )

    @_harmless
    def start(
        self,
        params: Mapping[str, str | float],
        artifacts: Mapping[str, bytes | str],
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Open the store and the search's own run, or find it again; artifacts are contents by file name.

        ``tags`` are what may change when a search is continued, which a param of MLflow cannot; then the artifacts
        are written again.
        """
        self._store = _Store(self.uri, self._experiment_name, self._folder, self._key)
        run = self._store.run(self._key, self._run_name)
        self._store.mark(run, "RUNNING")
        wanted = {**(tags or {}), _LOGGED: "1"}
        if not wanted.items() <= run.tags.items():
            self._store.write(run, params=params)
            self._store.attach(run, artifacts)
            self._store.write(run, tags=wanted)

    @_harmless
    def trial(self, trial: Trial, picture: bytes | None) -> None:
        """Write a finished trial below its topology, whose PNG is ``picture``; one already there stays as it is."""
        topology = self._topology(trial, picture)
        run = self._seed(trial, topology)
        if run.logged:
            return
        self._store.write(run, tracked.seed_metrics(trial), params=tracked.params(trial), tags=tracked.tags(trial))
        self._store.write(topology, tracked.topology_metrics(trial))
        ended = tracked.status(trial)
        self._store.mark(run, ended)
        if topology.status != "FINISHED":  # one seed that ended well is enough for the topology
            self._store.mark(topology, ended)
        self._store.write(run, tags={_LOGGED: "1"})

    def knows(self, trial: Trial) -> bool:
        """Whether the trial is there already, so that nobody need draw its picture again; True when tracking is off."""
        if not self.on:
            return True
        key = f"{self._key}/{trial.digest or '-'}/s{trial.seed}"
        runs = (self._store.known.get(name) for name in (key, f"{key}/t{trial.number}"))
        return any(run is not None and run.logged and run.tags.get(_NUMBER) == str(trial.number) for run in runs)

    @_harmless
    def finish(self, status: str, metrics: Mapping[str, float], artifacts: Mapping[str, Path]) -> None:
        """End the search's run with MLflow's ``status``; artifacts are files by name, and absent ones are skipped."""
        run = self._store.run(self._key, self._run_name)
        self._store.write(run, [(name, value, 0) for name, value in metrics.items()], at=_now())
        files = {name: path.read_bytes() for name, path in artifacts.items() if path.is_file()}
        self._store.attach(run, files)
        self._close(status)

    @_harmless
    def interrupted(self) -> None:
        """Mark the search's run KILLED; a resumed search takes it up again."""
        self._close("KILLED")

    def _close(self, status: str) -> None:
        for run in self._store.known.values():
            if run.status == "RUNNING":
                self._store.mark(run, status if run.key == self._key else "KILLED")

    def _topology(self, trial: Trial, picture: bytes | None) -> "_Run":
        name = f"{trial.family} {trial.digest[:8]}" if trial.digest else "no topology"
        key = f"{self._key}/{trial.digest or '-'}"
        run = self._store.run(key, name, parent=self._store.known[self._key], seconds=trial.seconds)
        if not run.logged:
            about = {"family": trial.family, "digest": trial.digest}
            self._store.write(run, params=tracked.params(trial), tags=about)
            self._store.attach(run, tracked.files(trial, picture))
            self._store.write(run, tags={_LOGGED: "1"})
        return run

    def _seed(self, trial: Trial, topology: "_Run") -> "_Run":
        """The run of a trial; a second trial of one topology and seed, such as a refused repeat, gets its own."""
        key = f"{topology.key}/s{trial.seed}"
        other = self._store.known.get(key)
        if other is not None and other.tags.get(_NUMBER) != str(trial.number):
            key = f"{key}/t{trial.number}"
        number = {_NUMBER: str(trial.number)}
        return self._store.run(key, f"seed {trial.seed}", parent=topology, seconds=trial.seconds, tags=number)


@dataclass
class _Run:
    """What we know of a run in MLflow; ``start`` is in milliseconds since 1970."""

    id: str
    key: str
    start: int
    status: str
    tags: dict[str, str] = field(default_factory=dict)
    params: set[str] = field(default_factory=set)

    @property
    def logged(self) -> bool:
        """Whether everything of this run was written; until then writing is repeated."""
        return _LOGGED in self.tags


class _Store:
    """One search's runs in an MLflow store, by key: read once at the start, then kept up to date."""

    def __init__(self, uri: str, experiment: str, folder: Path, key: str) -> None:
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(uri)
        self._search = key
        self._experiment: str = self._open(experiment, _artifacts_of(uri, folder))
        self.known: dict[str, _Run] = {}
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [self._experiment], f"tags.`{_SEARCH}` = '{key}'", max_results=_PAGE, page_token=token
            )
            for run in page:
                info, data = run.info, run.data
                found = _Run(info.run_id, data.tags[_KEY], info.start_time, info.status, dict(data.tags))
                found.params.update(data.params)
                self.known[found.key] = found
            token = page.token
            if not token:
                return

    def run(
        self,
        key: str,
        name: str,
        *,
        parent: _Run | None = None,
        seconds: float | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> _Run:
        """The run of that key, made if there is none; one made is given a start ``seconds`` ago."""
        if key not in self.known:
            every = {_KEY: key, _SEARCH: self._search, "mlflow.runName": name, **(tags or {})}
            if parent is not None:
                every["mlflow.parentRunId"] = parent.id
            start = _now() - round(1000 * (seconds or 0.0))
            made = self._client.create_run(self._experiment, start_time=start, tags=every, run_name=name)
            self.known[key] = _Run(made.info.run_id, key, start, "RUNNING", every)
        return self.known[key]

    def write(
        self,
        run: _Run,
        metrics: Iterable[Measured] = (),
        *,
        params: Mapping[str, str | float] | None = None,
        tags: Mapping[str, str] | None = None,
        at: int | None = None,
    ) -> None:
        """Add to a run in one call; values that are not finite, and params the run has, are left out.

        The time of a metric is the run's start unless given, so that a write repeated after a crash is the same
        write, which MLflow keeps once.
        """
        from mlflow.entities import Metric, Param, RunTag

        when = run.start if at is None else at
        points = [Metric(_name(m), float(v), when, step) for m, v, step in metrics if math.isfinite(v)]
        fresh = {_name(name): str(value) for name, value in (params or {}).items()}
        fresh = {name: value for name, value in fresh.items() if name not in run.params}
        self._client.log_batch(
            run.id,
            metrics=points[: _BATCH // 2],
            params=[Param(name, value) for name, value in fresh.items()],
            tags=[RunTag(name, value) for name, value in (tags or {}).items()],
        )
        for first in range(_BATCH // 2, len(points), _BATCH):
            self._client.log_batch(run.id, metrics=points[first : first + _BATCH])
        run.params.update(fresh)
        run.tags.update(tags or {})

    def attach(self, run: _Run, files: Mapping[str, bytes | str]) -> None:
        """Store files, contents by name, as artifacts of a run."""
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.encode() if isinstance(content, str) else content)
            if files:
                self._client.log_artifacts(run.id, folder)

    def mark(self, run: _Run, status: str) -> None:
        """Set a run's status; any but RUNNING ends it now."""
        if status == "RUNNING":
            self._client.update_run(run.id, status=status)
        else:
            self._client.set_terminated(run.id, status)
        run.status = status

    def _open(self, name: str, artifacts: str | None) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name, artifact_location=artifacts))
            except MlflowException:
                # Another search may have made it on a shared server between the question and the answer.
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)


def _load() -> None:
    """Import mlflow with its talk to the network and to the terminal turned off."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import mlflow.tracking  # noqa: F401
    except ImportError as error:
        raise UserError(f"tracking needs mlflow ({error}): pip install 'wireloom[search]'") from error
    # MLflow sets these levels while it is imported, so this comes after. What matters arrives as an exception.
    for name in ("mlflow", "alembic", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _artifacts_of(uri: str, folder: Path) -> str | None:
    """Where a store without a server keeps files; left to it, MLflow would use the working directory."""
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme == "sqlite":
        database = Path(uri.partition(":///")[2].partition("?")[0])
        return (database.resolve().parent / "mlartifacts").as_uri()
    return (folder.resolve() / "mlartifacts").as_uri() if scheme in ("mysql", "postgresql", "mssql") else None


def _name(text: str) -> str:
    return re.sub(r"[^\w\-. :/]", "_", text)[:250]


def _now() -> int:
    return round(1000 * time.time())
