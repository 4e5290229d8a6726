"""Trials that go on from where they were: the checkpoint of a trial, and what the study makes of it."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from graphs import families
from nas.errors import RunFolderError
from nas.evaluate import evaluate
from nas.events import read
from nas.jobs import Job, Outcome, Report
from nas.keeping import Keeper, Stopwatch
from nas.ledger import Ledger
from nas.records import Status
from nas.spending import spending
from nas.storage import StorageError
from trainers import checkpoint
from trainers.recipe import Recipe

BACKBONE = {"kind": "mixer", "dim": 8, "patch": 4}
ROOT = Path(__file__).parents[2]


def job(keep: Path, **fields: object) -> Job:
    given = {"report_at": (4, 8, 12), "ask_at": (4, 8), "keep": keep, "keep_seconds": 0.0, **fields}
    recipe = Recipe(batch=32, lr=4e-3, threads=1)
    return Job(7, families.dense(depth=2).to_dict(), "digits", BACKBONE, recipe, 5, 12, 1e6, **given)


def run(
    trial: Job, stop: int | None = None, written: Callable[[Path], None] = lambda path: None
) -> tuple[list[Report], Outcome | None]:
    """Reports and outcome of a job that is told to stop at a step, or is left there as a kill would leave it."""
    said: list[Report] = []
    running = evaluate(trial, written)
    answer = None
    while True:
        try:
            said.append(running.send(answer))
        except StopIteration as end:
            return said, end.value
        if said[-1].step == stop and not trial.waits:
            return said, None
        answer = said[-1].step != stop


def without_seconds(outcome: Outcome | None) -> Outcome:
    assert outcome is not None
    return replace(outcome, seconds=0.0)


@pytest.fixture
def keep(tmp_path):
    return tmp_path / "checkpoints" / "trial.safetensors"


class TestATrialGoesOn:
    @pytest.mark.parametrize("stop", [8, 12])
    def test_as_if_it_had_never_stopped(self, keep, tmp_path, stop):
        whole, ended = run(replace(job(keep), keep=None, weights=tmp_path / "whole"))
        first, none = run(job(keep), stop=stop)
        assert none is None
        again, outcome = run(job(keep, weights=tmp_path / "again"))
        kept = [report for report in again if report.kept]
        assert [report.step for report in kept] == [step for step in (4, 8) if step < stop]
        assert not any(report.asks for report in kept), "what was answered is not asked again"
        plain = [replace(report, kept=False, asks=False) for report in again]
        assert plain == [replace(report, asks=False) for report in whole]
        assert first == whole[: len(first)]
        assert without_seconds(outcome) == without_seconds(ended)
        tensors = [checkpoint.load(tmp_path / name)[0] for name in ("whole", "again")]
        assert all((tensors[0][name] == tensor).all() for name, tensor in tensors[1].items())

    def test_seconds_are_those_of_all_its_parts(self, keep):
        run(job(keep), stop=8)
        before = float(checkpoint.read_metadata(keep)["seconds"])
        _, outcome = run(job(keep))
        assert before > 0.0
        assert outcome.seconds > before

    def test_one_that_waits_keeps_its_state_and_one_that_is_stopped_does_not(self, keep):
        late = {"keep_seconds": 1e9}
        _, stopped = run(job(keep, waits=True, **late), stop=8)
        assert (stopped.kind, stopped.step) == ("stopped", 8)
        assert checkpoint.read_metadata(keep)["step"] == "8"
        again, outcome = run(job(keep, waits=True, ask_at=(), **late))
        assert [(report.step, report.kept) for report in again] == [(4, True), (8, True), (12, False)]
        assert outcome.kind == "complete"
        keep.unlink()
        running = evaluate(job(keep, **late))
        assert [next(running).step, running.send(True).step] == [4, 8]
        with pytest.raises(StopIteration):
            running.send(False)
        assert not keep.exists()

    def test_a_checkpoint_is_written_as_often_as_asked(self, keep):
        written = []
        for _ in evaluate(job(keep, ask_at=()), written.append):
            pass
        assert written == [keep] * 12
        keep.unlink()
        for _ in evaluate(job(keep, ask_at=(), keep_seconds=1e9), written.append):
            pass
        assert len(written) == 12
        assert not keep.exists()

    def test_storage_that_is_away_is_no_fault_of_the_topologys(self, keep):
        asked = []

        def away(path):
            asked.append(path)
            raise StorageError("out of reach")

        _, outcome = run(job(keep), written=away)
        assert outcome is not None
        assert outcome.kind == "complete"
        assert asked == [keep] * 12  # it is tried each time

    @pytest.mark.parametrize("change", ["seed", "half", "text"])
    def test_the_checkpoint_of_something_else_is_worth_nothing(self, keep, change):
        whole, ended = run(replace(job(keep), keep=None))
        run(replace(job(keep), seed=6 if change == "seed" else 5), stop=8)
        if change != "seed":
            content = keep.read_bytes()
            keep.write_bytes(content[: len(content) // 2] if change == "half" else b"hello")
        again, outcome = run(job(keep))
        assert not any(report.kept for report in again)
        assert again == whole
        assert without_seconds(outcome) == without_seconds(ended)

    def test_one_whose_tensors_are_damaged_is_begun_again(self, keep):
        run(job(keep), stop=8)
        tensors, metadata = checkpoint.load(keep)
        del tensors["losses"]
        checkpoint.save(keep, tensors, metadata)
        _, outcome = run(job(keep))
        assert outcome.kind == "lost"
        assert "damaged" in outcome.reason
        assert not keep.exists()

    def test_one_that_cannot_be_written_is_the_fault_of_the_disk(self, keep, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("trainers.checkpoint.save", full)
        with pytest.raises(RunFolderError, match=r"state cannot be written: No space left.*--resume"):
            run(job(keep))


def test_writing_is_not_training(tmp_path, monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr("nas.keeping.time.perf_counter", lambda: float(next(now)))
    watch = Stopwatch()
    keeper = Keeper(tmp_path / "a", 0.0, watch, lambda path: next(now))
    watch.run(True)  # 0
    assert keeper.notes()["seconds"] == "1.0"  # 1: written from here
    keeper.saved()  # to 3, with 2 for bringing it elsewhere
    watch.run(False)  # 4
    assert watch.seconds == 2.0


PROMOTION = {"sampler": "random", "halving": {"form": "promotion", "rungs": 3, "keep": 0.34}}


def rising(fake, *, checkpoints):
    """A trainer that keeps its reports where a checkpoint goes, as the real one does with the state."""

    def trainer(job):
        past = json.loads(job.keep.read_text()) if checkpoints and job.keep.exists() else []
        for step in past:
            yield Report(job.number, step, 1.0, step / job.steps, 1.0, False, kept=True)
        inner = fake()(job)
        answer = None
        while True:
            try:
                report = inner.send(answer)
            except StopIteration as end:
                return end.value
            if report.step in past:
                answer = True
                continue
            answer = yield report
            past.append(report.step)
            if report.asks and not answer:
                job.keep.parent.mkdir(exist_ok=True)
                job.keep.write_text(json.dumps(past))

    return trainer


class TestTheStudy:
    def test_a_promoted_trial_goes_on_and_pays_once(self, make, study, wide, fake):
        done = study(make(space=wide, trials=24, search=PROMOTION), rising(fake, checkpoints=True))
        promoted = [trial for trial in done.ledger.ordered() if done.ledger.promotions.get(trial.number)]
        assert len(promoted) > 4
        for trial in promoted:
            assert trial.spent_flops == trial.curve[-1].flops
        parts = spending(done.ledger)
        assert parts["earlier parts of promoted trials"] == 0.0
        assert parts["lost to interruptions"] == 0.0
        assert done.ledger == Ledger.replay(read(done.folder.log.path))
        waiting = {done.folder.checkpoint_file(number) for number in done.rungs.waiting}
        assert set((done.folder.path / "checkpoints").iterdir()) == waiting, "the others are done with theirs"

    def test_without_checkpoints_every_part_is_paid_for(self, make, study, wide, fake):
        done = study(make(space=wide, trials=24, search=PROMOTION), rising(fake, checkpoints=False))
        assert spending(done.ledger)["earlier parts of promoted trials"] > 0.0

    def test_a_lost_worker_costs_what_it_had_done_and_no_trial(self, make, study, wide, fake):
        plain = study(make(space=wide, trials=6, search={"sampler": "random"}), fake())
        shutil.rmtree(plain.folder.path)
        lost = set()

        def trainer(job):
            if job.number not in lost and job.number != 2:
                lost.add(job.number)
                running = fake()(job)
                yield next(running)
                return Outcome(job.number, "lost", 0, 0.0, reason="its node left")
            return (yield from fake()(job))

        done = study(make(space=wide, trials=6, search={"sampler": "random"}), trainer)
        assert lost == {0, 1, 3, 4, 5}
        assert done.ledger.ordered() == plain.ledger.ordered()
        first = [trial.curve[0].flops for trial in plain.ledger.ordered() if trial.number != 2]
        assert done.ledger.lost == sum(first)
        assert done.ledger == Ledger.replay(read(done.folder.log.path))
        restarts = [event for event in read(done.folder.log.path) if event["event"] == "restart"]
        assert [event["reason"] for event in restarts] == ["its node left"] * 5

    def test_a_trial_that_kills_its_worker_each_time_fails(self, make, study, wide, fake):
        runs = []

        def trainer(job):
            runs.append((job.number, job.last))
            if job.number == 1:
                return Outcome(job.number, "lost", 0, 0.0, reason="killed by signal 9")
            return (yield from fake()(job))

        done = study(make(space=wide, trials=4, search={"sampler": "random", "retries": 2}), trainer)
        assert [run for run in runs if run[0] == 1] == [(1, False), (1, False), (1, True)]
        failed = done.ledger.trials[1]
        assert failed.status is Status.FAILED
        assert failed.reason == "its worker died 3 times: killed by signal 9"
        assert sum(trial.status.trained for trial in done.ledger.ordered()) == 4


def event(kind, **fields):
    return {"event": kind, "number": 0, **fields}


def report(step, **fields):
    return event("report", point={"step": step, "flops": 10.0 * step, "train_loss": 1.0}, **fields)


def test_what_a_crash_cost_is_what_lay_behind_the_checkpoint():
    ledger = Ledger(open={0: {"number": 0}})
    for each in (report(4), report(8), event("restart")):
        ledger.apply(each)
    assert ledger.lost == 80.0
    for each in (report(4, kept=True), report(8)):
        ledger.apply(each)
    assert ledger.lost == 40.0
    for each in (report(12), event("restart"), report(4, kept=True), report(8, kept=True), report(12, kept=True)):
        ledger.apply(each)
    assert ledger.lost == 40.0, "nothing more: the checkpoint was as far as the log"


@pytest.mark.slow
def test_a_killed_search_goes_on_from_a_checkpoint(write, tmp_path):
    """The driver is killed with SIGKILL while a trial is under way; nothing but the second part is trained again."""
    search = {"sampler": "random", "checkpoint_seconds": 0.2}
    train = {"budget_gflops": 1.0, "batch": 32, "lr": 4.0e-3, "warmup": 0.1, "threads": 1}
    path = write(search=search, train=train, trials=2, confirm=None)

    def command(out):
        return [sys.executable, "-m", "nas", "search", str(path), "--out", str(out)]

    environment = {"WIRELOOM_TRACKING": "off", "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    log = tmp_path / "killed" / "events.jsonl"
    running = subprocess.Popen(command(tmp_path / "killed"), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not log.exists() or sum(event["event"] == "report" for event in read(log)) < 4:
        assert time.monotonic() < deadline, "the trial never got to its fourth report"
        assert running.poll() is None, "the search ended before it could be killed"
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    for arguments in ([*command(tmp_path / "killed"), "--resume"], command(tmp_path / "whole")):
        subprocess.run(arguments, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    killed, whole = (Ledger.replay(read(tmp_path / name / "events.jsonl")) for name in ("killed", "whole"))
    events = read(log)
    assert any(event.get("kept", False) for event in events)
    assert killed.lost < max(point.flops for point in whole.trials[0].curve) / 2
    for mine, theirs in zip(killed.ordered(), whole.ordered(), strict=True):
        assert replace(mine, seconds=None) == replace(theirs, seconds=None)
    assert not (tmp_path / "killed" / "checkpoints").exists()
