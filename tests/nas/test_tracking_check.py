import shutil

import pytest

from nas import doctor, tracking
from nas.run_folder import RunFolder
from nas.search_runs import SearchRuns
from nas.trainings import trainings

pytest.importorskip("mlflow")
pytestmark = pytest.mark.filterwarnings(
    # mlflow 3 maps a relation with a loader that SQLAlchemy 2.1 calls deprecated.
    "ignore:The ``noload`` loader strategy is deprecated:sqlalchemy.exc.SADeprecationWarning"
)


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    """A run whose MLflow runs were not written, beside an empty store."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("WIRELOOM_TRACKING", raising=False)
    shutil.copytree(finished, tmp_path / "run")
    tracking.load()
    store(tmp_path / "run")
    return tmp_path / "run"


def store(run):
    key = doctor.Views.open(run).ledger.start["key"]
    return tracking.MlflowStore(f"sqlite:///{run.resolve()}/mlflow.db", "tiny", run, key)


def fresh_seeds(run):
    views = doctor.Views.open(run)
    found = trainings(views.experiment, views.ledger)
    return [f"{one.name} of {one.of.family} {one.of.digest[:8]}" for one in found]


def fresh_keys(held):
    return [name for name, one in held.known.items() if one.tags.get("source") == "confirmation"]


def whats(run):
    return [one.what for one in doctor.diagnose(run).found]


def test_every_disagreement_with_mlflow_is_found_and_mended(run, monkeypatch):
    trials = doctor.Views.open(run).trials
    found = whats(run)
    assert found == [
        "the search's own run is missing",
        *(f"the run of trial {trial.number} is missing or half written" for trial in trials),
        *(f"the run of {fresh} is missing or half written" for fresh in fresh_seeds(run)),
    ]
    assert doctor.repair(run).healthy
    held = store(run)
    key = doctor.Views.open(run).ledger.start["key"]
    search = held.known[key]
    assert search.status == "FINISHED"
    runs = len(held.known)
    assert len(fresh_keys(held)) == len(fresh_seeds(run)) > 0
    # One that runs for ever, one that nobody asked for, one that is there twice, one that is gone.
    seeds = [name for name in held.known if "/s" in name]
    held.mark(held.known[seeds[0]], "RUNNING")
    held.run(f"{key}/feedbeef/s3", "nobody's", parent=search)
    twin = held.known.pop(seeds[1])
    held.run(seeds[1], twin.tags["mlflow.runName"], tags=twin.tags)
    held.delete(held.known[seeds[2]])
    found = whats(run)
    assert len(found) == 5  # the twin runs for ever as well
    for part in (
        "RUNNING though nobody trains",
        "no trial of the log: feedbeef/s3",
        "2 runs are one",
        "is missing or half",
    ):
        assert any(part in one for one in found), part
    monkeypatch.setenv("WIRELOOM_TRACKING", "off")
    assert whats(run) == []
    monkeypatch.delenv("WIRELOOM_TRACKING")
    assert doctor.repair(run).healthy
    assert len(store(run).known) == runs
    assert {one.status for one in store(run).known.values()} == {"FINISHED"}


def test_the_run_of_a_fresh_seed_is_mended(run):
    assert doctor.repair(run).healthy
    held = store(run)
    first, second = fresh_keys(held)[:2]
    held.delete(held.known[first])
    held.mark(held.known[second], "RUNNING")
    found = whats(run)
    assert len(found) == 2
    assert any("the run of fresh seed" in one for one in found)
    assert any("RUNNING though nobody trains" in one for one in found)
    assert doctor.repair(run).healthy
    assert {one.status for one in store(run).known.values()} == {"FINISHED"}


def test_a_run_that_says_another_end_is_found_and_mended(run):
    assert doctor.repair(run).healthy
    held = store(run)
    seed = next(one for name, one in held.known.items() if "/s" in name and one.tags["status"] == "COMPLETE")
    held.write(seed, tags={"status": "PRUNED"})
    assert whats(run) == [f"the run of trial {seed.tags['number']} says PRUNED, and not how it ended"]
    assert doctor.repair(run).healthy
    assert whats(run) == []


def test_a_server_that_is_away_is_said(run, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    (one,) = doctor.diagnose(run).found
    assert "MLflow cannot be read" in one.what
    assert one.where == "http://me@127.0.0.1"
    assert one.fix is None


def test_a_search_that_goes_on_may_have_running_trials(run):
    held = store(run)
    key = doctor.Views.open(run).ledger.start["key"]
    SearchRuns(key, "run", lambda: held).start({}, {}, {})
    folder = RunFolder.resume(run, doctor.Views.open(run).experiment)
    try:
        assert whats(run) == []
    finally:
        folder.log.close()
    assert "RUNNING though nobody trains: the search's own run" in whats(run)
