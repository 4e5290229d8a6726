import json
import math
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from nas.records import CurvePoint, Status, Trial
from nas.search_runs import SearchRuns
from nas.tracked import running
from nas.tracking import MlflowStore, _make_database, load
from nas.trainings import Training

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


def picture(trial: Trial) -> bytes:
    return PICTURE


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("WIRELOOM_TRACKING", raising=False)


def tracker(folder, key) -> SearchRuns:
    """A search as runs of a store in a folder, written to without a thread between."""
    load()
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    return SearchRuns(key, f"search {key}", lambda: MlflowStore(uri, EXPERIMENT, folder, key))


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
    tracker.start({"seed": 0}, {"experiment.yaml": "name: digits\n"}, {})
    for trial in trials:
        tracker.trial(trial, picture)
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


FRESH = {
    "event": "confirm", "trial": 3, "family": "hyper", "depth": 4, "digest": TRIAL.digest, "seed": 7,
    "status": "COMPLETE", "accuracy": 0.75, "loss": 0.5, "test_accuracy": 0.5, "test_loss": 0.25, "spent_flops": 5.0,
    "seconds": 0.25,
}  # fmt: skip
TRAININGS = tuple(
    Training(TRIAL, event)
    for event in (FRESH, FRESH | {"seed": 8, "status": "FAILED"}, FRESH | {"event": "curve", "share": 0.5})
)


def confirmed_search(tracker) -> None:
    """A search with fresh seeds of its trial and of a baseline that was no trial."""
    tracker.start({"seed": 0}, {}, {})
    tracker.trial(TRIAL, picture)
    alone = replace(TRIAL, number=-1, family="residual", digest="feed" * 12)
    for one in (*TRAININGS, Training(alone, FRESH | {"digest": alone.digest, "trial": None})):
        tracker.training(one, picture)
    tracker.finish("FINISHED", {}, {})


def test_fresh_seeds_are_runs_below_their_topology(folder):
    confirmed_search(tracker(folder, "fresh"))
    found, top, other = runs(folder, "fresh"), f"fresh/{TRIAL.digest}", f"fresh/{'feed' * 12}"
    below = {name: run.data.tags.get("mlflow.parentRunId") for name, run in found.items()}
    ids = {name: run.info.run_id for name, run in found.items()}
    assert below == {
        "fresh": None, top: ids["fresh"], other: ids["fresh"], f"{top}/s0": ids[top], f"{top}/c7": ids[top],
        f"{top}/c8": ids[top], f"{top}/c7x0.5": ids[top], f"{other}/c7": ids[other],
    }  # fmt: skip
    stored = snapshot(folder, "fresh")
    status, params, tags, history, _ = stored[f"/{TRIAL.digest}/c7"]
    assert (status, params) == ("FINISHED", {"family": "hyper", "depth": "4", "streams": "2", "seed": "7"})
    assert tags == {
        "status": "COMPLETE", "family": "hyper", "digest": TRIAL.digest, "source": "confirmation",
        "wireloom.logged": "1",
    }  # fmt: skip
    assert history["test_accuracy"] == [(0, 0.5)]
    assert history["final_accuracy"] == [(0, 0.75)]
    assert stored[f"/{TRIAL.digest}/c8"][0] == "FAILED"
    # Seeds stand side by side in the topology's run; a share of the budget is none of them.
    assert stored[f"/{TRIAL.digest}"][3]["test_accuracy"] == [(7, 0.5), (8, 0.5)]
    assert stored[f"/{TRIAL.digest}"][0] == stored[f"/{'feed' * 12}"][0] == "FINISHED"
    assert stored[f"/{'feed' * 12}"][4] == ["topology.json", "topology.png"]
    assert found[f"{top}/c7x0.5"].info.run_name == "fresh seed 7 at 0.5 of the budget"


def test_a_kill_in_the_middle_of_fresh_seeds_is_mended_by_resuming(folder, monkeypatch):
    begin = 12  # the search, its topology and its trial are written by then
    assert killed_and_resumed(folder, monkeypatch, confirmed_search, begin) > begin + 12


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
    other.start({}, {}, {})
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


def killed_and_resumed(folder, monkeypatch, search, begin):
    """Kill a search after each write from ``begin`` on, each time a new one, and resume it; how many writes it has."""
    whole = f"whole-{search.__name__}"
    search(tracker(folder, whole))
    expected = snapshot(folder, whole)
    for calls in range(begin, 100):
        key = f"{search.__name__}{calls}"
        with monkeypatch.context() as patch:
            die_after(patch, calls)
            try:
                search(tracker(folder, key))
            except SystemExit:
                killed = True
            else:
                killed = False
        if not killed:
            break
        search(tracker(folder, key))
        found = snapshot(folder, key)
        # The search's own final figures have a time of their own, so that newer ones show.
        assert found[""][0] == expected[""][0] == "FINISHED"
        assert {**found, "": None} == {**expected, "": None}, f"killed after write {calls}"
    return calls


def test_a_kill_after_any_write_is_mended_by_resuming(folder, monkeypatch):
    trials = [TRIAL, replace(TRIAL, number=4, seed=1, status=Status.FAILED)]

    def search(made):
        whole_search(made, trials)

    assert killed_and_resumed(folder, monkeypatch, search, 1) > 15


def test_a_half_written_topology_may_be_completed_by_a_trial_of_another_family(folder, monkeypatch):
    with monkeypatch.context() as patch:
        die_after(patch, 5)  # three writes of the start, then the topology and its files
        with pytest.raises(SystemExit):
            whole_search(tracker(folder, "half"))
    whole_search(
        tracker(folder, "half"), [replace(TRIAL, number=8, seed=2, family="wiring", point={"depth": 4, "edges": 3})]
    )
    _, params, tags, _, files = snapshot(folder, "half")[f"/{TRIAL.digest}"]
    assert params == {"family": "wiring", "depth": "4", "edges": "3"}
    assert (tags["wireloom.logged"], files) == ("1", ["topology.json", "topology.png"])


def test_an_interrupted_search_is_killed_then_taken_up_again(folder):
    subject = tracker(folder, "stop")
    subject.start({}, {}, {})
    subject.store.run("stop/half", "half", parent=subject.search)
    subject.close("KILLED")
    assert {name: run.info.status for name, run in runs(folder, "stop").items()} == {
        "stop": "KILLED",
        "stop/half": "KILLED",
    }
    resumed = tracker(folder, "stop")
    resumed.start({}, {}, {})
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


def test_a_database_that_was_not_finished_is_made_anew(tmp_path, monkeypatch):
    """MLflow makes its tables in many steps, and cannot take them up again."""
    from mlflow.store.db import utils

    def kill(engine):
        utils.InitialBase.metadata.create_all(engine)
        raise SystemExit("killed")

    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: None)  # nobody tidies up after a kill -9
    monkeypatch.setattr(utils, "_initialize_tables", kill)
    with pytest.raises(SystemExit):
        whole_search(tracker(tmp_path, "cut"))
    monkeypatch.undo()
    assert [path.name.startswith(".mlflow.db.") for path in tmp_path.iterdir()] == [True]
    whole_search(tracker(tmp_path, "cut"))
    assert len(runs(tmp_path, "cut")) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlartifacts", "mlflow.db"]


def test_a_database_of_a_faster_process_is_left_as_it_is(tmp_path, monkeypatch):
    from mlflow.tracking import MlflowClient

    original = MlflowClient.search_experiments

    def slow(self, *arguments, **options):
        (tmp_path / "mlflow.db").write_text("that of another")
        return original(self, *arguments, **options)

    monkeypatch.setattr(MlflowClient, "search_experiments", slow)
    _make_database(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "run")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("mlflow.db", "that of another")]


ASKED = {
    "number": 3, "source": "tpe", "point": TRIAL.point, "digest": TRIAL.digest, "seed": 0, "budget_flops": 3e9,
    "flops": 2e6, "parameters": 5000, "traffic": 40.0, "topology": TRIAL.topology,
}  # fmt: skip


def test_a_running_trial_is_shown_and_ends_as_one_that_was_not(folder):
    whole_search(tracker(folder, "unseen"))
    subject = tracker(folder, "seen")
    subject.start({"seed": 0}, {"experiment.yaml": "name: digits\n"}, {})
    for points in (CURVE[:1], CURVE[:3], CURVE[:3]):
        subject.live(running(ASKED, points), picture)
    status, _, tags, history, _ = snapshot(folder, "seen")[f"/{TRIAL.digest}/s0"]
    assert (status, tags["status"], "wireloom.logged" in tags) == ("RUNNING", "RUNNING", False)
    assert history["train_loss"] == [(point.step, point.train_loss) for point in CURVE[:3]]
    subject.trial(TRIAL, picture)
    subject.live(running(ASKED, CURVE[:4]), picture)  # too late, and nothing changes
    subject.finish("FINISHED", {"best accuracy": 0.9}, {})
    assert snapshot(folder, "seen") == {**snapshot(folder, "unseen"), "": snapshot(folder, "seen")[""]}


@pytest.mark.parametrize("other", [False, True])
def test_a_trial_that_is_trained_again_does_not_double_its_points(folder, other):
    """Whether the second training comes to the same values, as it does here, or not, as on another machine."""
    key = f"again-{other}"
    subject = tracker(folder, key)
    subject.start({}, {}, {})
    subject.live(running(ASKED, CURVE[:4]), None)
    first = runs(folder, key)[f"{key}/{TRIAL.digest}/s0"].info.run_id
    resumed = tracker(folder, key)
    resumed.start({}, {}, {})
    curve = tuple(replace(point, train_loss=point.train_loss + other) for point in CURVE)
    resumed.live(running(ASKED, curve[:2]), None)
    resumed.trial(replace(TRIAL, curve=curve), None)
    run = runs(folder, key)[f"{key}/{TRIAL.digest}/s0"]  # one of that key, and no other
    assert (run.info.run_id == first, run.info.status) == (not other, "FINISHED")
    history = client(folder).get_metric_history(run.info.run_id, "train_loss")
    assert [(point.step, point.value) for point in history] == [(point.step, point.train_loss) for point in curve]


def test_a_trial_that_waited_and_went_on_is_shown_as_it_ended(folder):
    subject = tracker(folder, "waited")
    short = replace(TRIAL, status=Status.PRUNED, curve=CURVE[:3], accuracy=0.1, reason="waits after 3 of 9 steps")
    whole_search(subject, [short])
    whole_search(tracker(folder, "waited"), [TRIAL])
    whole_search(tracker(folder, "at once"), [TRIAL])
    seed = f"/{TRIAL.digest}/s0"
    assert snapshot(folder, "waited")[seed] == snapshot(folder, "at once")[seed]


def test_of_runs_made_twice_one_is_left(folder):
    """As when a server carries out a call after its caller gave up waiting."""
    subject = tracker(folder, "double")
    whole_search(subject)
    store = subject.store
    whole = dict(store.known)
    late = client(folder)
    for run in whole.values():
        tags = {"wireloom.key": run.key, "wireloom.search": "double"}
        late.create_run(store._experiment, start_time=run.start - 1000, tags=tags)
    fresh = tracker(folder, "double")
    assert {key: run.id for key, run in fresh.store.known.items()} == {key: run.id for key, run in whole.items()}
    assert len(runs(folder, "double")) == 3  # which finds no two of one key


def test_at_the_end_a_late_run_is_taken_away(folder):
    subject = tracker(folder, "late")
    subject.start({}, {}, {})
    subject.live(running(ASKED, CURVE[:1]), None)
    for key, run in list(subject.store.known.items()):
        tags = {"wireloom.key": key, "wireloom.search": "late"}
        client(folder).create_run(subject.store._experiment, start_time=run.start - 1000, tags=tags)
    ids = {run.id for run in subject.store.known.values()}
    subject.finish("FINISHED", {}, {})
    found = runs(folder, "late")
    assert {run.info.run_id for run in found.values()} == ids  # those that we wrote to, though they are younger
    assert [run.info.status for run in found.values()].count("KILLED") == 2


class TestTheRegistry:
    FILES = ("topology.yaml", "model.safetensors", "card.md")

    @pytest.fixture
    def files(self, tmp_path):
        for name in self.FILES:
            (tmp_path / name).write_text(f"a {name}")
        return {name: tmp_path / name for name in self.FILES}

    def versions(self, folder, name=EXPERIMENT):
        return sorted(client(folder).search_model_versions(f"name = '{name}'"), key=lambda one: int(one.version))

    def test_the_winner_is_a_version_that_can_be_downloaded(self, tmp_path, files):
        subject = tracker(tmp_path, "winner")
        whole_search(subject)
        subject.register(TRIAL, EXPERIMENT, files, {"accuracy": "0.9"})
        (version,) = self.versions(tmp_path)
        assert version.tags == {
            "digest": TRIAL.digest, "number": "3", "wireloom.key": "winner", "accuracy": "0.9",
        }  # fmt: skip
        run = runs(tmp_path, "winner")[f"winner/{TRIAL.digest}/s0"]
        assert (version.run_id, version.status) == (run.info.run_id, "READY")
        stored = Path(urlsplit(version.source).path)
        assert {path.name: path.read_text() for path in stored.iterdir()} == {n: f"a {n}" for n in self.FILES}

    def test_it_is_registered_once_and_its_tags_are_kept_up_to_date(self, tmp_path, files):
        for accuracy in ("0.9", "0.9", "0.95"):
            subject = tracker(tmp_path, "once")
            whole_search(subject)
            subject.register(TRIAL, EXPERIMENT, files, {"accuracy": accuracy})
        (version,) = self.versions(tmp_path)
        assert version.tags["accuracy"] == "0.95"

    def test_another_winner_or_another_search_is_another_version(self, tmp_path, files):
        for key, trial in (("a", TRIAL), ("a", replace(TRIAL, number=7, digest="feed" * 10)), ("b", TRIAL)):
            subject = tracker(tmp_path, key)
            whole_search(subject, [trial])
            subject.register(trial, EXPERIMENT, files, {})
        found = [(one.tags["wireloom.key"], one.tags["digest"][:4]) for one in self.versions(tmp_path)]
        assert found == [("a", "abcd"), ("a", "feed"), ("b", "abcd")]

    def test_a_store_without_a_registry_is_left_alone(self, tmp_path, files, monkeypatch):
        from mlflow.tracking import MlflowClient
        from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException

        def refuse(*arguments, **options):
            raise UnsupportedModelRegistryStoreURIException("x://", ["y"])

        monkeypatch.setattr(MlflowClient, "search_model_versions", refuse)
        subject = tracker(tmp_path, "none")
        whole_search(subject)
        subject.register(TRIAL, EXPERIMENT, files, {})
        run = runs(tmp_path, "none")[f"none/{TRIAL.digest}/s0"]
        assert [each.path for each in client(tmp_path).list_artifacts(run.info.run_id)] == ["model"]
