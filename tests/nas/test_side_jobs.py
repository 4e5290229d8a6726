from collections import deque

import pytest

from graphs import families
from nas.jobs import NO_TRIAL, Job, Outcome, Report
from nas.side_jobs import run
from trainers.recipe import Recipe


def jobs(count):
    topology = families.residual(depth=2).to_dict()
    recipe = Recipe(32, 1e-3, 0.0, 0.0, 1.0, 1)
    return [Job(NO_TRIAL - at, topology, "digits", {}, recipe, at, 4, 1.0, ()) for at in range(count)]


class Slots:
    """An executor of several slots whose jobs each report once; ``ends`` are how a job's attempts end, then complete.

    The job that was submitted last speaks first.
    """

    def __init__(self, slots, ends=None):
        self.slots = slots
        self.ends = ends or {}
        self.submitted = []
        self.last = []
        self.most = 0
        self._says = {}

    def submit(self, job):
        assert job.number not in self._says
        self.submitted.append(job.number)
        self.last.append(job.last)
        kind = self.ends.get(job.number, []).pop(0) if self.ends.get(job.number) else "complete"
        outcome = Outcome(job.number, kind, 4, 0.0, 0.5, 1.0, reason=f"made to be {kind}")
        self._says[job.number] = deque([Report(job.number, 2, 1.0, 0.5, 1.0, asks=False), outcome])
        self.most = max(self.most, len(self._says))

    def next(self):
        number = list(self._says)[-1]
        message = self._says[number].popleft()
        if isinstance(message, Outcome):
            del self._says[number]
        return message


def test_all_slots_are_filled_and_every_job_ends_once():
    executor = Slots(3)
    ended = [
        (job.number, outcome.number, outcome.kind) for job, outcome in run(executor, executor.next, jobs(7), retries=2)
    ]
    assert sorted(ended) == sorted((job.number, job.number, "complete") for job in jobs(7))
    assert executor.most == 3


def test_a_lost_job_is_run_again_and_each_attempt_is_heard():
    executor, heard = Slots(2, {-2: ["lost", "lost"]}), []
    ended = list(
        run(executor, executor.next, jobs(3), retries=2, heard=lambda job, said: heard.append((job.number, said)))
    )
    assert sorted(outcome.kind for _, outcome in ended) == ["complete"] * 3
    assert executor.submitted.count(-2) == 3
    assert [type(said).__name__ for number, said in heard if number == -2] == [
        "Report", "Outcome", "Report", "Outcome", "Report",
    ]  # fmt: skip


def test_one_that_kills_its_worker_each_time_failed():
    executor, heard = Slots(1, {-1: ["lost", "lost"]}), []
    ((_, outcome),) = run(executor, executor.next, jobs(1), retries=1, heard=lambda job, said: heard.append(said))
    assert (outcome.kind, outcome.reason) == ("failed", "its worker died 2 times: made to be lost")
    assert [type(said).__name__ for said in heard] == ["Report", "Outcome", "Report"]  # the end is no attempt's begin
    assert executor.last == [False, True]


def test_jobs_of_one_number_are_a_mistake():
    executor = Slots(2)
    with pytest.raises(AssertionError, match="a number of its own"):
        list(run(executor, executor.next, [*jobs(1), *jobs(1)], retries=0))
