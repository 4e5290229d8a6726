import pytest

from nas import evaluate as module
from nas.executors.serial import SerialExecutor
from nas.jobs import Outcome, Report


def test_it_trains_for_real_unless_told_otherwise():
    assert SerialExecutor()._evaluate is module.evaluate
    assert SerialExecutor.slots == 1


def test_nothing_runs_until_a_message_is_asked_for_and_nothing_after_close():
    told = []

    def trial(job):
        told.append(f"began {job}")
        try:
            yield Report(job, 1, 1.0, 0.5, 0.7, False)
        finally:
            told.append("closed")
        return Outcome(job, "complete", 2, 0.1)

    executor = SerialExecutor(trial)
    executor.submit(3)
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
            answer = yield Report(job, step, 1.0, 0.5, 0.7, False)
            sent.append(answer)
        return Outcome(job, "complete", 3, 0.1)

    executor = SerialExecutor(trial)
    executor.submit(0)
    while not isinstance(executor.next(), Outcome):
        pass
    assert sent == [True] * 3
