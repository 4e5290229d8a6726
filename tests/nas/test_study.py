import json
import shutil
import time
from collections import Counter
from dataclasses import replace

import pytest

from graphs import Topology, TopologyError
from nas import interrupts
from nas.errors import RunFolderError
from nas.events import EventLog, read
from nas.executors.cluster import ClusterError
from nas.front import pareto
from nas.job_for import job_for
from nas.jobs import Outcome, Report
from nas.layers import Layers
from nas.ledger import Ledger
from nas.records import Status
from nas.run_folder import RunFolder
from nas.study import ASKS_PER_TRIAL, TOGETHER, Study
from nas.tables import write_trials
from search_space.space import Space

MIXED = ("complete", "complete", "complete", "diverged", "failed")


def table(study):
    """Everything of every trial that a table or a report could show."""
    return study.ledger.ordered()


def test_the_baselines_come_first_and_the_residual_network_before_all(make, study):
    done = study(make(trials=6))
    asks = done.ledger.asks
    assert [ask.point.family for ask in asks[:3]] == ["residual", "dense", "hyper"]
    assert [ask.source for ask in asks[:3]] == ["baseline"] * 3
    # As deep as can be; dense, whose site is a whole mixer block, has two of ours.
    assert [ask.point.depth for ask in asks[:3]] == [3, 2, 3]
    assert asks[1].point.to_dict()["dense.period"] == 2
    assert "baseline" not in {ask.source for ask in asks[3:]}
    without = study(make(trials=2, search={"baselines": False}), folder=done.folder.path.with_name("other"))
    assert {ask.source for ask in without.ledger.asks} <= {"tpe", "random"}


def test_baselines_are_never_stopped_early(make, study, fake):
    trainer = fake()
    study(make(trials=8), trainer)
    assert [bool(job.ask_at) for job in trainer.jobs] == [False] * 3 + [True] * 5
    rungs = {job.ask_at for job in trainer.jobs[3:]}
    assert all(len(rung) == 2 for rung in rungs)
    for job in trainer.jobs:
        assert set(job.ask_at) <= set(job.report_at)
        assert job.report_at[-1] == job.steps


def test_one_seed_one_search_another_seed_another(make, study, wide, tmp_path):
    first = study(make(space=wide, trials=25), folder=tmp_path / "a")
    again = study(make(space=wide, trials=25), folder=tmp_path / "b")
    other = study(make(space=wide, trials=25, seed=4), folder=tmp_path / "c")
    assert table(first) == table(again)
    assert [ask.point for ask in first.ledger.asks] != [ask.point for ask in other.ledger.asks]
    assert {trial.seed for trial in table(other)} == {4}


def test_hundreds_of_trials_of_every_kind_end_as_they_should(make, study, wide, fake):
    trainer = fake(ends=MIXED)
    search = {"sampler": "random", "halving": {"rungs": 3, "keep": 0.34}}
    done = study(make(space=wide, trials=80, search=search, limits={"flops": 10_000}), trainer)
    ledger, objectives = done.ledger, done.experiment.objectives
    count = Counter(trial.status for trial in table(done))
    assert set(count) == set(Status)
    assert count.total() - count[Status.REJECTED] == 80 == len(trainer.jobs)
    assert ledger.open == {}
    assert [trial.number for trial in table(done)] == list(range(count.total()))
    assert ledger == Ledger.replay(read(done.folder.log.path))
    assert not done.exhausted
    digests = [job.metadata["digest"] for job in trainer.jobs]
    assert len(set(digests)) == len(digests)
    for ask in ledger.asks:
        if ask.verdict == "duplicate":
            assert ledger.trials[ask.twin].digest == ask.digest
            assert ask.number is None
    for trial in table(done):
        trace = done.folder.path / "failures" / f"trial-{trial.number:04d}.txt"
        assert trace.exists() == (trial.status is Status.FAILED)
        assert (trial.reason is None) == (trial.status is Status.COMPLETE)
        if trial.status is Status.REJECTED:
            assert trial.flops > 10_000
            assert (trial.spent_flops, trial.objectives, trial.curve) == (0.0, {}, ())
            assert trial.reason == f"flops {trial.flops:,.0f} is over the limit 10,000"
        elif trial.status in (Status.DIVERGED, Status.FAILED):
            assert trial.objectives == {}
        elif trial.status is Status.PRUNED:
            last = trial.curve[-1]
            assert (trial.accuracy, trial.loss, trial.spent_flops) == (last.accuracy, last.loss, last.flops)
            assert trial.objectives == {"accuracy": last.accuracy, "flops": trial.flops}
            assert trial.spent_flops < 0.5 * trial.budget_flops
        else:
            assert 0.9 * trial.budget_flops < trial.spent_flops <= trial.budget_flops
    front = pareto(table(done), objectives)
    assert front
    assert {trial.status for trial in front} == {Status.COMPLETE}
    kept = {path.name for path in done.folder.weights.iterdir()}
    assert kept == {done.folder.weight_name(trial.number) for trial in front}


def test_the_trace_of_a_crash_is_in_the_folder(make, study, fake):
    done = study(make(trials=2), fake(ends=("failed",)))
    assert (done.folder.path / "failures" / "trial-0001.txt").read_text() == "Traceback: a crash"
    assert [trial.reason for trial in table(done)] == ["made to be failed"] * 2


def test_the_decision_at_a_rung_is_the_one_of_everybody_there_so_far(make, study, wide):
    done = study(make(space=wide, trials=40, search={"sampler": "random", "halving": {"rungs": 2, "keep": 0.4}}))
    baselines = {trial.number for trial in table(done) if trial.source == "baseline"}
    seen = {}
    for trial in table(done):
        steps = done._plan(trial.number).steps
        at = next(point for point in trial.curve if point.step == round(0.4 * steps))
        seen[trial.number] = (-at.accuracy, trial.flops)
        stopped = trial.status is Status.PRUNED
        assert stopped == (trial.number not in baselines and not Layers(seen).goes_on(trial.number, 0.4))
        assert (at is trial.curve[-1]) == stopped
    assert 5 < sum(trial.status is Status.PRUNED for trial in table(done)) < 35


def test_without_halving_everybody_is_trained_in_full(make, study, wide):
    done = study(make(space=wide, trials=20, search={"sampler": "random"}))
    assert {trial.status for trial in table(done)} == {Status.COMPLETE}


def test_a_small_space_ends_the_search_after_twenty_asks_a_trial(make, study, fake):
    trainer = fake()
    space = {"depth": {"low": 2, "high": 3}, "families": {"residual": {}}}
    done = study(make(space=space, trials=5, search={"sampler": "random"}), trainer)
    assert done.exhausted
    assert len(done.ledger.asks) == ASKS_PER_TRIAL * 5 == 100
    assert len(trainer.jobs) == 2
    assert Counter(ask.verdict for ask in done.ledger.asks) == {"job": 2, "duplicate": 98}


def test_nothing_but_rejected_points_ends_too(make, study, fake):
    trainer = fake()
    done = study(make(trials=2, limits={"parameters": 1}), trainer)
    assert trainer.jobs == []
    assert len(done.ledger.asks) == 40
    assert {trial.status for trial in table(done)} == {Status.REJECTED}
    assert done.ledger.trained == 0


def test_a_budget_below_one_step_rejects_the_point_once(make, study, fake):
    trainer = fake()
    train = {"budget_gflops": 4.5e-4, "batch": 32, "lr": 1e-3, "warmup": 0.0}  # enough for the small ones alone
    space = {"depth": {"low": 2, "high": 3}, "families": {"residual": {}}}
    search = {"sampler": "random", "baselines": False}
    done = study(make(space=space, trials=2, train=train, search=search), trainer)
    rejected, trained = sorted(table(done), key=lambda trial: trial.status is Status.COMPLETE)
    assert (rejected.status, trained.status) == (Status.REJECTED, Status.COMPLETE)
    assert "less than one training step" in rejected.reason
    assert rejected.digest == done.experiment.space.topology(done.experiment.space.residual(3)).digest
    verdicts = Counter(ask.verdict for ask in done.ledger.asks)
    assert verdicts == {"rejected": 1, "job": 1, "duplicate": 38}


def test_an_illegal_point_is_rejected_with_the_reason(make, study, monkeypatch, fake):
    trainer = fake()
    whole = Space.topology

    def picky(self, point):
        if point.family == "dense":
            raise TopologyError("no such graph")
        return whole(self, point)

    monkeypatch.setattr(Space, "topology", picky)
    done = study(make(trials=12, search={"sampler": "random"}), trainer)
    illegal = [trial for trial in table(done) if trial.family == "dense"]
    assert illegal
    assert {(trial.status, trial.reason) for trial in illegal} == {(Status.REJECTED, "no such graph")}
    assert illegal[0].digest == f"illegal:{illegal[0].number}"
    assert illegal[0].topology is None
    assert len(trainer.jobs) == 12 == done.ledger.trained
    assert {design.point.family for design in done.designs if not design.runs} == {"dense"}


def test_observers_hear_of_everything_after_it_is_in_the_log(make, study, wide, tmp_path):
    heard = []

    class Witness:
        def asked(self, ask, reason):
            assert self.log()[-1]["event"] == "ask"
            heard.append(("asked", ask.verdict, reason is None))

        def reported(self, report, steps):
            assert self.log()[-1]["point"]["step"] == report.step <= steps

        def paused(self, trial):
            raise AssertionError("nobody waits in this form of halving")

        def finished(self, trial):
            last = [event for event in self.log() if event.get("number") == trial.number][-1]
            assert last["event"] == "result" or last["verdict"] == "rejected"
            heard.append(("finished", trial.number))

        def log(self):
            return read(tmp_path / "run" / "events.jsonl")

    experiment = make(space=wide, trials=10, limits={"flops": 9_500}, search={"sampler": "random"})
    done = study(experiment, observers=(Witness(),))
    assert [what[1] for what in heard if what[0] == "finished"] == [trial.number for trial in table(done)]
    asked = [what for what in heard if what[0] == "asked"]
    assert len(asked) == len(done.ledger.asks)
    assert all(trains == (verdict == "job") for _, verdict, trains in asked)


def test_nothing_is_deleted_before_the_reason_is_on_the_disk(make, study, wide, monkeypatch, tmp_path):
    experiment = make(space=wide, trials=12, search={"sampler": "random"})
    durable, needed, sync = [], [], EventLog.sync

    def watched(log):
        ledger = Ledger.replay(durable)  # which is what a power cut would leave
        for trial in pareto(ledger.ordered(), experiment.objectives):
            needed.append(trial.number)
            assert (tmp_path / "run" / "weights" / f"trial-{trial.number:04d}.safetensors").exists()
        sync(log)
        durable[:] = log.events

    monkeypatch.setattr(EventLog, "sync", watched)
    study(experiment)
    assert len(set(needed)) > 3


class TestResume:
    """A search cut off anywhere and resumed is the search that was never cut off."""

    @pytest.fixture
    def experiment(self, make, wide):
        return make(space=wide, trials=7, limits={"flops": 9_500})

    @pytest.fixture
    def whole(self, experiment, study, fake, tmp_path):
        return study(experiment, fake(ends=MIXED), folder=tmp_path / "whole")

    def cut(self, whole, folder, log):
        """A copy of a run as a crash leaves it: the log's beginning, and weights that it may or may not know of."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole.folder.path, folder)
        (folder / "events.jsonl").write_bytes(log)

    @pytest.mark.parametrize("stride", [9, pytest.param(1, marks=pytest.mark.slow)])
    def test_after_every_line(self, whole, experiment, study, fake, tmp_path, stride):
        lines = (whole.folder.path / "events.jsonl").read_bytes().splitlines(keepends=True)
        kinds = set()
        for number in range(1, len(lines) + 1, stride):
            self.cut(whole, tmp_path / "cut", b"".join(lines[:number]))
            done = study(experiment, fake(ends=MIXED), folder=tmp_path / "cut")
            assert table(done) == table(whole), f"cut after line {number}"
            assert [ask.point for ask in done.ledger.asks] == [ask.point for ask in whole.ledger.asks]
            left = {path.name for path in done.folder.weights.iterdir()}
            assert left == {path.name for path in whole.folder.weights.iterdir()}
            kinds.add(json.loads(lines[number - 1])["event"])
        assert kinds >= ({"start", "report"} if stride > 1 else {"start", "ask", "report", "result"})
        assert {trial.status for trial in table(whole)} >= {Status.COMPLETE, Status.PRUNED, Status.REJECTED}

    def test_in_the_middle_of_every_byte_of_a_line(self, whole, experiment, study, fake, tmp_path):
        log = (whole.folder.path / "events.jsonl").read_bytes()
        start = log.rindex(b"\n", 0, -1) + 1
        assert json.loads(log[start:])["event"] == "result"
        self.cut(whole, tmp_path / "cut", log)
        for length in range(start, len(log)):
            (tmp_path / "cut" / "events.jsonl").write_bytes(log[:length])
            done = study(experiment, fake(ends=MIXED), folder=tmp_path / "cut")
            assert table(done) == table(whole), f"cut after byte {length}"

    def test_again_and_again(self, whole, experiment, study, fake, tmp_path):
        """A driver that dies at every third event still gets there."""

        class Dies:
            def __init__(self):
                self.left = 3

            def tick(self, *_):
                self.left -= 1
                if not self.left:
                    raise KeyboardInterrupt

            asked = reported = finished = tick

        observed, deaths = None, 0
        while observed is None:
            # Ever longer lives: a trial is not shorter than its reports.
            observer = Dies()
            observer.left = 3 + deaths
            try:
                observed = study(experiment, fake(ends=MIXED), folder=tmp_path / "dies", observers=(observer,))
            except KeyboardInterrupt:
                deaths += 1
        assert deaths > 5
        assert table(observed) == table(whole)

    def test_the_curve_is_that_of_the_attempt_that_ended(self, whole, experiment, study, fake, tmp_path):
        """The second attempt of a trial may end before the points that the first one reported."""
        lines = (whole.folder.path / "events.jsonl").read_bytes().splitlines(keepends=True)
        events = [json.loads(line) for line in lines]
        long = next(trial for trial in table(whole) if len(trial.curve) > 5)
        steps = [(event["event"], event.get("number")) for event in events]
        last = max(i for i, step in enumerate(steps) if step == ("report", long.number))
        for trainer in (fake(ends=("failed",)), fails_at_once):  # half-way, and before its first report
            self.cut(whole, tmp_path / "cut", b"".join(lines[: last + 1]))
            done = study(experiment, trainer, folder=tmp_path / "cut")
            again = done.ledger.trials[long.number]
            assert again.status is Status.FAILED
            assert [point for point in again.curve if point.flops > again.spent_flops] == []
            assert done.ledger == Ledger.replay(read(tmp_path / "cut" / "events.jsonl"))

    def test_what_was_trained_is_not_trained_again(self, whole, experiment, study, fake):
        trainer = fake(ends=MIXED)
        front = {path.name for path in whole.folder.weights.iterdir()}
        beaten = next(t for t in table(whole) if whole.folder.weight_name(t.number) not in front)
        whole.folder.weight_file(beaten.number).touch()  # the crash came before it was dropped
        done = study(experiment, trainer, folder=whole.folder.path)
        assert trainer.jobs == []
        assert table(done) == table(whole)
        assert {path.name for path in whole.folder.weights.iterdir()} == front

    def test_more_trials_extend_the_search(self, whole, experiment, study, fake, make, wide, tmp_path):
        longer = experiment.replace(trials=11)
        extended = study(longer, fake(ends=MIXED), folder=whole.folder.path)
        assert table(extended)[: len(table(whole))] == table(whole)
        assert sum(trial.status.trained for trial in table(extended)) == 11
        assert table(study(longer, fake(ends=MIXED), folder=tmp_path / "at once")) == table(extended)


def fails_at_once(job):
    yield from ()
    return Outcome(job.number, "failed", 0, 0.0, reason="at once")


def test_a_trainer_that_raises_stops_the_search_and_loses_nothing(make, study, fake):
    """A crash inside a trial is an outcome; what gets out of the trainer is our own bug, and is not hidden."""

    def broken(job):
        yield from ()
        raise RuntimeError("a bug of ours")

    with pytest.raises(RuntimeError, match="a bug of ours"):
        study(make(trials=4), broken)
    done = study(make(trials=4), fake())
    assert sum(trial.status.trained for trial in table(done)) == 4


def test_measured_seconds_may_be_an_objective(make, study):
    objectives = [{"metric": "accuracy", "goal": "maximize"}, {"metric": "seconds", "goal": "minimize"}]
    done = study(make(trials=5, objectives=objectives))
    complete = [trial for trial in table(done) if trial.status is Status.COMPLETE]
    assert complete
    assert {trial.objectives["seconds"] for trial in complete} == {0.25}


def test_a_job_carries_everything_a_worker_needs(make, study, fake, tmp_path):
    trainer = fake()
    done = study(make(trials=4), trainer)
    job = trainer.jobs[-1]
    trial = table(done)[-1]
    assert Topology.from_dict(job.topology).digest == trial.digest == job.metadata["digest"]
    assert (job.number, job.data, job.seed, job.recipe.threads, job.recipe.batch) == (trial.number, "digits", 3, 1, 32)
    assert job.steps * job.flops_per_step <= trial.budget_flops < (job.steps + 1) * job.flops_per_step
    assert not job.test
    again = job_for(done.experiment, done._plan(trial.number), number=trial.number, seed=9)
    assert replace(again, seed=3, report_at=job.report_at, ask_at=job.ask_at) == replace(
        job, metadata={}, weights=None, keep=None
    )
    assert job.weights == done.folder.weight_file(trial.number)
    assert (job.keep, job.keep_seconds) == (done.folder.checkpoint_file(trial.number), 60.0)
    assert not job.waits


def test_times_are_kept_by_what_they_were_spent_on(make, study):
    done = study(make(trials=4))
    assert {"proposing", "planning", "log", "training"} <= set(done.times)
    assert all(seconds > 0 for seconds in done.times.values())


def test_the_table_of_an_interrupted_search_holds_the_finished_trials(make, study, fake, tmp_path, rows):
    class Stops(fake):
        def __call__(self, job):
            if len(self.jobs) == 2:
                raise KeyboardInterrupt
            return super().__call__(job)

    with pytest.raises(KeyboardInterrupt):
        study(make(), Stops())
    ledger = Ledger.replay(read(tmp_path / "run" / "events.jsonl"))
    assert list(ledger.open) == [2]
    write_trials(tmp_path / "trials.csv", ledger.ordered(), make().objectives)
    assert [row["number"] for row in rows(tmp_path / "trials.csv")] == ["0", "1"]


def test_a_ctrl_c_that_got_lost_arrives_at_the_next_message(make, study, fake, monkeypatch):
    def pressed(job):
        for report in fake()(job):
            interrupts._pressed.set()  # while Python is in a callback, where it is dropped
            yield report

    try:
        with pytest.raises(KeyboardInterrupt):
            study(make(trials=1), pressed)
    finally:
        interrupts._pressed.clear()


class Many:
    """An executor of 40 workers that end in the order in which they began."""

    slots = 40

    def __init__(self):
        self.jobs, self.durable, self.said = [], [], False

    def submit(self, job):
        assert job.number in self.durable, "a worker learns of what a power cut would take back"
        self.jobs.append(job)

    def next(self):
        job = self.jobs[0]
        self.said = not self.said
        if self.said:
            return Report(job.number, job.steps, 1.0, job.number / 100, 1.0, False)
        del self.jobs[0]
        return Outcome(job.number, "complete", job.steps, 1.0, job.number / 100, 1.0)


@pytest.fixture
def many(make, wide, monkeypatch, tmp_path):
    """Searches 50 trials on the executor; gives the study, and at each sync how many jobs ran and had ended."""

    def run(executor, *observers):
        experiment = make(space=wide, trials=50, search={"sampler": "random", "halving": None})
        folder = RunFolder.create(tmp_path / "run", experiment)
        sync, syncs = EventLog.sync, []

        def watched(log):
            dirty = log._dirty
            sync(log)
            if not dirty:
                return
            kinds = [event["event"] for event in log.events]
            executor.durable = [event.get("number") for event in log.events if event["event"] == "ask"]
            syncs.append((len(executor.jobs), kinds.count("result")))

        monkeypatch.setattr(EventLog, "sync", watched)
        study = Study(experiment, folder, executor, observers)
        try:
            study.run()
        finally:
            folder.log.close()
        return study, syncs

    return run


def test_jobs_of_many_free_workers_go_to_the_disk_together(many):
    study, syncs = many(Many())
    assert study.ledger.finished == 50
    running = [jobs for jobs, _ in syncs]
    assert running[:4] == [0, TOGETHER, 2 * TOGETHER, 39], "thrice for 40 workers, then once for each that is free"


class Large(Many):
    """One in which four workers that are free are few."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def ready(self, seconds):
        self.waits.append(seconds)
        return True


def test_free_workers_of_a_large_cluster_go_to_the_disk_together(many, monkeypatch):
    monkeypatch.setattr("nas.patience.SHARE", 10)
    monkeypatch.setattr("nas.patience.SOON", 60.0)
    executor = Large()
    study, syncs = many(executor)
    assert study.ledger.finished == 50
    assert syncs[3:6] == [(36, 4), (36, 8), (36, 12)]
    assert len(syncs) == 3 + 13, "for 40 workers that begin, and for every four that end"
    assert executor.waits
    assert all(0.0 < wait <= 60.0 for wait in executor.waits)


def test_one_that_is_free_is_served_when_no_other_joins_it_soon(many, monkeypatch):
    class Slow(Large):
        def ready(self, seconds):
            time.sleep(seconds)
            return False

    monkeypatch.setattr("nas.patience.SHARE", 10)
    monkeypatch.setattr("nas.patience.SOON", 0.01)
    executor = Slow()
    study, syncs = many(executor)
    assert study.ledger.finished == 50
    assert syncs[3:6] == [(39, 1), (39, 2), (39, 3)]


class Heard:
    """An observer that hears of ends."""

    asked = reported = paused = staticmethod(lambda *given: None)

    def __init__(self, error=None):
        self.trials, self.error = [], error

    def finished(self, trial):
        self.trials.append(trial.number)
        if self.error is not None:
            raise self.error


class Stopping(Large):
    """One that is gone as soon as a worker waits for others."""

    def ready(self, seconds):
        interrupts._pressed.set()
        raise KeyboardInterrupt


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr("nas.patience.SHARE", 10)
    yield
    interrupts._pressed.clear()


def test_what_has_ended_is_told_when_ctrl_c_comes_while_free_workers_wait(many, few):
    executor, heard = Stopping(), Heard()
    with pytest.raises(KeyboardInterrupt):
        many(executor, heard)
    assert heard.trials == [0]


def test_what_has_ended_is_told_when_the_cluster_is_gone(many, few):
    class Gone(Large):
        @property
        def slots(self):
            if self.waits:
                raise ClusterError("gone")
            return 40

    heard = Heard()
    with pytest.raises(ClusterError, match="gone"):
        many(Gone(), heard)
    assert heard.trials == [0]


def test_why_a_search_stopped_is_not_lost_in_what_its_end_brings(many, few):
    heard = Heard(ValueError("no server"))
    with pytest.raises(KeyboardInterrupt) as stopped:
        many(Stopping(), heard)
    assert heard.trials == [0]
    assert stopped.value.__notes__ == ["Then what had ended could not be told: ValueError('no server')"]


def test_a_log_that_could_not_be_synced_is_not_tried_again(many, few, monkeypatch):
    tried = []

    def full(file):
        tried.append(file)
        raise OSError(28, "No space left on device")

    class Filling(Large):
        def submit(self, job):
            super().submit(job)
            monkeypatch.setattr("nas.events._to_disk", full)

    with pytest.raises(RunFolderError, match="No space left"):
        many(Filling())
    assert len(tried) == 1


def test_a_node_that_goes_takes_slots_along_and_not_the_search(make, wide, tmp_path):
    class Leaving(Many):
        slots = 3

        def submit(self, job):
            self.jobs.append(job)

        def next(self):
            self.slots = 1
            return super().next()

    experiment = make(space=wide, trials=6, search={"sampler": "random", "halving": None})
    folder = RunFolder.create(tmp_path / "run", experiment)
    study = Study(experiment, folder, Leaving())
    study.run()
    folder.log.close()
    assert study.ledger.finished == 6
