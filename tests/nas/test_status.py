import json
import shutil
from dataclasses import replace

import pytest

from nas import events
from nas.errors import RunFolderError
from nas.events import EventLog
from nas.executors.serial import SerialExecutor
from nas.front import pareto
from nas.noise import train_replicas, with_noise
from nas.run_folder import RunFolder
from nas.status import Watch
from nas.study import Study


@pytest.fixture
def cut(finished, tmp_path):
    """A copy of a real run whose driver died in the middle of a line."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    lines = (run / "events.jsonl").read_bytes().splitlines(keepends=True)
    (run / "events.jsonl").write_bytes(b"".join(lines[:20]) + lines[20][:9])
    return run


def test_of_a_finished_run(finished, wireloom, tree):
    before = tree(finished)
    ran = wireloom("status", finished)
    assert ran.status == 0, ran.err
    assert "tiny: finished, 8 of 8 trials finished" in ran.out
    assert "driver: none; the last event is of 20" in ran.out
    assert "Measured from accuracy 10.00 % (chance); flops" in ran.out
    data = json.loads(wireloom("status", finished, "--json").out)
    assert data["state"] == "finished"
    assert data["trials"]["finished"] == 8
    assert data["hypervolume"]["value"] == data["hypervolume"]["curve"][-1]["hypervolume"] > 0
    assert data["estimated_end"] is None
    assert tree(finished) == before  # it only looks


def test_of_an_interrupted_run(cut, wireloom, tree):
    before = tree(cut)
    ran = wireloom("status", cut, "--watch")  # there is nothing to wait for
    assert ran.status == 0, ran.err
    assert "tiny: interrupted" in ran.out
    assert "the same command with --resume continues" in ran.out
    assert tree(cut) == before


def test_of_a_run_that_goes_on(cut):
    log = EventLog(cut / "events.jsonl")
    watch, waited = Watch(cut), []

    def wait(seconds):
        waited.append(seconds)
        if len(waited) == 2:
            log.close()

    seen = [found.state for found in watch.follow(wait)]
    assert seen == ["running", "running", "interrupted"]
    assert waited == [2.0, 2.0]


def test_each_look_reads_what_is_new(finished, tmp_path, monkeypatch):
    run = shutil.copytree(finished, tmp_path / "run")
    log = run / "events.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    read = []
    mistyped = events._mistyped  # looks at each event that is read
    monkeypatch.setattr(events, "_mistyped", lambda event: read.append(1) or mistyped(event))
    log.write_bytes(b"".join(lines[:30]))
    watch, fresh = Watch(run), []
    for end in (30, 60, 60, len(lines), 10):  # at last another run, of the same name
        log.write_bytes(b"".join(lines[:end]))
        read.clear()
        found = watch.look()
        fresh.append(len(read))
        assert replace(found, now=0.0) == replace(Watch(run).look(), now=0.0)
    assert fresh == [30, 30, 0, len(lines) - 60, 10]


def test_of_a_driver_that_left_no_name(cut, wireloom):
    log = EventLog(cut / "events.jsonl")
    (cut / "driver.json").unlink()
    assert "driver: alive, but it could not write its name" in wireloom("status", cut).out
    log.close()


def test_of_no_run(tmp_path, wireloom):
    with pytest.raises(RunFolderError, match="is no run's folder"):
        Watch(tmp_path)
    ran = wireloom("status", tmp_path)
    assert ran.status == 2
    assert "Traceback" not in ran.err


def test_the_front_is_that_of_the_measured_seed_noise(make, fake, wide, tmp_path):
    objectives = [
        {"metric": "accuracy", "goal": "maximize", "epsilon": "auto"},
        {"metric": "flops", "goal": "minimize"},
    ]
    experiment = make(objectives=objectives, space=wide, trials=16, search={"sampler": "random"}, confirm=None)
    folder = RunFolder.create(tmp_path / "run", experiment)
    study = Study(experiment, folder, SerialExecutor(fake()))
    train_replicas(study, lambda _: None)
    study.experiment = with_noise(experiment, study.ledger)
    study.run()
    folder.log.close()
    watch = Watch(tmp_path / "run")
    trials = study.ledger.ordered()
    expected = pareto(trials, study.experiment.objectives)
    assert watch.look().front == expected != pareto(trials, experiment.objectives)
    assert watch.experiment.objectives == study.experiment.objectives
