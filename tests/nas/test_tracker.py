import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from graphs.errors import UserError
from nas import tracker as module
from nas.records import CurvePoint, Status, Trial
from nas.stores import NullStore
from nas.tracker import Tracker
from nas.trainings import Training

pytest.importorskip("mlflow")
pytestmark = pytest.mark.filterwarnings(
    # mlflow 3 maps a relation with a loader that SQLAlchemy 2.1 calls deprecated.
    "ignore:The ``noload`` loader strategy is deprecated:sqlalchemy.exc.SADeprecationWarning"
)

DEADLINE = 60.0
MISSING = (
    "tracking is not complete: {} could not be written ({}); the run's folder has everything, and the same command "
    "with --resume writes what is missing"
)
CURVE = (CurvePoint(10, 1e9, 2.0, 0.5, 1.5), CurvePoint(20, 2e9, 1.0, 0.9, 0.3))
TRIAL = Trial(
    3, Status.COMPLETE, "tpe", "hyper", {"family": "hyper", "depth": 4, "streams": 2}, "abcdef" * 8, 0, 3e9, 3e9,
    2e6, 5000, 40.0, {"accuracy": 0.9}, 0.9, 0.3, 1.5, None, CURVE, {"depth": 4, "mixes": []},
)  # fmt: skip


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """A database without runs: making its tables takes MLflow seconds."""
    folder = tmp_path_factory.mktemp("made")
    subject = tracker(folder)
    subject.finish("FINISHED", {}, {})
    with sqlite3.connect(folder / "mlflow.db") as connection:
        for table in ("tags", "runs", "experiments"):
            connection.execute(f"DELETE FROM {table}")
    connection.close()
    return folder / "mlflow.db"


@pytest.fixture
def store(database, tmp_path):
    """A folder with such a database in it."""
    shutil.copy(database, tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("WIRELOOM_TRACKING", raising=False)


def tracker(folder, **options) -> Tracker:
    def fail(message: str) -> None:
        raise AssertionError(message)

    return Tracker(folder, "digits", "a search", "key", **{"warn": fail, "pauses": (0.01, 0.05), **options})


def whole_search(subject, trials=(TRIAL,)) -> None:
    subject.start({"seed": 0}, {"experiment.yaml": "name: digits\n"})
    for trial in trials:
        subject.live(trial)
        subject.trial(trial)
    subject.finish("FINISHED", {"best accuracy": 0.9}, {})


def statuses(folder) -> dict[str, str]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    keys = [run.data.tags["wireloom.key"] for run in found]
    assert len(set(keys)) == len(keys)
    return {key: run.info.status for key, run in zip(keys, found, strict=True)}


TOP = f"key/{TRIAL.digest}"
WHOLE = {"key": "FINISHED", TOP: "FINISHED", f"{TOP}/s0": "FINISHED"}


class Away:
    """A store that is there or not; ``broken`` are the keys of runs that it refuses to write, ``calls`` what it did."""

    def __init__(self):
        self.inner = NullStore()
        self.there = threading.Event()
        self.asked = threading.Semaphore(0)
        self.broken: set[str] = set()
        self.calls: list[tuple[str, str]] = []

    def __call__(self, *arguments):
        self.check("open", "")
        return self

    def __getattr__(self, name):
        def call(run, *arguments, **options):
            self.check(name, run if isinstance(run, str) else run.key)
            return getattr(self.inner, name)(run, *arguments, **options)

        return call

    @property
    def known(self):
        return self.inner.known

    def refresh(self):
        self.check("refresh", "")

    def check(self, name, key):
        self.asked.release()
        if not self.there.is_set():
            raise OSError("nobody answers")
        if key in self.broken:
            raise ValueError(f"{key} is refused")
        self.calls.append((name, key))

    def wait(self, calls):
        for _ in range(calls):
            assert self.asked.acquire(timeout=DEADLINE)

    def wait_until(self, done):
        deadline = time.monotonic() + DEADLINE
        while not done():
            assert time.monotonic() < deadline
            self.wait(1)


@pytest.fixture
def away(monkeypatch):
    store = Away()
    monkeypatch.setattr(module.tracking, "MlflowStore", store)
    return store


def test_a_search_is_written(store):
    (store / "r.html").write_text("<p>")
    drawn = []
    subject = tracker(store, picture=lambda trial: drawn.append(trial.number) or b"PNG")
    subject.start({"seed": 0}, {})
    subject.trial(TRIAL)
    subject.finish("FINISHED", {}, {"report.html": store / "r.html", "none.csv": store / "none.csv"})
    assert statuses(store) == WHOLE
    assert drawn == [3]
    again = tracker(store, picture=lambda trial: drawn.append(trial.number) or b"PNG")
    whole_search(again)
    assert statuses(store) == WHOLE
    assert drawn == [3]  # what is there is not drawn again


def test_the_driver_never_waits_for_a_store_that_is_away(away, tmp_path):
    told: list[str] = []
    subject = tracker(tmp_path, warn=told.append)
    began = time.monotonic()
    subject.start({}, {})
    for number in range(1000):
        subject.trial(replace(TRIAL, number=number, digest=f"{number:048}"))
    assert time.monotonic() - began < 5  # 5 ms each on a busy machine; they take microseconds
    away.wait(5)  # several tries, told once
    assert told == [
        "tracking waits: nobody answers; the search goes on, and what is missing is written as soon as it can be"
    ]
    away.there.set()
    subject.finish("FINISHED", {}, {})
    assert told[1:] == ["tracking goes on: everything that was missing is written"]
    assert {key for key in away.known if key.endswith("/s0")} == {f"key/{number:048}/s0" for number in range(1000)}
    assert {run.status for run in away.known.values()} == {"FINISHED"}


def test_an_outage_in_the_middle_is_mended_before_the_search_ends(away, tmp_path):
    told: list[str] = []
    back = threading.Event()

    def warn(message):
        told.append(message.split(":")[0])
        if len(told) % 2 == 0:
            back.set()

    subject = tracker(tmp_path, warn=warn)
    away.there.set()
    subject.start({}, {})
    for number in range(2):  # two outages are told twice
        away.there.clear()
        subject.trial(replace(TRIAL, number=number, seed=number))
        away.wait_until(lambda expected=2 * number + 1: len(told) == expected)
        away.there.set()
        assert back.wait(DEADLINE)
        back.clear()
    assert told == ["tracking waits", "tracking goes on"] * 2
    assert {f"{TOP}/s0", f"{TOP}/s1"} < set(away.known)
    subject.finish("FINISHED", {}, {})
    assert len(told) == 4


def test_the_end_waits_a_while_and_says_what_is_missing(away, tmp_path):
    told: list[str] = []
    subject = tracker(tmp_path, warn=told.append, patience=0.2)
    began = time.monotonic()
    whole_search(subject, [TRIAL, replace(TRIAL, seed=1, number=4)])
    assert time.monotonic() - began < 10
    assert told[1:] == [MISSING.format("2 trials", "nobody answers")]


def test_fresh_seeds_go_the_same_way(away, tmp_path):
    told: list[str] = []
    event = {"seed": 7, "status": "COMPLETE", "test_accuracy": 0.5}
    subject = tracker(tmp_path, warn=told.append, patience=0.2)
    subject.start({}, {})
    for seed in (7, 8, 7):  # a resumed search says once more what its log has
        subject.training(Training(TRIAL, event | {"seed": seed}))
    away.wait(1)
    assert not away.known
    away.there.set()
    subject.finish("FINISHED", {}, {})
    assert {key: run.status for key, run in away.known.items()} == dict.fromkeys(
        ("key", TOP, f"{TOP}/c7", f"{TOP}/c8"), "FINISHED"
    )
    assert away.calls.count(("write", f"{TOP}/c7")) == 1


def test_fresh_seeds_that_cannot_be_written_are_said(away, tmp_path):
    told: list[str] = []
    subject = tracker(tmp_path, warn=told.append, patience=0.2)
    subject.trial(TRIAL)
    subject.training(Training(TRIAL, {"seed": 7, "status": "COMPLETE"}))
    subject.finish("FINISHED", {}, {})
    assert told[1:] == [MISSING.format("1 trial and 1 training", "nobody answers")]


def test_a_server_that_hangs_does_not_hold_the_end_up(away, tmp_path):
    told: list[str] = []
    released = threading.Event()
    away.check = lambda name, key: released.wait(DEADLINE)
    subject = tracker(tmp_path, warn=told.append, longest=0.2)
    whole_search(subject)
    assert told == [MISSING.format("1 trial", "no answer in 0.2 s")]
    released.set()


def test_one_trial_that_is_refused_keeps_no_other_back(away, tmp_path):
    told: list[str] = []
    away.there.set()
    away.broken.add(f"{TOP}/s1")
    subject = tracker(tmp_path, warn=told.append)
    whole_search(subject, [replace(TRIAL, number=seed, seed=seed) for seed in range(4)])
    assert {key: run.status for key, run in away.known.items()} == {
        "key": "FINISHED", TOP: "FINISHED", **{f"{TOP}/s{seed}": "FINISHED" for seed in (0, 2, 3)},
    }  # fmt: skip
    assert [message.partition(":")[0] for message in told] == ["tracking waits", "tracking is not complete"]
    assert f"1 trial could not be written ({TOP}/s1 is refused)" in told[1]


def test_after_a_failure_the_store_is_read_again(away, tmp_path):
    """The failed call may have been carried out, so what we believe to know is not to be relied on."""
    told: list[str] = []
    away.there.set()
    subject = tracker(tmp_path, warn=told.append)
    subject.start({}, {})
    away.broken.add(TOP)
    subject.trial(TRIAL)
    away.wait_until(lambda: away.calls.count(("open", "")) >= 2)
    away.broken.clear()
    subject.finish("FINISHED", {}, {})
    assert {key: run.status for key, run in away.known.items()} == WHOLE


def test_only_the_newest_state_of_a_running_trial_is_written(away, tmp_path):
    subject = tracker(tmp_path, warn=lambda message: None)
    subject.start({}, {})
    for points in range(1, 3):
        subject.live(replace(TRIAL, curve=CURVE[:points]))
    away.wait(2)
    away.there.set()
    subject.finish("FINISHED", {}, {})
    assert [call for call in away.calls if call == ("write", f"{TOP}/s0")] == [("write", f"{TOP}/s0")]
    assert away.known[f"{TOP}/s0"].status == "KILLED"  # it never ended


def test_an_interrupted_search_is_killed_then_taken_up_again(store):
    subject = tracker(store)
    subject.start({}, {})
    subject.trial(TRIAL)
    subject.live(replace(TRIAL, number=4, seed=1))
    subject.interrupted()
    assert {**statuses(store), f"{TOP}/s1": "KILLED"} == {**WHOLE, "key": "KILLED", f"{TOP}/s1": "KILLED"}
    whole_search(tracker(store), [TRIAL, replace(TRIAL, number=4, seed=1)])
    assert statuses(store) == {**WHOLE, f"{TOP}/s1": "FINISHED"}


def test_many_topologies_at_once_get_no_picture(away, tmp_path):
    drawn = []
    away.inner.attach = lambda run, files: files()
    subject = tracker(tmp_path, warn=lambda message: None, picture=lambda trial: drawn.append(trial.number))
    for number in range(60):
        subject.trial(replace(TRIAL, number=number, digest=f"{number:048}"))
    away.there.set()
    subject.finish("FINISHED", {}, {})
    assert len(drawn) in range(40, 52)
    assert 0 not in drawn
    assert 59 in drawn


def test_off_goes_the_same_way_and_writes_nothing(tmp_path, monkeypatch):
    made: list[NullStore] = []

    class Watched(NullStore):
        def __init__(self):
            super().__init__()
            made.append(self)

    monkeypatch.setattr(module, "NullStore", Watched)
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)  # it is not needed
    for way in ("argument", "environment"):
        if way == "environment":
            monkeypatch.setenv("WIRELOOM_TRACKING", "off")
        drawn = []
        subject = tracker(tmp_path, uri="off" if way == "argument" else None, picture=drawn.append)
        whole_search(subject)
        assert {key: run.status for key, run in made.pop().known.items()} == WHOLE
        assert (subject.uri, subject.command, list(tmp_path.iterdir()), drawn) == ("off", "", [], [])


def test_a_dead_server_costs_seconds_not_minutes(tmp_path):
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    port = server.server_address[1]
    server.server_close()  # now nothing listens there
    told: list[str] = []
    began = time.monotonic()
    whole_search(tracker(tmp_path, uri=f"http://127.0.0.1:{port}", warn=told.append, patience=1.0))
    assert [message.partition(":")[0] for message in told] == ["tracking waits", "tracking is not complete"]
    assert time.monotonic() - began < 30  # MLflow's own settings retry for minutes


def test_a_folder_that_cannot_be_written_is_told(tmp_path, capfd):
    (tmp_path / "file").write_text("not a folder")
    told: list[str] = []
    whole_search(tracker(tmp_path / "file", warn=told.append, patience=0.5))
    assert [message.partition(":")[0] for message in told] == ["tracking waits", "tracking is not complete"]
    assert not any("\n" in message for message in told)
    assert capfd.readouterr() == ("", "")


def test_where_the_runs_go(tmp_path, monkeypatch):
    here = tracker(tmp_path / "a run")
    assert here.uri == f"sqlite:///{tmp_path}/a run/mlflow.db"
    assert here.command == f"mlflow ui --backend-store-uri 'sqlite:///{tmp_path}/a run/mlflow.db'"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@server:5000/x")
    assert tracker(tmp_path).uri == "http://me:secret@server:5000/x"
    assert tracker(tmp_path).command == "http://server:5000/x"
    assert tracker(tmp_path, uri="sqlite:///b.db").uri == "sqlite:///b.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@server/x")
    assert tracker(tmp_path).command == 'mlflow ui --backend-store-uri "$MLFLOW_TRACKING_URI"'


def test_no_password_is_told(away, tmp_path):
    away.check = lambda name, key: (_ for _ in ()).throw(OSError("no postgresql://me:secret@server/x"))
    told: list[str] = []
    whole_search(tracker(tmp_path, uri="postgresql://me:secret@server/x", warn=told.append, patience=0.2))
    assert told[0].startswith("tracking waits: no postgresql://me:***@server/x;")
    assert not any("secret" in message for message in told)


def test_the_environment_chooses_the_store(store, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}/mlflow.db")
    whole_search(tracker(tmp_path / "run"))
    assert statuses(store) == WHOLE
    assert list((tmp_path / "run").iterdir()) == []


def test_without_mlflow_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    with pytest.raises(UserError, match=r"pip install 'wireloom\[search\]'"):
        tracker(tmp_path)


def test_nothing_reaches_the_terminal_or_the_working_directory(tmp_path):
    code = (
        "import sys, pathlib; import nas.tracker; print('mlflow' in sys.modules)\n"
        "t = nas.tracker.Tracker(pathlib.Path('run'), 'e', 'r', 'k', warn=print)\n"
        "t.start({'a': 1}, {}); t.finish('FINISHED', {}, {}); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("False\nFalse\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
