import json
import math
import subprocess
import sys
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from graphs.errors import UserError
from nas.records import CurvePoint, Status, Trial
from nas.tracking import Tracker

pytest.importorskip("mlflow")
pytestmark = pytest.mark.filterwarnings(
    # mlflow 3 maps a relation with a loader that SQLAlchemy 2.1 calls deprecated.
    "ignore:The ``noload`` loader strategy is deprecated:sqlalchemy.exc.SADeprecationWarning"
)

EXPERIMENT = "digits"
PICTURE = b"\x89PNG\r\n\x1a\n picture"
CURVE = tuple(
    CurvePoint(10 * k, 1e9 * k, 2.0 / k, None if k % 2 else 1 - 1 / k, None if k % 2 else 1.5 / k) for k in range(1, 7)
)
TRIAL = Trial(
    3, Status.COMPLETE, "tpe", "hyper", {"family": "hyper", "depth": 4, "streams": 2}, "abcdef" * 8, 0, 3e9, 3e9,
    2e6, 5000, 40.0, {"accuracy": 0.9, "flops": 2e6, "auc": 0.5}, 0.9, 0.3, 1.5, None, CURVE, {"depth": 4, "mixes": []},
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("WIRELOOM_TRACKING", raising=False)


def tracker(folder, key, **kwargs) -> Tracker:
    def fail(message: str) -> None:
        raise AssertionError(message)

    return Tracker(folder, EXPERIMENT, f"search {key}", key, **{"warn": fail, **kwargs})


def client(folder):
    from mlflow.tracking import MlflowClient

    return MlflowClient(f"sqlite:///{folder}/mlflow.db")


def runs(folder, key) -> dict:
    """All runs of a search by our key; two runs of one key fail."""
    reader = client(folder)
    experiment = reader.get_experiment_by_name(EXPERIMENT).experiment_id
    found = [run for run in reader.search_runs([experiment]) if run.data.tags["wireloom.key"].split("/")[0] == key]
    by_key = {run.data.tags["wireloom.key"]: run for run in found}
    assert len(by_key) == len(found)
    return by_key


def snapshot(folder, key) -> dict:
    """Everything stored that does not depend on the clock, by key without the search's own."""
    reader, result = client(folder), {}
    for name, run in runs(folder, key).items():
        history = {
            m: [(p.step, p.value) for p in reader.get_metric_history(run.info.run_id, m)] for m in run.data.metrics
        }
        files = sorted(artifact.path for artifact in reader.list_artifacts(run.info.run_id))
        own = ("mlflow.parentRunId", "mlflow.runName", "wireloom.key", "wireloom.search")
        tags = {tag: value for tag, value in run.data.tags.items() if tag not in own}
        result[name.replace(key, "", 1)] = (run.info.status, run.data.params, tags, history, files)
    return result


def whole_search(tracker, trials=(TRIAL,)) -> None:
    tracker.start({"seed": 0}, {"experiment.yaml": "name: digits\n"})
    for trial in trials:
        tracker.trial(trial, PICTURE)
    tracker.finish("FINISHED", {"best accuracy": 0.9}, {})


def test_a_search_is_three_levels_of_runs(folder, tmp_path):
    (tmp_path / "r.html").write_text("<p>")
    seeds = [TRIAL, replace(TRIAL, number=4, seed=1, objectives={"accuracy": 0.8})]
    subject = tracker(folder, "levels")
    whole_search(subject, seeds)
    subject.finish("FINISHED", {}, {"report.html": tmp_path / "r.html", "none.csv": tmp_path / "none.csv"})
    found = runs(folder, "levels")
    child = f"levels/{TRIAL.digest}"
    assert set(found) == {"levels", child, f"{child}/s0", f"{child}/s1"}
    assert "mlflow.parentRunId" not in found["levels"].data.tags
    assert found[child].data.tags["mlflow.parentRunId"] == found["levels"].info.run_id
    for seed in (0, 1):
        assert found[f"{child}/s{seed}"].data.tags["mlflow.parentRunId"] == found[child].info.run_id
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert found["levels"].data.metrics == {"best accuracy": 0.9}
    assert [a.path for a in client(folder).list_artifacts(found["levels"].info.run_id)] == [
        "experiment.yaml",
        "report.html",
    ]
    assert found["levels"].info.artifact_uri.startswith((folder / "mlartifacts").as_uri())
    # The seeds of a topology are the steps of its objectives.
    history = client(folder).get_metric_history(found[child].info.run_id, "accuracy")
    assert [(point.step, point.value) for point in history] == [(3, 0.9), (4, 0.8)]


def test_what_a_trial_shows(folder):
    whole_search(tracker(folder, "shown"))
    stored = snapshot(folder, "shown")
    status, params, tags, history, files = stored[f"/{TRIAL.digest}/s0"]
    assert (status, params) == ("FINISHED", {"family": "hyper", "depth": "4", "streams": "2"})
    assert tags == {
        "status": "COMPLETE", "family": "hyper", "digest": TRIAL.digest, "source": "tpe", "number": "3",
        "wireloom.logged": "1",
    }  # fmt: skip
    assert history["train_loss"] == [(point.step, point.train_loss) for point in CURVE]
    for name in ("accuracy", "loss"):
        measured = [(point.step, getattr(point, name)) for point in CURVE]
        assert history[name] == [(step, value) for step, value in measured if value is not None]
    final = {name: points for name, points in history.items() if name not in ("train_loss", "accuracy", "loss")}
    assert final == {
        "flops": [(0, 2e6)], "parameters": [(0, 5000)], "traffic": [(0, 40)], "seconds": [(0, 1.5)], "auc": [(0, 0.5)],
        "final_accuracy": [(0, 0.9)], "final_loss": [(0, 0.3)],
    }  # fmt: skip
    assert files == []
    run = runs(folder, "shown")[f"shown/{TRIAL.digest}"]
    artifacts = folder / "mlartifacts" / run.info.run_id / "artifacts"
    assert json.loads((artifacts / "topology.json").read_text()) == TRIAL.topology
    assert (artifacts / "topology.png").read_bytes() == PICTURE


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ("COMPLETE", "FINISHED"),
        ("PRUNED", "FINISHED"),
        ("REJECTED", "FINISHED"),
        ("DIVERGED", "FAILED"),
        ("FAILED", "FAILED"),
    ],
)
def test_how_a_trial_ended(folder, status, shown):
    key = f"ended-{status}"
    whole_search(tracker(folder, key), [replace(TRIAL, status=Status(status), reason="why " * 500)])
    found = runs(folder, key)
    assert found[f"{key}/{TRIAL.digest}"].info.status == shown
    assert found[f"{key}/{TRIAL.digest}/s0"].info.status == shown
    assert len(found[f"{key}/{TRIAL.digest}/s0"].data.tags["reason"]) == 500


def test_values_that_are_not_finite_are_dropped_and_params_are_few_and_short(folder):
    points = (replace(CURVE[0], train_loss=math.inf), replace(CURVE[1], loss=math.nan))
    point = {f"edge {i}": i for i in range(40)} | {"matrix": "1 " * 3000}
    odd = replace(TRIAL, curve=points, point={"matrix": "1 " * 3000, **point}, objectives={"a+b": math.nan, "c": 1.0})
    whole_search(tracker(folder, "odd"), [odd])
    _, params, _, history, _ = snapshot(folder, "odd")[f"/{TRIAL.digest}/s0"]
    assert history["train_loss"] == [(20, 1.0)]
    assert "loss" not in history
    assert set(history) == {"train_loss", "accuracy", "flops", "parameters", "traffic", "seconds", "c"} | {
        "final_accuracy", "final_loss",
    }  # fmt: skip
    assert len(params) == 15
    assert params["depth"] == "4"
    assert "matrix" not in params


def test_a_long_curve_is_stored_whole(folder):
    curve = tuple(CurvePoint(step, 1.0, float(step), 0.5, 0.5) for step in range(700))
    whole_search(tracker(folder, "long"), [replace(TRIAL, curve=curve)])
    run = runs(folder, "long")[f"long/{TRIAL.digest}/s0"]
    history = client(folder).get_metric_history(run.info.run_id, "train_loss")
    assert [point.value for point in history] == [float(step) for step in range(700)]


def test_telling_twice_changes_nothing(folder):
    subject = tracker(folder, "twice")
    whole_search(subject, [TRIAL, TRIAL])
    once = snapshot(folder, "twice")
    ends = {name: run.info.end_time for name, run in runs(folder, "twice").items() if name != "twice"}
    whole_search(tracker(folder, "twice"), [TRIAL, TRIAL])
    again = snapshot(folder, "twice")
    # Only the search's own final figures are written anew, since a resumed search may have new ones.
    assert once.pop("")[0] == again.pop("")[0] == "FINISHED"
    assert again == once
    assert {name: run.info.end_time for name, run in runs(folder, "twice").items() if name != "twice"} == ends


def test_two_trials_of_one_topology_and_seed_are_two_runs(folder):
    repeat = replace(TRIAL, number=9, status=Status.REJECTED, curve=(), objectives={}, reason="a repeat of trial 3")
    nothing = [replace(repeat, number=n, digest="", topology=None) for n in (10, 11)]
    for _ in range(2):
        whole_search(tracker(folder, "repeat"), [repeat, TRIAL, *nothing])
    top = f"repeat/{TRIAL.digest}"
    assert set(runs(folder, "repeat")) == {
        "repeat", top, f"{top}/s0", f"{top}/s0/t3", "repeat/-", "repeat/-/s0", "repeat/-/s0/t11"
    }  # fmt: skip


def test_searches_of_one_experiment_do_not_mix(folder):
    other = tracker(folder, "one2")
    other.start({}, {})
    whole_search(tracker(folder, "one"))
    assert runs(folder, "one2")["one2"].info.status == "RUNNING"
    other.trial(replace(TRIAL, seed=5), None)
    other.finish("FINISHED", {}, {})
    assert len(runs(folder, "one")) == len(runs(folder, "one2")) == 3


CALLS = ("create_run", "log_batch", "log_artifacts", "set_terminated", "update_run")


def die_after(monkeypatch, calls: int) -> None:
    """Have the process killed right after MLflow's n-th write."""
    from mlflow.tracking import MlflowClient

    left = [calls]

    def wrap(original):
        def call(*args, **kwargs):
            result = original(*args, **kwargs)
            left[0] -= 1
            if left[0] == 0:
                raise SystemExit("killed")  # no Exception: nothing in the tracker may catch it
            return result

        return call

    for name in CALLS:
        monkeypatch.setattr(MlflowClient, name, wrap(getattr(MlflowClient, name)))


def test_a_kill_after_any_write_is_mended_by_resuming(folder, monkeypatch):
    trials = [TRIAL, replace(TRIAL, number=4, seed=1, status=Status.FAILED)]
    whole_search(tracker(folder, "calm"), trials)
    expected = snapshot(folder, "calm")
    for calls in range(1, 100):
        key = f"kill{calls}"
        with monkeypatch.context() as patch:
            die_after(patch, calls)
            try:
                whole_search(tracker(folder, key), trials)
            except SystemExit:
                killed = True
            else:
                killed = False
        if not killed:
            break
        whole_search(tracker(folder, key), trials)
        found = snapshot(folder, key)
        # The search's own final figures have a time of their own, so that newer ones show.
        assert found[""][0] == "FINISHED"
        assert {**found, "": None} == {**expected, "": None}, f"killed after write {calls}"
    assert calls > 20


def test_a_half_written_topology_may_be_completed_by_a_trial_of_another_family(folder, monkeypatch):
    with monkeypatch.context() as patch:
        die_after(patch, 7)  # five writes of the start, then the topology and its params
        with pytest.raises(SystemExit):
            whole_search(tracker(folder, "half"))
    whole_search(
        tracker(folder, "half"), [replace(TRIAL, number=8, seed=2, family="wiring", point={"depth": 4, "edges": 3})]
    )
    _, params, tags, _, files = snapshot(folder, "half")[f"/{TRIAL.digest}"]
    assert params == {"family": "hyper", "depth": "4", "streams": "2", "edges": "3"}
    assert (tags["wireloom.logged"], files) == ("1", ["topology.json", "topology.png"])


def test_an_interrupted_search_is_killed_then_taken_up_again(folder):
    subject = tracker(folder, "stop")
    subject.start({}, {})
    subject._store.run("stop/half", "half", parent=subject._store.known["stop"])
    subject.interrupted()
    assert {name: run.info.status for name, run in runs(folder, "stop").items()} == {
        "stop": "KILLED",
        "stop/half": "KILLED",
    }
    resumed = tracker(folder, "stop")
    resumed.start({}, {})
    assert runs(folder, "stop")["stop"].info.status == "RUNNING"
    resumed.trial(TRIAL, None)
    resumed.finish("FINISHED", {}, {})
    assert runs(folder, "stop")["stop"].info.status == "FINISHED"
    assert runs(folder, "stop")[f"stop/{TRIAL.digest}"].info.status == "FINISHED"


def test_what_a_continued_search_changes_is_changed(folder):
    """A param of MLflow is for ever; the tags and the files of the search's own run are not."""
    for trials in ("8", "8", "10"):
        subject = tracker(folder, "longer")
        subject.start({"seed": 0}, {"experiment.yaml": f"trials: {trials}\n"}, {"trials": trials})
        subject.finish("FINISHED", {"trials": float(trials)}, {})
        (run,) = runs(folder, "longer").values()
        assert (run.data.params, run.data.tags["trials"]) == ({"seed": "0"}, trials)
        assert run.data.metrics["trials"] == float(trials)
        stored = client(folder).download_artifacts(run.info.run_id, "experiment.yaml")
        assert Path(stored).read_text() == f"trials: {trials}\n"


def test_a_store_that_cannot_be_written_is_told_once(tmp_path, capfd):
    (tmp_path / "file").write_text("not a folder")
    told: list[str] = []
    subject = tracker(tmp_path / "file", "no", warn=told.append)
    whole_search(subject)
    subject.interrupted()
    assert len(told) == 1
    assert told[0].startswith("tracking is off: ")
    assert f"`wireloom report {tmp_path / 'file'}` and a later --resume complete it" in told[0]
    assert "\n" not in told[0]
    assert capfd.readouterr() == ("", "")


def test_a_store_that_fails_midway_is_told_once_and_completed_later(folder, monkeypatch):
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    told: list[str] = []
    subject = tracker(folder, "midway", warn=told.append)
    subject.start({}, {})
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", lambda *a, **k: (_ for _ in ()).throw(MlflowException("disk full")))
        subject.trial(TRIAL, PICTURE)
        subject.trial(TRIAL, PICTURE)
    subject.finish("FINISHED", {}, {})
    assert [message.split(";")[0] for message in told] == ["tracking is off: disk full"]
    whole_search(tracker(folder, "midway"))
    assert {run.info.status for run in runs(folder, "midway").values()} == {"FINISHED"}


def test_a_dead_server_costs_seconds_not_minutes(tmp_path):
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    port = server.server_address[1]
    server.server_close()  # now nothing listens there
    told: list[str] = []
    began = time.monotonic()
    whole_search(tracker(tmp_path, "dead", uri=f"http://127.0.0.1:{port}", warn=told.append))
    assert len(told) == 1
    assert time.monotonic() - began < 30  # MLflow's own settings retry for minutes


def test_where_the_runs_go(tmp_path, monkeypatch):
    here = tracker(tmp_path / "a run", "x")
    assert here.uri == f"sqlite:///{tmp_path}/a run/mlflow.db"
    assert here.command == f"mlflow ui --backend-store-uri 'sqlite:///{tmp_path}/a run/mlflow.db'"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@server:5000/x")
    assert tracker(tmp_path, "x").uri == "http://me:secret@server:5000/x"
    assert tracker(tmp_path, "x").command == "http://server:5000/x"
    assert tracker(tmp_path, "x", uri="sqlite:///b.db").uri == "sqlite:///b.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@server/x")
    assert tracker(tmp_path, "x").command == 'mlflow ui --backend-store-uri "$MLFLOW_TRACKING_URI"'


def test_the_environment_chooses_the_store(tmp_path, monkeypatch, folder):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    whole_search(tracker(tmp_path, "environment"))
    assert len(runs(folder, "environment")) == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", ["argument", "environment"])
def test_off_does_nothing(tmp_path, monkeypatch, way):
    if way == "environment":
        monkeypatch.setenv("WIRELOOM_TRACKING", "off")
    subject = tracker(tmp_path, "x", uri="off" if way == "argument" else None)
    whole_search(subject)
    subject.interrupted()
    assert (subject.uri, subject.command, list(tmp_path.iterdir())) == ("off", "", [])


def test_without_mlflow_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    with pytest.raises(UserError, match=r"pip install 'wireloom\[search\]'"):
        tracker(tmp_path, "x")


def test_nothing_reaches_the_terminal_or_the_working_directory(tmp_path):
    code = (
        "import sys, pathlib; import nas.tracking; print('mlflow' in sys.modules)\n"
        "t = nas.tracking.Tracker(pathlib.Path('run'), 'e', 'r', 'k', warn=print)\n"
        "t.start({'a': 1}, {}); t.finish('FINISHED', {}, {}); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("False\nFalse\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_only_what_is_written_is_known(folder) -> None:
    writer = tracker(folder, "known")
    writer.start({}, {})
    assert not writer.knows(TRIAL)
    writer.trial(TRIAL, None)
    assert writer.knows(TRIAL)
    assert not writer.knows(replace(TRIAL, number=4))
    assert not writer.knows(replace(TRIAL, seed=1))
    again = tracker(folder, "known")
    again.start({}, {})
    assert again.knows(TRIAL)
    assert tracker(folder, "known", uri="off").knows(replace(TRIAL, number=4))
