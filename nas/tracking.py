"""A search's runs in an MLflow store. The only user of mlflow; :mod:`nas.tracker` is what a search holds.

MLflow is a view of the event log. Every call here may be repeated after a crash: runs are found again by a key of
our own, and what was written is written only once. Failures of MLflow pass through.
"""

import logging
import math
import os
import tempfile
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from graphs.errors import UserError
from nas.stores import Files, Run, chunks, clean, now
from nas.tracked import Measured

_KEY, _SEARCH = "wireloom.key", "wireloom.search"
_BATCH, _PAGE = 500, 1000  # metrics that go in one call beside params and tags, runs that MLflow returns in one

# Set only where the user has not: no telemetry, no links on the terminal, and a dead server gives up in seconds.
# MLflow's own retries are off because they may make a run twice; the tracker retries, and looks first.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
}


class MlflowStore:
    """One search's runs in an MLflow store, by key: read once at the start, then kept up to date."""

    def __init__(self, uri: str, experiment: str, folder: Path, key: str) -> None:
        from mlflow.tracking import MlflowClient

        _make_database(uri, folder)
        self._client = MlflowClient(uri)
        self._search = key
        self._experiment: str = self._open(experiment, _artifacts_of(uri, folder))
        self.known: dict[str, Run] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read all runs of the search again. Of several with one key the whole one, else the first, is kept.

        There are several where a call that makes a run was carried out though its answer got lost.
        """
        before, self.known = self.known, {}
        token: str | None = None
        query = f"tags.`{_SEARCH}` = '{self._search}'"
        while True:
            page = self._client.search_runs([self._experiment], query, max_results=_PAGE, page_token=token)
            for run in page:
                info, data = run.info, run.data
                found = Run(info.run_id, data.tags[_KEY], info.start_time, info.status, dict(data.tags), seen=False)
                found.params.update(data.params)
                twin = self.known.get(found.key)
                if twin is not None:
                    # Whether it is the whole one, then whether we have written to it, then its age.
                    found, twin = sorted((found, twin), key=lambda one: self._rank(one, before))
                    self._client.delete_run(twin.id)
                self.known[found.key] = found
            token = page.token
            if not token:
                return

    @staticmethod
    def _rank(run: Run, before: Mapping[str, Run]) -> tuple[bool, bool, int, str]:
        ours = run.key in before and before[run.key].id == run.id
        return not run.logged, not ours, run.start, run.id

    def run(
        self,
        key: str,
        name: str,
        *,
        parent: Run | None = None,
        seconds: float | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Run:
        """The run of that key, made if there is none; one made is given a start ``seconds`` ago."""
        if key not in self.known:
            every = {_KEY: key, _SEARCH: self._search, "mlflow.runName": name, **(tags or {})}
            if parent is not None:
                every["mlflow.parentRunId"] = parent.id
            start = now() - round(1000 * (seconds or 0.0))
            made = self._client.create_run(self._experiment, start_time=start, tags=every, run_name=name)
            self.known[key] = Run(made.info.run_id, key, start, "RUNNING", every)
        return self.known[key]

    def write(
        self,
        run: Run,
        metrics: Iterable[Measured] = (),
        *,
        params: Mapping[str, str | float] | None = None,
        tags: Mapping[str, str] | None = None,
        at: int | None = None,
    ) -> None:
        """Add to a run in one call, in several where there are many metrics; params and tags go with the last.

        Values that are not finite, and params the run has, are left out. The time of a metric is the run's start
        unless given, so that a write repeated after a crash is the same write, which MLflow keeps once.
        """
        from mlflow.entities import Metric, Param, RunTag

        when = run.start if at is None else at
        finite = [(clean(name), float(value), step) for name, value, step in metrics if math.isfinite(value)]
        fresh = {clean(name): str(value) for name, value in (params or {}).items()}
        fresh = {name: value for name, value in fresh.items() if name not in run.params}
        *first, last = chunks(finite, _BATCH)
        for part in first:
            self._client.log_batch(run.id, metrics=[Metric(name, value, when, step) for name, value, step in part])
        self._client.log_batch(
            run.id,
            metrics=[Metric(name, value, when, step) for name, value, step in last],
            params=[Param(name, value) for name, value in fresh.items()],
            tags=[RunTag(name, value) for name, value in (tags or {}).items()],
        )
        if at is None:
            run.points.update({(name, step): value for name, value, step in finite})
        run.params.update(fresh)
        run.tags.update(tags or {})

    def points(self, run: Run) -> Mapping[tuple[str, int], float]:
        """Every value stored of a run, by metric and step; asked for once of a run that an earlier process made."""
        if not run.seen:
            names = self._client.get_run(run.id).data.metrics
            for name in names:
                for point in self._client.get_metric_history(run.id, name):
                    run.points[name, point.step] = point.value
            run.seen = True
        return run.points

    def attach(self, run: Run, files: Files) -> None:
        """Store files, contents by name, as artifacts of a run."""
        made = files()
        with tempfile.TemporaryDirectory() as folder:
            for name, content in made.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.encode() if isinstance(content, str) else content)
            if made:
                self._client.log_artifacts(run.id, folder)

    def mark(self, run: Run, status: str) -> None:
        """Set a run's status; any but RUNNING ends it now."""
        if status == "RUNNING":
            self._client.update_run(run.id, status=status)
        else:
            self._client.set_terminated(run.id, status)
        run.status = status

    def delete(self, run: Run) -> None:
        """Take a run away; MLflow keeps it among the deleted ones."""
        self._client.delete_run(run.id)
        del self.known[run.key]

    def register(self, run: Run, name: str, tags: Mapping[str, str], description: str) -> None:
        """Make a version of the registered model ``name``, the search's only one of that digest.

        Where there is one its tags are brought up to date. A store without a registry is left alone.
        """
        from mlflow.exceptions import MlflowException
        from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException

        try:
            versions = self._client.search_model_versions(f"name = '{name}'")
        except UnsupportedModelRegistryStoreURIException:
            return
        same = ("digest", _KEY)
        for version in versions:
            if all(version.tags.get(tag) == tags.get(tag) for tag in same):
                for tag, value in tags.items():
                    if version.tags.get(tag) != value:
                        self._client.set_model_version_tag(name, version.version, tag, value)
                return
        if not self._client.search_registered_models(f"name = '{name}'"):
            try:
                self._client.create_registered_model(name)
            except MlflowException:  # another search of the same name may have been faster
                if not self._client.search_registered_models(f"name = '{name}'"):
                    raise
        source = f"{self._client.get_run(run.id).info.artifact_uri}/model"
        self._client.create_model_version(name, source, run.id, tags=dict(tags), description=description)

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


def survey(uri: str, key: str) -> list[Run]:
    """Every run of a search as it is stored, of several with one key all. Writes nothing; failures pass through."""
    load()
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiments = [each.experiment_id for each in client.search_experiments()]
    found: list[Run] = []
    token: str | None = None
    while experiments:
        page = client.search_runs(experiments, f"tags.`{_SEARCH}` = '{key}'", max_results=_PAGE, page_token=token)
        for run in page:
            tags = dict(run.data.tags)
            found.append(Run(run.info.run_id, tags[_KEY], run.info.start_time, run.info.status, tags, seen=False))
        token = page.token
        if not token:
            break
    return found


def shown(uri: str) -> str:
    """The address of a store without its password."""
    parts = urlsplit(uri)
    return uri if not parts.password else parts._replace(netloc=f"{parts.username}@{parts.hostname}").geturl()


def load() -> None:
    """Import mlflow with its talk to the network and to the terminal turned off; UserError where it is not there."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import mlflow.tracking  # noqa: F401
    except ImportError as error:
        raise UserError(f"tracking needs mlflow ({error}): pip install 'wireloom[search]'") from error
    # MLflow sets these levels while it is imported, so this comes after. What matters arrives as an exception.
    for name in ("mlflow", "alembic", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _make_database(uri: str, folder: Path) -> None:
    """Make a SQLite database whole or not at all: one whose making was cut off MLflow can never open again."""
    path = _sqlite_file(uri)
    if path is None or path.exists():
        return
    from mlflow.tracking import MlflowClient

    if path.parent == folder.resolve():  # where nobody else makes one
        for stale in path.parent.glob(f".{path.name}.*"):
            stale.unlink()
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")  # MLflow keeps what it opened under a name
    try:
        MlflowClient(f"sqlite:///{draft}").search_experiments(max_results=1)
        try:
            os.link(draft, path)  # which, unlike a rename, leaves the database of another process that was faster
        except FileExistsError:
            return
        except OSError:  # no hard links on this file system
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite database, None of any other and of one in memory."""
    if urlsplit(uri).scheme.partition("+")[0] != "sqlite":
        return None
    name = uri.partition(":///")[2].partition("?")[0]
    return None if name in ("", ":memory:") else Path(name).resolve()


def _artifacts_of(uri: str, folder: Path) -> str | None:
    """Where a store without a server keeps files; left to it, MLflow would use the working directory."""
    scheme = urlsplit(uri).scheme.partition("+")[0]
    database = _sqlite_file(uri)
    if database is not None:
        return (database.parent / "mlartifacts").as_uri()
    return (folder.resolve() / "mlartifacts").as_uri() if scheme in ("mysql", "postgresql", "mssql") else None
