import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from unittest.mock import Mock

import pytest
from rich.console import Console

from graphs import TopologyError
from nas.errors import ExperimentError
from nas.events import read
from nas.executors.serial import SerialExecutor
from nas.experiment import Experiment
from nas.live import LivePage
from nas.run_folder import RunFolder
from nas.search import _Tracking, check_reachable, plan_of, run_search
from search_space.document import dump
from search_space.space import Space
from trainers import checkpoint

pytestmark = pytest.mark.filterwarnings(
    # mlflow 3 maps a relation with a loader that SQLAlchemy 2.1 calls deprecated.
    "ignore:The ``noload`` loader strategy is deprecated:sqlalchemy.exc.SADeprecationWarning"
)

DEADLINE = 120.0


@pytest.fixture
def spawn(tmp_path):
    """Start ``wireloom`` in a process of its own; whatever still runs at the end is killed."""
    started = []

    def start(*arguments, tracking="off"):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
        process = subprocess.Popen(
            [sys.executable, "-m", "nas", *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path,
            env=environment | {"WIRELOOM_TRACKING": tracking},
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def reach(process, log, lines):
    """Wait until a log has that many whole lines."""
    deadline = time.monotonic() + DEADLINE
    while not (log.exists() and log.read_bytes().count(b"\n") >= lines):
        assert process.poll() is None, f"ended before line {lines}: {process.communicate()}"
        assert time.monotonic() < deadline, f"line {lines} did not come"
        time.sleep(0.002)


def kill_at(process, log, lines):
    reach(process, log, lines)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def ends_well(process):
    output, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, output
    return output


def same(run, finished, rows):
    """Whether a run came to what the uninterrupted one did, to the last digit."""
    for table in ("trials.csv", "pareto.csv", "confirm.csv", "confirm_seeds.csv"):
        assert rows(run / table) == rows(finished / table), table
    for name in ("winner/topology.yaml", "experiment.yaml", "pareto.png"):
        assert (run / name).read_bytes() == (finished / name).read_bytes(), name
    assert sorted(path.name for path in (run / "weights").glob("trial-*")) == sorted(
        path.name for path in (finished / "weights").iterdir()
    )
    return True


def test_killed_in_a_process_of_its_own_and_resumed_here_it_is_the_same_search(
    finished, write, spawn, tmp_path, rows, wireloom
):
    run = tmp_path / "run"
    kill_at(spawn("search", write(), "--out", run), run / "events.jsonl", 40)
    assert len(read(run / "events.jsonl")) < 100
    ended = wireloom("search", write(), "--out", run, "--resume")
    assert ended.status == 0, ended.err
    assert same(run, finished, rows)


@pytest.mark.slow
def test_two_fresh_processes_make_the_same_search(finished, write, spawn, tmp_path, rows):
    for name in ("first", "second"):
        output = ends_well(spawn("search", write(), "--out", tmp_path / name))
        assert "Pareto front" in output
        assert same(tmp_path / name, finished, rows)


@pytest.mark.slow
@pytest.mark.parametrize(("draw", "tracking"), [(0, "off"), (1, "off"), (2, "")])
def test_killed_at_five_random_lines_it_is_the_same_search(finished, write, spawn, tmp_path, rows, draw, tracking):
    run = tmp_path / "run"
    log = run / "events.jsonl"
    total = len(read(finished / "events.jsonl"))
    lines = sorted(random.Random(draw).sample(range(1, total), 5))
    arguments = ["search", write(), "--out", run]
    for line in lines:
        # A trial that was cut off reports again, so the log is longer than the line in the whole one.
        further = line if not log.exists() else max(line, log.read_bytes().count(b"\n") + 1)
        kill_at(spawn(*arguments, tracking=tracking), log, further)
        arguments = ["search", write(), "--out", run, "--resume"]
    ends_well(spawn(*arguments, tracking=tracking))
    assert same(run, finished, rows), lines
    if not tracking:
        check_tracking(run, rows)


def check_tracking(run, rows):
    """Each trial is in MLflow once, whatever was killed in between."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{run / 'mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name("tiny").experiment_id], max_results=1000)
    keys = [one.data.tags["wireloom.key"] for one in found]
    assert len(set(keys)) == len(keys)
    numbers = sorted(int(one.data.tags["number"]) for one in found if "number" in one.data.tags)
    assert numbers == [int(row["number"]) for row in rows(run / "trials.csv")]
    fresh = [one for one in found if one.data.tags.get("source") == "confirmation"]
    assert len(fresh) == len(rows(run / "confirm_seeds.csv")) > 0
    assert {one.info.status for one in found} == {"FINISHED"}


@pytest.mark.slow
@pytest.mark.parametrize("lines", [1, 8, 60, "fresh seeds"])
def test_ctrl_c_at_any_time_ends_with_130_and_can_be_resumed(finished, write, spawn, tmp_path, rows, lines):
    """Line 1 is written before torch is loaded and MLflow is opened; the last ones are fresh seeds."""
    run = tmp_path / "run"
    if lines == "fresh seeds":  # the first of them is on record, three are to come
        lines = 1 + next(i for i, event in enumerate(read(finished / "events.jsonl")) if event["event"] == "confirm")
    process = spawn("search", write(), "--out", run, tracking="")
    reach(process, run / "events.jsonl", lines)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    command = output.splitlines()[-1].strip()
    assert command == f"wireloom search {tmp_path / 'tiny.yaml'} --out {run} --resume"
    ends_well(spawn(*command.split()[1:], tracking=""))
    assert same(run, finished, rows)
    check_tracking(run, rows)


@pytest.mark.slow
def test_ctrl_c_during_tracking(finished, write, spawn, tmp_path, rows):
    run = tmp_path / "run"
    process = spawn("search", write(), "--out", run, tracking="")
    deadline = time.monotonic() + DEADLINE
    while not (run / "mlflow.db").exists():  # the tables of the database are being made
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130, output
    ends_well(spawn("search", write(), "--out", run, "--resume", tracking=""))
    assert same(run, finished, rows)
    check_tracking(run, rows)


@pytest.fixture
def search(tmp_path, monkeypatch):
    """Search or continue in a folder, with the real trainer."""
    monkeypatch.setenv("WIRELOOM_TRACKING", "off")

    def run(experiment, path):
        folder = RunFolder.resume(path, experiment) if path.exists() else RunFolder.create(path, experiment)
        try:
            return run_search(folder.experiment, folder, Console(quiet=True))
        finally:
            folder.log.close()

    return run


def test_resuming_a_finished_run_changes_nothing(finished, make, search, tmp_path, tree):
    run = shutil.copytree(finished, tmp_path / "run")
    before = tree(run)
    search(make(), run)
    after = tree(run)
    assert set(after) == set(before)
    changed = {name for name in after if after[name] != before[name]}
    assert changed <= {"report.html", "lock.json"}  # they name the folder and this moment's versions


def test_a_run_can_be_made_longer(finished, make, search, tmp_path, rows):
    run = shutil.copytree(finished, tmp_path / "run")
    ends = [event for event in read(run / "events.jsonl") if event["event"] == "end"]
    done = search(make(trials=10), run)
    log = read(run / "events.jsonl")
    assert [event for event in log if event["event"] == "end"] == [*ends, log[-1]]
    assert (ends[0]["trained"], log[-1]["trained"], log[-1]["asks"]) == (8, 10, len(done.study.ledger.asks))
    assert Experiment.load(run / "experiment.yaml").trials == 10
    search(make(trials=10), run)  # nothing is left to do
    assert read(run / "events.jsonl") == log
    assert rows(run / "trials.csv")[:8] == rows(finished / "trials.csv")
    assert len([trial for trial in done.views.trials if trial.status.trained]) == 10
    assert done.views.experiment.trials == 10


def test_tracking_shows_how_long_the_search_was_made(make, search, tmp_path, monkeypatch):
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("WIRELOOM_TRACKING")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for trials in (1, 2):
        search(make(trials=trials, confirm=None), tmp_path / "run")
    client = MlflowClient(f"sqlite:///{tmp_path / 'run' / 'mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    (parent,) = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    assert (parent.data.tags["trials"], parent.data.metrics["trials"]) == ("2", 2.0)
    assert "trials" not in parent.data.params  # which could not be changed
    stored = client.download_artifacts(parent.info.run_id, "experiment.yaml")
    assert Experiment.load(stored).trials == 2


class TestResumedElsewhere:
    """With other data, other versions, or the file's keys in another order."""

    @pytest.fixture
    def run(self, finished, tmp_path):
        """The finished run as a crash in the middle left it."""
        run = shutil.copytree(finished, tmp_path / "run")
        log = (run / "events.jsonl").read_bytes().splitlines(keepends=True)
        (run / "events.jsonl").write_bytes(b"".join(log[: len(log) // 2]))
        return run

    def test_other_data_are_refused_before_anything_is_done(self, run, write, wireloom, monkeypatch, tree):
        from nas import evaluate as module

        data = replace(module.dataset("digits"), fingerprint="feedfeedfeedfeed")
        monkeypatch.setattr(module, "dataset", lambda kind: data)
        path, before = write(), tree(run)
        ran = wireloom("search", path, "--out", run, "--resume", "--trials", 9)
        assert ran.status == 2
        then = json.loads((run / "lock.json").read_text())["data_fingerprint"]
        assert ran.err.startswith(f"wireloom: {run}: the data have changed: their fingerprint is feedfeedfeedfeed now")
        assert f"and {then} in lock.json" in ran.err
        assert ran.err.count("\n") == 1
        assert tree(run) == before
        ran = wireloom("search", path, "--out", run.with_name("new"), "--trials", 1)  # what it says to do
        assert ran.status == 0, ran.err

    def test_other_versions_are_said_and_kept(self, run, finished, write, wireloom, rows):
        lock = json.loads((run / "lock.json").read_text())
        before = lock | {"commit": "0123456789ab", "device": "another", "versions": lock["versions"] | {"torch": "1.0"}}
        (run / "lock.json").write_text(json.dumps(before))
        ran = wireloom("search", write(), "--out", run, "--resume")
        assert ran.status == 0, ran.err
        now = (lock["versions"]["torch"], lock["commit"])
        for phrase in ("torch was 1.0 and is {}", "commit was 0123456789ab and is {}"):
            assert phrase.format(now[phrase.startswith("commit")]) in " ".join(ran.out.split())
        assert "results may differ" in ran.out
        assert json.loads((run / "lock.json").read_text()) == before | {"resumed": [lock]}
        assert "resumed 1 versions torch" in (run / "report.html").read_text()
        assert rows(run / "trials.csv") == rows(finished / "trials.csv")
        assert "results may differ" not in wireloom("search", write(), "--out", run, "--resume").out

    def test_another_order_of_keys_proposes_the_same(self, run, finished, make, tmp_path, wireloom, rows):
        plain = make().resolved()
        plain["space"]["families"] = dict(reversed(plain["space"]["families"].items()))
        plain["space"]["depth"] = dict(reversed(plain["space"]["depth"].items()))
        other = tmp_path / "other.yaml"
        other.write_text(dump(dict(reversed(plain.items()))))
        ran = wireloom("search", other, "--out", run, "--resume")
        assert ran.status == 0, ran.err
        assert same(run, finished, rows)
        # It would not have been the same had the order been that of the other file.
        assert wireloom("search", other, "--out", "anew").status == 0
        assert rows(tmp_path / "anew" / "trials.csv") != rows(finished / "trials.csv")


@pytest.mark.parametrize("harm", ["a full disk", "a file in its place"])
def test_weights_that_cannot_be_saved_stop_the_search_and_lose_nothing(
    finished, write, tmp_path, wireloom, rows, monkeypatch, harm
):
    run, saved, save = tmp_path / "run", [], checkpoint.save

    def full(path, *arguments):
        saved.append(path)
        if len(saved) == 3:
            if harm == "a full disk":
                raise OSError(28, "No space left on device")
            shutil.rmtree(run / "weights")
            (run / "weights").write_text("")
        save(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", full)
        ran = wireloom("search", write(), "--out", run)
    assert ran.status == 2
    assert ran.err.startswith(f"wireloom: {saved[-1]}: the trained weights cannot be written: ")
    assert ran.err.endswith("then --resume trains this trial again and goes on\n")
    assert ran.err.count("\n") == 1
    log = read(run / "events.jsonl")
    assert [event["number"] for event in log if event["event"] == "result"] == [0, 1]
    assert log[-1]["event"] == "report"
    if harm == "a file in its place":
        ran = wireloom("search", write(), "--out", run, "--resume")
        assert (ran.status, ran.err.partition(": ")[2].partition(":")[0]) == (2, f"{run}/weights")
        (run / "weights").unlink()
    ran = wireloom("search", write(), "--out", run, "--resume")
    assert ran.status == 0, ran.err
    assert rows(run / "trials.csv") == rows(finished / "trials.csv")
    assert "FAILED" not in (run / "trials.csv").read_text()


def test_a_loss_of_nan_and_a_crash_end_a_trial_and_not_the_search(make, search, tmp_path, monkeypatch):
    from nas import evaluate as module

    build = module.build_model

    def broken(topology, *arguments, **named):
        if topology.family == "dense":
            raise RuntimeError("out of memory")
        model = build(topology, *arguments, **named)
        if topology.family == "hyper":
            next(model.parameters()).data.fill_(float("nan"))
        return model

    monkeypatch.setattr(module, "build_model", broken)
    done = search(make(trials=5, confirm=None), tmp_path / "run")
    by_family = {trial.family: trial for trial in done.views.trials[:3]}
    assert [by_family[name].status for name in ("residual", "dense", "hyper")] == ["COMPLETE", "FAILED", "DIVERGED"]
    assert by_family["dense"].reason == "RuntimeError: out of memory"
    assert "diverged at step 1" in by_family["hyper"].reason
    trace = (tmp_path / "run" / "failures" / "trial-0001.txt").read_text()
    assert trace.startswith("Traceback")
    assert trace.endswith("RuntimeError: out of memory\n")
    assert sum(trial.status.trained for trial in done.views.trials) == 5
    assert all(trial.status == "COMPLETE" for trial in done.views.front)


def test_a_search_in_which_nothing_completes_is_the_users_to_mend(make, search, tmp_path):
    wild = {"budget_gflops": 0.05, "batch": 32, "lr": 1e30, "warmup": 0.0}
    with pytest.raises(ExperimentError, match=r"no trial completed in \d+ asks.*diverged at step"):
        search(make(trials=3, train=wild), tmp_path / "run")
    assert (tmp_path / "run" / "report.html").exists()
    assert read(tmp_path / "run" / "events.jsonl")[-1]["event"] == "end"


def test_a_limit_that_nothing_meets_is_found_before_anything_runs(make):
    assert len(check_reachable(make())) > 64
    with pytest.raises(ExperimentError, match=r"limits.parameters: 10 is below every point tried; the least of \d+"):
        check_reachable(make(limits={"parameters": 10}))
    least = min(item.cost.flops for item in check_reachable(make()))
    check_reachable(make(limits={"flops": least}))
    with pytest.raises(ExperimentError, match=r"limits\.flops"):
        check_reachable(make(limits={"flops": least - 1}))


def test_a_budget_that_buys_nobody_a_step_is_found_too(make, write):
    train = {"budget_gflops": 1e-6, "batch": 32, "lr": 1e-3, "warmup": 0.0}
    with pytest.raises(ExperimentError, match=r"no point of the space can be trained: .*less than one training step"):
        check_reachable(make(train=train))
    path = write(train=train)
    with pytest.raises(ValueError, match=f"{path}: no point"):
        plan_of(path)


def test_an_illegal_corner_does_not_condemn_the_space(make, monkeypatch):
    whole = Space.topology

    def picky(self, point):
        if point.family == "hyper":
            raise TopologyError("no such graph")
        return whole(self, point)

    monkeypatch.setattr(Space, "topology", picky)
    assert {item.topology.family for item in check_reachable(make())} == {"residual", "dense", "wiring"}


def test_a_ctrl_c_that_python_dropped_ends_the_search_at_the_next_report(make, search, tmp_path, monkeypatch):
    from nas import interrupts

    dropped = threading.Event()
    dropped.set()
    monkeypatch.setattr(interrupts, "_pressed", dropped)
    with pytest.raises(KeyboardInterrupt):
        search(make(), tmp_path / "run")
    assert [event["event"] for event in read(tmp_path / "run" / "events.jsonl")] == ["start", "ask"]


def test_tracking_hears_of_an_end_after_ctrl_c(make, fake, monkeypatch, tmp_path):
    """A worker of a large cluster may have waited with its result for others."""
    from nas import interrupts
    from nas.study import Study

    study = Study(make(), RunFolder.create(tmp_path / "run", make()), SerialExecutor(fake()))
    monkeypatch.setattr(interrupts, "_pressed", threading.Event())
    tracker = Mock()
    seen = _Tracking(tracker, Mock(), study)
    interrupts._pressed.set()
    seen.finished(trial := Mock(number=3))
    study.folder.log.close()
    tracker.trial.assert_called_once_with(trial)


def test_who_looks_on_sees_the_front_of_the_measured_seed_noise(make, fake, monkeypatch, tmp_path):
    monkeypatch.setenv("WIRELOOM_TRACKING", "off")
    seen = []

    def write(page, *, refresh):
        seen.append(page.experiment.objectives[0].epsilon)

    monkeypatch.setattr(LivePage, "write", write)
    objectives = [
        {"metric": "accuracy", "goal": "maximize", "epsilon": "auto"},
        {"metric": "flops", "goal": "minimize"},
    ]
    experiment = make(objectives=objectives, trials=2, confirm=None)
    folder = RunFolder.create(tmp_path / "run", experiment)
    done = run_search(experiment, folder, Console(quiet=True), SerialExecutor(fake()))
    folder.log.close()
    assert seen[0] == "auto"
    assert seen[-1] == done.views.experiment.objectives[0].epsilon > 0
