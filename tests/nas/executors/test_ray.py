"""What can go wrong with trials and workers, in real processes. What every executor does is in test_init.py."""

import time
from collections import Counter

import pytest
from odd_trials import Odd, alive, job, outcome, wait_for

from nas.errors import RunFolderError
from nas.ledger import Ledger
from nas.records import Status
from nas.run_folder import RunFolder
from nas.study import Study

pytestmark = pytest.mark.cluster


def test_a_worker_that_is_killed_loses_its_trial_and_the_next_one_runs(on_ray, tmp_path):
    subject = on_ray(Odd({0: "killed!"}, tmp_path))
    subject.submit(job())
    lost = outcome(subject)
    assert lost.kind == "lost"
    assert lost.reason
    assert "\n" not in lost.reason
    subject.submit(job())
    assert outcome(subject).kind == "complete"


def test_a_trial_that_hangs_in_c_is_ended_when_its_time_is_over(on_ray, tmp_path):
    subject = on_ray(Odd({0: "hangs"}, tmp_path))
    subject.submit(job(seconds_limit=1.0))
    subject.submit(job(1, seconds_limit=100.0))
    ends = {one.number: one for one in (outcome(subject), outcome(subject))}
    assert (ends[0].kind, ends[0].cause) == ("failed", "time")
    assert ends[0].reason == "out of time: ended after resources.seconds, 1 s"
    assert ends[1].kind == "complete"


def test_the_time_limit_is_that_of_the_trial_and_not_of_waiting_for_a_machine(on_ray, tmp_path):
    subject = on_ray(Odd({0: "waits"}, tmp_path), most=1)
    subject.submit(job(0))
    subject.submit(job(1, seconds_limit=60.0))
    subject.submit(job(2, seconds_limit=60.0))
    assert outcome(subject).number == 1
    assert outcome(subject).number == 2
    (tmp_path / "go").touch()
    assert outcome(subject).kind == "complete"


def test_a_fault_of_the_disk_reaches_the_study(on_ray, tmp_path):
    subject = on_ray(Odd({0: "disk"}, tmp_path))
    subject.submit(job())
    with pytest.raises(RunFolderError, match="the disk is full"):
        outcome(subject)


def test_what_nobody_foresaw_is_a_failed_trial(on_ray, tmp_path):
    subject = on_ray(Odd({0: "broken"}, tmp_path))
    subject.submit(job())
    failed = outcome(subject)
    assert failed.kind == "failed"
    assert "nothing like it was foreseen" in failed.reason
    assert "LookupError" in failed.traceback


@pytest.mark.parametrize("shared", [True, False])
def test_weights_are_there_when_the_outcome_is(on_ray, tmp_path, shared, monkeypatch):
    monkeypatch.setattr("nas.executors.worker.PIECE", 1000)
    content = bytes(range(256)) * 13
    subject = on_ray(Odd({}, tmp_path, content), folder=tmp_path if shared else None)
    subject.submit(job(weights=tmp_path / "w.safetensors"))
    assert outcome(subject).kind == "complete"
    assert (tmp_path / "w.safetensors").read_bytes() == content
    subject.close()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".w")]


def test_closing_ends_what_runs_within_seconds_and_more_can_be_submitted(on_ray, tmp_path):
    subject = on_ray(Odd({0: "hangs!", 1: "hangs!"}, tmp_path))
    for number in (0, 1):
        subject.submit(job(number))
    wait_for(lambda: len(list(tmp_path.glob("began-*"))) == 2)
    began = time.monotonic()
    subject.close()
    assert time.monotonic() - began < 40, "ray gives a process that hangs in C ten seconds"
    wait_for(lambda: not any(alive(int(path.name[4:])) for path in tmp_path.glob("pid-*")))
    subject.submit(job(0))
    assert outcome(subject).kind == "complete"


def test_a_search_with_all_of_it_accounts_for_every_trial(on_ray, make, wide, tmp_path):
    fates = {0: "killed!", 2: "hangs", 3: "broken", 5: "leaves!", 7: "killed", 8: "killed!"}
    experiment = make(space=wide, trials=12, search={"sampler": "random", "retries": 2}, resources={"seconds": 20.0})
    folder = RunFolder.create(tmp_path / "run", experiment)
    notes = tmp_path / "notes"
    notes.mkdir()
    study = Study(experiment, folder, on_ray(Odd(fates, notes), folder=folder.path))
    study.run()
    study.executor.close()
    folder.log.close()
    assert study.ledger.open == {}
    trials = {trial.number: trial for trial in study.ledger.ordered()}
    count = Counter(trial.status for trial in trials.values())
    assert count == {Status.COMPLETE: 9, Status.FAILED: 3}
    assert "out of time" in trials[2].reason
    assert "nothing like it" in trials[3].reason
    assert "its worker died 3 times" in trials[7].reason
    results = [event["number"] for event in folder.log.events if event["event"] == "result"]
    assert sorted(results) == list(range(12)), "told once each"
    assert Ledger.replay(folder.log.events) == study.ledger
