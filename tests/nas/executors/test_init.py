"""What every executor does. Another one joins by adding its name to the fixture ``executor``."""

import random
import shutil
import sys
import tempfile
from collections import Counter

import pytest

from graphs import Topology
from nas.executors.serial import SerialExecutor
from nas.jobs import Job, Outcome, Report
from nas.ledger import Ledger
from nas.records import Status
from nas.run_folder import RunFolder
from nas.study import Study
from trainers.recipe import Recipe


@pytest.fixture(scope="module")
def cores():
    """Ray on two cores, for the tests of a module. The path of its folder must be short: sockets are in it."""
    import ray

    folder = tempfile.mkdtemp(prefix="wl-")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=folder)
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def with_ray(trainer):
    from ray import cloudpickle

    from nas.executors.ray import RayExecutor

    # Workers cannot import what tests are in.
    cloudpickle.register_pickle_by_value(sys.modules[type(trainer).__module__])
    return RayExecutor(trainer)


EXECUTORS = {"serial": SerialExecutor, "ray": with_ray}


class Recorded:
    """An executor that remembers the jobs it was given, wherever they run."""

    def __init__(self, executor) -> None:
        self.executor = executor
        self.jobs = []

    def __getattr__(self, name):
        return getattr(self.executor, name)

    def submit(self, job):
        self.jobs.append(job)
        self.executor.submit(job)


@pytest.fixture(params=["serial", pytest.param("ray", marks=pytest.mark.slow)])
def executor(request):
    """Makes an executor that runs the given stand-in for training."""
    if request.param == "ray":
        request.getfixturevalue("cores")
    made = []

    def build(trainer):
        made.append(Recorded(EXECUTORS[request.param](trainer)))
        return made[-1]

    yield build
    for one in made:
        one.close()


def job(number=4, *, steps=10, report_at=(2, 5), ask_at=(5,)) -> Job:
    from graphs import families

    topology = families.residual(depth=2 + number).to_dict()
    return Job(number, topology, "digits", {}, Recipe(), 0, steps, 1.0, report_at, ask_at)


class TestAnyExecutor:
    def test_messages_come_in_order_and_end_with_the_outcome(self, executor, fake):
        subject = executor(fake())
        subject.submit(job())
        messages = [subject.next() for _ in range(2)]
        subject.answer(4, True)
        messages += [subject.next(), subject.next()]
        assert [type(message) for message in messages] == [Report, Report, Report, Outcome]
        assert [message.step for message in messages] == [2, 5, 10, 10]
        assert [getattr(message, "asks", None) for message in messages] == [False, True, False, None]
        assert messages[-1].kind == "complete"

    def test_an_answer_ends_the_job_that_asked(self, executor, fake):
        subject = executor(fake())
        subject.submit(job())
        assert [subject.next().step, subject.next().step] == [2, 5]
        subject.answer(4, False)
        outcome = subject.next()
        assert (outcome.kind, outcome.step) == ("stopped", 5)

    def test_a_no_does_not_leak_into_the_next_job(self, executor, fake):
        subject = executor(fake())
        for number, answer in ((1, False), (2, True)):
            subject.submit(job(number, report_at=(5,)))
            subject.next()
            subject.answer(number, answer)
            while not isinstance(message := subject.next(), Outcome):
                pass
        assert (message.number, message.kind) == (2, "complete")

    def test_close_lets_go_of_a_job_under_way(self, executor, fake):
        subject = executor(fake())
        subject.submit(job())
        subject.next()
        subject.close()
        subject.close()

    def test_every_way_a_trial_can_end_in_a_search(self, executor, fake, make, wide, tmp_path):
        trainer = fake(ends=("complete",) * 3 + ("diverged", "failed"))
        experiment = make(space=wide, trials=40, search={"sampler": "random", "halving": {}}, limits={"flops": 9_000})
        folder = RunFolder.create(tmp_path / "run", experiment)
        subject = executor(trainer)
        study = Study(experiment, folder, subject)
        study.run()
        folder.log.close()
        trials = study.ledger.ordered()
        count = Counter(trial.status for trial in trials)
        assert set(count) == set(Status)
        assert count.total() - count[Status.REJECTED] == 40 == len(subject.jobs)
        assert study.ledger.open == {}, "no trial is left running"
        assert {ask.verdict for ask in study.ledger.asks} == {"job", "rejected", "duplicate"}
        digests = [Topology.from_dict(job.topology).digest for job in subject.jobs]
        assert len(set(digests)) == len(digests), "nothing is trained twice"
        assert Ledger.replay(folder.log.events) == study.ledger

    def test_the_outcome_does_not_depend_on_the_process_that_ran_before(self, executor, fake):
        def whole():
            subject = executor(fake())
            subject.submit(job(report_at=(), ask_at=()))
            while not isinstance(message := subject.next(), Outcome):
                pass
            return message

        first = whole()
        random.seed(1)
        assert whole() == first
