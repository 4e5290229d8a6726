"""The harness of experiments/faults.py: what it would notice, and a short run of it with every fault once."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "experiments"))

pytest.importorskip("ray")

from fault_report import Conformance, of_budget, of_trials
from faults import KINDS, experiment, schedule

from nas.events import read
from nas.executors.serial import SerialExecutor
from nas.experiment import Experiment
from nas.jobs import Outcome, Report
from nas.run_folder import RunFolder
from nas.study import Study
from nas.views import Views
from search_space.document import dump

ROOT = Path(__file__).parents[1]
TRIALS = 3


def pretended(job):
    """Trains nothing, and reports what a trial reports."""
    for step in (*job.report_at, job.steps):
        yield Report(job.number, step, 1.0, 0.5, 0.7, False)
    return Outcome(job.number, "complete", job.steps, 0.25, 0.5 + job.number / 100, 0.7)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a search that nothing happened to."""
    path = tmp_path_factory.mktemp("faults")
    (path / "unhurt.yaml").write_text(dump(experiment(TRIALS, 0)))
    loaded = Experiment.load(path / "unhurt.yaml")
    folder = RunFolder.create(path / "run", loaded)
    study = Study(loaded, folder, SerialExecutor(pretended))
    study.run()
    folder.log.append("end", trained=study.ledger.trained, asks=len(study.ledger.asks))
    folder.log.close()
    Views(folder.path, loaded, study.ledger).write_tables()
    return folder.path


def found(run, events, fates=None, trials=TRIALS, marks=None):
    report = Conformance()
    of_trials(report, events, trials, fates or {}, marks or run)
    of_budget(report, events, run)
    return report


def test_nothing_is_wrong_where_nothing_happened(run):
    report = found(run, read(run / "events.jsonl"))
    assert report.wrong == []
    counts = {name: report.counts[name] for name in ("accounted", "lost", "duplicated", "left RUNNING", "COMPLETE")}
    assert counts == {"accounted": 3, "lost": 0, "duplicated": 0, "left RUNNING": 0, "COMPLETE": 3}


def test_a_lost_trial_is_noticed(run):
    events = [event for event in read(run / "events.jsonl") if (event["event"], event.get("number")) != ("result", 1)]
    report = found(run, events)
    assert (report.counts["lost"], report.counts["left RUNNING"]) == (1, 1)
    assert any(text.startswith("trials told") for text in report.wrong)


def test_a_trial_told_twice_is_noticed(run):
    events = read(run / "events.jsonl")
    twice = [event for event in events if event["event"] == "result"][:1]
    report = Conformance()
    of_trials(report, [*events[:-1], *twice, events[-1]], TRIALS, {}, run)
    assert report.counts["duplicated"] == 1
    assert any(text.startswith("trials told") for text in report.wrong)


def test_a_fault_without_its_end_is_noticed(run, tmp_path):
    (tmp_path / "struck-1").touch()
    report = found(run, read(run / "events.jsonl"), {1: "hang", 2: "worker"}, marks=tmp_path)
    assert any("trial 1, hang: status: 'COMPLETE'" in text for text in report.wrong)
    assert any("trial 1, hang: its reason is None" in text for text in report.wrong)
    assert any("faults that never struck: ['2 (worker)']" in text for text in report.wrong)


def test_flops_that_do_not_add_up_are_noticed(run):
    events = read(run / "events.jsonl")
    doctored = [
        event | {"spent_flops": 2 * event["spent_flops"]} if "spent_flops" in event else event for event in events
    ]
    wrong = found(run, doctored).wrong
    assert sum("it spent" in text for text in wrong) == TRIALS
    assert any(text.startswith("spending, in trials.csv") for text in wrong)


def test_what_an_interruption_cost_is_added_up_as_the_program_does(run):
    """A restart in the middle of the last trial, which then finds half of its reports kept."""
    events = list(read(run / "events.jsonl"))
    reports = [event for event in events if event["event"] == "report" and event["number"] == TRIALS - 1]
    last = events.index(reports[-1]) + 1
    restart = {"event": "restart", "number": TRIALS - 1, "reason": "its worker died"}
    again = [event | {"kept": position < 5} for position, event in enumerate(reports)]
    report = found(run, [*events[:last], restart, *again, *events[last:]])
    assert report.wrong == []
    assert report.counts["GFLOPs lost"] > 0
    assert report.restarts == Counter({"a neighbour's fault": 1})


def test_a_schedule_is_that_of_its_seed_and_has_every_kind():
    plan = schedule(200, 10, 1)
    assert plan == schedule(200, 10, 1) != schedule(200, 10, 2)
    assert [number // 10 for number in plan] == list(range(20))
    count = Counter(plan.values())
    assert set(count) == set(KINDS)
    assert max(count.values()) - min(count.values()) <= 1


@pytest.mark.cluster
@pytest.mark.parametrize(
    "options",
    ["--seeds 0 --trials 27 --every 3", "--seeds 19 --trials 6 --every 6 --limit"],
    ids=["every fault once", "a disk on which files may not grow"],
)
def test_nothing_is_lost_whatever_dies(options, tmp_path):
    pytest.importorskip("mlflow")
    command = [sys.executable, str(ROOT / "experiments" / "faults.py"), *options.split()]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| lost | 0 |" in done.stdout
    assert "| faults | 9 |" in done.stdout or "--limit" in options
