import pytest

from graphs import families
from nas.executors import running as module
from nas.executors.cluster import ClusterError
from nas.executors.running import Running
from nas.jobs import Job, Outcome, Report
from trainers.recipe import Recipe

# As ray 2.60 says them.
DIED = """Failure # 1 (occurred at 2026-01-01_00-00-00)
The actor died unexpectedly before finishing this task.
\tclass_name: ResourceTrainable
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR"""
UNAVAILABLE = "The actor 1f is unavailable: The actor is temporarily unavailable: RpcError: Connection reset by peer."
MEMORY = "Task was killed due to the node running low on memory.\nMemory on the node was 9 GB / 10 GB"
CREATION = "The actor died because of an error raised in its creation task, ray::T.__init__\nLookupError: no torch"
TASK = "ray::T.train() (pid=1)\nLookupError: nothing like it"


def running(limit=None) -> Running:
    job = Job(3, families.residual(depth=2).to_dict(), "digits", {}, Recipe(), 0, 9, 1.0, (), seconds_limit=limit)
    return Running(job)


def test_what_a_lost_job_last_said_is_in_its_outcome():
    subject = running()
    assert subject.end(DIED) == Outcome(3, "lost", 0, 0.0, reason=DIED.splitlines()[-1])
    subject.heard([Report(3, 4, 1.0, 0.5, 0.7, False, seconds=2.5), Outcome(3, "complete", 9, 1.0)])
    assert subject.end(UNAVAILABLE) == Outcome(3, "lost", 4, 2.5, 0.5, 0.7, UNAVAILABLE)


def test_out_of_memory_and_out_of_time_are_evaluations():
    subject = running(limit=5.0)
    memory = subject.end(f"{DIED}\n{MEMORY}")
    assert isinstance(memory, Outcome)
    assert (memory.kind, memory.cause) == ("failed", "memory")
    assert memory.reason.startswith("out of memory")
    subject.overdue = True
    time = subject.end(DIED)
    assert isinstance(time, Outcome)
    assert (time.kind, time.cause, time.reason) == ("failed", "time", "out of time: ended after resources.seconds, 5 s")


def test_what_another_process_of_the_trial_failed_of_is_its_failure():
    said = "ray::T.train() (pid=1)\nnas.ranks.RankFailed: "
    memory, other = (running().end(said + what) for what in ("out of memory: all of it", "LookupError: what"))
    assert isinstance(memory, Outcome)
    assert isinstance(other, Outcome)
    assert (memory.kind, memory.cause, memory.reason) == ("failed", "memory", "out of memory: all of it")
    assert (other.kind, other.cause, other.reason) == ("failed", None, "LookupError: what")
    assert "ray::T.train()" in other.traceback


def test_a_worker_that_cannot_begin_ends_the_search():
    end = running().end(CREATION)
    assert isinstance(end, ClusterError)
    assert str(end) == "a worker cannot start: LookupError: no torch"


def test_anything_else_is_a_failed_trial():
    end = running().end(TASK)
    assert isinstance(end, Outcome)
    assert (end.kind, end.reason, end.traceback) == ("failed", "its worker failed: LookupError: nothing like it", TASK)


@pytest.mark.parametrize(
    ("limit", "since", "overdue", "late"),
    [(None, 0.0, False, False), (5.0, None, False, False), (5.0, 96.0, False, False), (5.0, 94.0, False, True),
     (5.0, 94.0, True, False)],
)  # fmt: skip
def test_time_counts_from_the_start_of_the_trial_and_once(monkeypatch, limit, since, overdue, late):
    monkeypatch.setattr(module.time, "monotonic", lambda: 100.0)
    subject = running(limit)
    subject.since, subject.overdue = since, overdue
    assert subject.late == late
