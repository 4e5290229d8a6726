from types import SimpleNamespace

import pytest

from nas import evaluate as module
from nas.executors import running
from nas.executors.serial import SerialExecutor
from nas.jobs import Outcome, Report


def job(number=0, seconds=None):
    return SimpleNamespace(number=number, seconds_limit=seconds)


def test_it_trains_for_real_unless_told_otherwise():
    assert SerialExecutor()._evaluate is module.evaluate
    assert SerialExecutor.slots == 1


def test_nothing_runs_until_a_message_is_asked_for_and_nothing_after_close():
    told = []

    def trial(job):
        told.append(f"began {job.number}")
        try:
            yield Report(job.number, 1, 1.0, 0.5, 0.7, False)
        finally:
            told.append("closed")
        return Outcome(job.number, "complete", 2, 0.1)

    executor = SerialExecutor(trial)
    executor.submit(job(3))
    assert told == []
    executor.next()
    executor.close()
    assert told == ["began 3", "closed"]
    executor.close()
    with pytest.raises(AssertionError, match="without a job"):
        executor.next()


def test_a_report_that_does_not_ask_needs_no_answer():
    sent = []

    def trial(job):
        for step in range(3):
            answer = yield Report(job.number, step, 1.0, 0.5, 0.7, False)
            sent.append(answer)
        return Outcome(job.number, "complete", 3, 0.1)

    executor = SerialExecutor(trial)
    executor.submit(job())
    while not isinstance(executor.next(), Outcome):
        pass
    assert sent == [True] * 3


@pytest.mark.parametrize(("answer", "kind", "cause"), [(None, "failed", "time"), (True, "failed", "time"),
                                                       (False, "stopped", None)])  # fmt: skip
def test_a_job_whose_time_is_over_ends_at_its_report(monkeypatch, answer, kind, cause):
    closed = []

    def trial(job):
        try:
            go_on = yield Report(job.number, 7, 1.0, 0.5, 0.7, answer is not None, seconds=2.0)
            return Outcome(job.number, "complete" if go_on else "stopped", 9, 0.1)
        finally:
            closed.append(True)

    now = [100.0]
    monkeypatch.setattr(running.time, "monotonic", lambda: now[0])
    executor = SerialExecutor(trial)
    executor.submit(job(4, seconds=5.0))
    report = executor.next()
    now[0] = 106.0
    if answer is not None:
        executor.answer(4, answer)
    end = executor.next()
    assert (report.step, end.kind, end.cause, closed) == (7, kind, cause, [True])
    if kind == "failed":
        assert (end.step, end.seconds, end.accuracy, end.loss) == (7, 2.0, 0.5, 0.7)
        assert end.reason == "out of time: ended after resources.seconds, 5 s"
    executor.submit(job(5, seconds=5.0))
    assert executor.next().number == 5, "the next one has its own time"
    executor.close()
