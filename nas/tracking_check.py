"""What MLflow holds of a run beside what the event log says; for ``wireloom doctor``."""

import os
from collections import defaultdict
from collections.abc import Iterator

from graphs import draw
from graphs.errors import UserError
from nas import tracked, tracking
from nas.problems import Case, Problem, finished
from nas.records import Trial
from nas.search import parameters
from nas.search_runs import SearchRuns, is_of
from nas.stores import NUMBER, Run
from nas.trainings import trainings
from nas.views import topology_of


def of_tracking(case: Case) -> Iterator[Problem]:
    """Runs that are missing, doubled, orphaned, or RUNNING though nobody trains; nothing where tracking was off.

    Every one of them is mended in one go: the runs of the search are read, and what the log has is written again.
    """
    database, start = case.folder.resolve() / "mlflow.db", case.ledger.start
    uri = os.environ.get("MLFLOW_TRACKING_URI") or (f"sqlite:///{database}" if database.is_file() else None)
    if uri is None or start is None or os.environ.get("WIRELOOM_TRACKING", "").lower() == "off":
        return
    key, where = str(start["key"]), tracking.shown(uri)
    try:
        runs = tracking.survey(uri, key)
    except Exception as error:  # stores and servers raise whatever the libraries below them raise
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        yield Problem("tracking", f"MLflow cannot be read: {first}", where, "nothing: try again when it is there")
        return
    if not runs and not database.is_file():  # tracked elsewhere, or nowhere
        return
    mend = _Mend(case, uri, key)
    for what, run in _wrong(case, key, runs):
        at = where if run is None else f"{where} run {run.id}"
        yield Problem("tracking", what, at, mend.words, mend)


class _Mend:
    """Brings MLflow to what the log says; writes each run only once, and takes away what is not the log's."""

    words = "write what is missing, end what runs for ever, delete what is doubled or orphaned"

    def __init__(self, case: Case, uri: str, key: str) -> None:
        self._case, self._uri, self._key = case, uri, key

    def __call__(self) -> None:
        try:
            self._mend()
        except Exception as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise UserError(f"MLflow: {first}") from error

    def _mend(self) -> None:
        case = self._case
        store = tracking.MlflowStore(self._uri, case.experiment.name, case.folder, self._key)  # drops doubled runs
        ids = {run.id for run in store.known.values()}
        for run in _orphans(case, self._key, [*store.known.values()], ids):
            store.delete(run)
        runs = SearchRuns(self._key, case.folder.resolve().name, lambda: store)
        experiment = (case.folder / "experiment.yaml").read_bytes()
        runs.start(
            parameters(case.experiment), {"experiment.yaml": experiment}, {"trials": str(case.experiment.trials)}
        )
        for trial in finished(case):
            runs.trial(trial, _picture)
        for one in trainings(case.experiment, case.ledger):
            runs.training(one, _picture)
        ended = _ended(case, self._key)
        for run in store.known.values():
            if run.status == "RUNNING" and run.key in ended:
                store.mark(run, ended[run.key])
        runs.close("FINISHED" if case.ledger.ended else "KILLED")


def _picture(trial: Trial) -> bytes | None:
    return None if trial.topology is None else draw.thumbnail(topology_of(trial))


def _ended(case: Case, key: str) -> dict[str, str]:
    """MLflow's status of each run whose trial has ended; a topology of which one seed ended well is FINISHED."""
    found: dict[str, str] = {}
    for trial in finished(case):
        status, topology = tracked.status(trial), f"{key}/{trial.digest or '-'}"
        seed = f"{topology}/s{trial.seed}"
        found |= {seed: status, f"{seed}/t{trial.number}": status}
        if found.get(topology) != "FINISHED":
            found[topology] = status
    for one in trainings(case.experiment, case.ledger):
        found[f"{key}/{one.key}"] = one.status
        found.setdefault(f"{key}/{one.of.digest}", one.status)
    return found


def _wrong(case: Case, key: str, runs: list[Run]) -> Iterator[tuple[str, Run | None]]:
    by_key: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_key[run.key].append(run)
    for name, same in by_key.items():
        for run in same[1:]:
            yield f"{len(same)} runs are one: {_name(case, key, name)}", run
    orphans = _orphans(case, key, runs, {run.id for run in runs})
    for run in orphans:
        yield f"no trial of the log: {_name(case, key, run.key)}", run
    if not case.alive:
        for run in runs:
            if run.status == "RUNNING" and run not in orphans:
                yield f"RUNNING though nobody trains: {_name(case, key, run.key)}", run
    if key not in by_key:
        yield "the search's own run is missing", None
    written = {run.tags.get(NUMBER): run for run in runs if run.logged}
    for trial in finished(case) if not case.alive else ():  # whose driver writes in the background
        own = written.get(str(trial.number))
        if own is None:
            yield f"the run of trial {trial.number} is missing or half written", None
        elif not is_of(own, trial):
            yield f"the run of trial {trial.number} says {own.tags.get('status')}, and not how it ended", own
    whole = {run.key for run in runs if run.logged}
    for one in trainings(case.experiment, case.ledger) if not case.alive else ():
        if f"{key}/{one.key}" not in whole:
            yield f"the run of {one.name} of {one.of.family} {one.of.digest[:8]} is missing or half written", None


def _orphans(case: Case, key: str, runs: list[Run], ids: set[str]) -> list[Run]:
    """Runs of no trial in the log, and such that hang below a run that is not there."""
    asked = {event["number"]: (event["digest"], event["seed"]) for event in case.ledger.asked.values()}
    asked |= {trial.number: (trial.digest, trial.seed) for trial in case.views.trials}
    known = {key} | {f"{key}/{digest or '-'}" for digest, _ in asked.values()}
    for number, (digest, seed) in asked.items():
        known |= {f"{key}/{digest or '-'}/s{seed}", f"{key}/{digest or '-'}/s{seed}/t{number}"}
    for one in trainings(case.experiment, case.ledger):
        known |= {f"{key}/{one.of.digest}", f"{key}/{one.key}"}
    parents = ((run, run.tags.get("mlflow.parentRunId")) for run in runs)
    return [run for run, parent in parents if run.key not in known or (parent is not None and parent not in ids)]


def _name(case: Case, key: str, run: str) -> str:
    return "the search's own run" if run == key else run.removeprefix(f"{key}/")
