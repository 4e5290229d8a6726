"""What every executor does: tests to be run with a fixture ``executor``, which makes them."""

import random
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace

import torch

from graphs import Topology
from nas.executors.serial import SerialExecutor
from nas.jobs import Job, Outcome, Report
from nas.ledger import Ledger
from nas.records import Status
from nas.run_folder import RunFolder
from nas.study import Study
from nas.views import Views
from trainers import checkpoint
from trainers.recipe import Recipe


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


@contextmanager
def making(kind):
    """Makes executors of a kind that run the given stand-in for training, and closes them."""
    made = []

    def build(trainer):
        made.append(Recorded(kind(trainer)))
        return made[-1]

    yield build
    for one in made:
        one.close()


def job(number=4, *, steps=10, report_at=(2, 5), ask_at=(5,)) -> Job:
    from graphs import families

    topology = families.residual(depth=2 + number).to_dict()
    return Job(number, topology, "digits", {}, Recipe(), 0, steps, 1.0, report_at, ask_at)


class AnyExecutor:
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

    def test_it_says_when_it_has_something_to_say(self, executor, fake):
        subject = executor(fake())
        subject.submit(job(ask_at=()))
        found = []
        while not found or isinstance(found[-1], Report):
            assert subject.ready(120.0)
            found.append(subject.next())
        assert len(found) == 4

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


def does_what_serial_does(subject, make, tmp_path, rows) -> None:
    """One trial at a time: the same trials, statuses, records and files for the same seed, really trained."""
    changes = {"halving": {"rungs": 3, "keep": 0.34}, "sampler": "tpe"}
    experiment = make(trials=6, search=changes)
    made = {}
    for name, one in (("serial", SerialExecutor()), ("other", subject)):
        folder = RunFolder.create(tmp_path / name, experiment)
        study = Study(experiment, folder, one)
        study.run()
        one.close()
        folder.log.close()
        Views(folder.path, experiment, study.ledger).write_tables()
        made[name] = study.ledger
    assert rows(tmp_path / "other" / "trials.csv") == rows(tmp_path / "serial" / "trials.csv")
    places = {name: tmp_path / name for name in made}
    files = {name: sorted(str(p.relative_to(at)) for p in at.rglob("*") if p.is_file()) for name, at in places.items()}
    assert files["other"] == files["serial"]
    for mine, theirs in zip(made["other"].ordered(), made["serial"].ordered(), strict=True):
        assert replace(mine, seconds=0.0) == replace(theirs, seconds=0.0)
    weights = [name for name in files["other"] if name.endswith(".safetensors")]
    assert weights
    for name in weights:
        ours, theirs = (checkpoint.load(tmp_path / one / name)[0] for one in ("other", "serial"))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
