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
