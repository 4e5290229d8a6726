import csv
import itertools
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from nas.confirm import (
    PILOT,
    SHARES,
    confirm,
    fresh_seeds,
    lineup_of,
    measurements,
    reports,
    rows,
    seeds_of,
    spread,
    write,
)
from nas.events import read
from nas.findings import findings
from nas.front import pareto, winner
from nas.jobs import Outcome
from nas.ledger import Ledger
from nas.run_folder import RunFolder
from nas.spending import spending
from nas.study import Study


def test_fresh_seeds_are_not_the_searchs():
    assert list(fresh_seeds(3, 3)) == [4, 5, 6]


def test_a_long_front_is_confirmed_along_its_length():
    assert spread(range(3), 8) == [0, 1, 2]
    assert spread(range(10), 4) == [0, 3, 6, 9]
    assert spread(range(10), 2) == [0, 9]
    assert spread(range(10), 1) == [0]


def event(digest, seed, test_accuracy, status="COMPLETE", **more):
    return {
        "event": "confirm", "seq": 9, "trial": 1, "family": "hyper", "depth": 4, "digest": digest, "seed": seed,
        "status": status, "accuracy": 0.5, "loss": 0.1, "test_accuracy": test_accuracy, "test_loss": 0.2,
        "spent_flops": 5.0, "seconds": 0.25, **more,
    }  # fmt: skip


def test_the_table_reads_back_exactly(tmp_path):
    ledger = Ledger()
    ledger.apply(event("b", 1, 0.1 + 0.2))
    ledger.apply(event("b", 2, None, "FAILED"))
    ledger.apply(event("b", 1, 0.25, event="curve", share=0.5))
    write(tmp_path / "confirm_seeds.csv", rows(ledger))
    with (tmp_path / "confirm_seeds.csv").open(newline="") as file:
        first, second, third = csv.DictReader(file)
    assert list(first) == [
        "trial", "family", "depth", "digest", "seed", "budget_share", "status", "validation_accuracy",
        "validation_loss", "test_accuracy", "test_loss", "spent_flops", "seconds",
    ]  # fmt: skip
    assert float(first["test_accuracy"]) == 0.1 + 0.2
    assert (first["validation_accuracy"], first["depth"], first["budget_share"]) == ("0.5", "4", "1.0")
    assert (second["test_accuracy"], second["status"]) == ("", "FAILED")
    assert third["budget_share"] == "0.5"
    assert measurements(ledger) == 2


@pytest.fixture
def searched(make, study, tmp_path):
    """The trials of a search in ``space`` and its experiment."""

    def run(**changes):
        done = study(make(**changes), folder=tmp_path / f"run{len(list(tmp_path.iterdir()))}")
        return done.experiment, done.ledger.ordered()

    return run


# A search whose winner is not the residual network, which is then trained beside it.
STREAMS = {"space": {"depth": 3, "families": {"hyper": {"streams": [2, 3, 4]}}}, "search": {"baselines": False}}


def only(family, depth, **settings):
    return {"space": {"depth": depth, "families": {family: settings}}}


def test_the_winner_meets_the_residual_network_of_its_own_depth(searched, wide):
    experiment, trials = searched(space=wide, trials=12, search={"sampler": "random"})
    found = lineup_of(experiment, trials)
    assert found.winner == winner(trials, experiment.objectives)
    assert found.winner.family != "residual"
    assert found.baseline.topology.depth == found.depth == found.winner.point["depth"]
    assert str(found.baseline.topology) == f"residual(depth={found.depth})"
    front = pareto(trials, experiment.objectives)
    assert (found.front, (found.winner, *found.others)) == (len(front), front)
    assert len(found.digests) == len(set(found.digests))
    assert lineup_of(experiment, ()) is None


def test_a_winner_that_is_the_residual_network_is_its_own_baseline(searched):
    experiment, trials = searched(trials=1, **only("residual", 3))
    found = lineup_of(experiment, trials)
    assert found.own
    assert found.digests == [found.winner.digest]


def test_a_residual_network_over_the_limits_is_named(searched):
    # A chain with one edge reads and writes less than a residual network.
    experiment, trials = searched(trials=1, limits={"traffic": 15}, **only("wiring", 4, edges=1))
    found = lineup_of(experiment, trials)
    assert found.baseline is None
    assert found.problem.startswith("the residual network of depth 4 may not be trained: traffic ")
    assert found.problem.endswith(" is over the limit 15")


class TestStudy:
    @pytest.fixture
    def run(self, fake, tmp_path):
        """Search and confirm in one folder, with what was trained for it; stop before saying ``lines``."""

        def confirmed(experiment, trainer=None, lines=None, name="run"):
            from nas.executors.serial import SerialExecutor

            trainer = trainer or fake()
            path = tmp_path / name
            folder = RunFolder.resume(path, experiment) if path.exists() else RunFolder.create(path, experiment)
            study = Study(experiment, folder, SerialExecutor(trainer))
            said, told = [], []

            def say(message):
                if lines is not None and len(said) == lines:
                    raise KeyboardInterrupt
                said.append(message)

            try:
                study.run()
                searched = len(trainer.jobs)
                confirm(study, say, told.append)
            finally:
                folder.log.close()
            return SimpleNamespace(
                study=study, ledger=study.ledger, jobs=trainer.jobs[searched:], said=said, told=told, path=path
            )

        return confirmed

    def test_the_front_and_the_residual_network_are_trained_on_each_fresh_seed(self, run, make, wide):
        done = run(make(confirm={"seeds": 2}, space=wide, trials=12, search={"sampler": "random"}))
        lineup = lineup_of(done.study.experiment, done.ledger.ordered())
        assert len(lineup.others) > 0
        assert list(done.ledger.confirmed) == [(digest, seed) for digest in lineup.digests for seed in (4, 5)]
        base = lineup.baseline.topology.digest
        assert list(done.ledger.budgets) == [(base, 4, share) for share in SHARES]
        assert len(done.jobs) == 2 * len(lineup.digests) + 3 == measurements(done.ledger)
        assert all(job.weights is None and job.ask_at == () for job in done.jobs)
        assert all(job.test for job in done.jobs)
        full = lineup.baseline.steps
        assert [job.steps / full for job in done.jobs[-3:]] == pytest.approx(SHARES, rel=0.1)
        assert done.told == [*done.ledger.confirmed.values(), *done.ledger.budgets.values()]

    def test_at_most_as_many_of_the_front_as_was_asked_for(self, run, make, wide):
        settings = {"seeds": 2, "front": 2, "curve": 0}
        done = run(make(confirm=settings, space=wide, trials=12, search={"sampler": "random"}))
        front = pareto(done.ledger.ordered(), done.study.experiment.objectives)
        assert len(front) > 2
        trained = {digest for digest, _ in done.ledger.confirmed}
        assert {front[0].digest, front[-1].digest} <= trained
        assert len(trained) == 3
        assert not done.ledger.budgets
        said = " ".join(findings(done.study.experiment, done.ledger).sentences())
        assert f"Confirmed: 2 of the {len(front)} members of the front, spread along it." in said

    def test_the_test_split_is_opened_once_before_it_is_measured_and_counted(self, run, make):
        done = run(make(confirm={"seeds": 2}, **STREAMS))
        events = [one["event"] for one in read(done.path / "events.jsonl")]
        assert events.count("open") == 1
        assert events.index("open") < events.index("confirm")
        opened = done.ledger.openings[0]
        assert opened["opening"] == 1
        assert set(opened["digests"]) == {digest for digest, _ in done.ledger.confirmed}
        found = findings(done.study.experiment, done.ledger)
        assert (found.openings, found.measured) == (1, len(done.jobs))
        assert "The test split was opened once," in found.verdict()

    def test_a_longer_search_with_another_front_opens_it_again(self, run, make, wide):
        def longer(trials):
            return make(confirm={"seeds": 2}, space=wide, trials=trials, search={"sampler": "random"})

        first = run(longer(4))
        again = run(longer(20))
        assert again.ledger.openings[0]["digests"] != again.ledger.openings[-1]["digests"]
        assert [one["opening"] for one in again.ledger.openings] == [1, 2]
        assert "opened 2 times" in findings(again.study.experiment, again.ledger).verdict()
        assert measurements(again.ledger) == len(first.jobs) + len(again.jobs)

    def test_no_trial_of_the_search_is_measured_on_the_test_split(self, run, make, fake):
        trainer = fake()
        run(make(confirm=None), trainer)
        assert trainer.jobs
        assert not any(job.test for job in trainer.jobs)

    def test_the_residual_network_need_not_have_been_a_trial(self, run, make):
        space = {"depth": 3, "families": {"wiring": {"edges": 1}}}
        settings = {"confirm": {"seeds": 1, "front": 1, "curve": 0}, "space": space, "trials": 2}
        done = run(make(search={"baselines": False}, **settings))
        ours, theirs = done.ledger.confirmed.values()
        assert (ours["family"], ours["trial"] in (0, 1)) == ("wiring", True)
        assert (theirs["family"], theirs["depth"], theirs["trial"]) == ("residual", 3, None)
        assert theirs["digest"] not in done.ledger.digests
        assert run(make(search={"baselines": False}, **settings)).jobs == []

    def test_a_winner_without_a_match_is_confirmed_alone_and_says_why(self, run, make):
        done = run(
            make(confirm={"seeds": 1, "curve": 0}, trials=1, limits={"traffic": 15}, **only("wiring", 4, edges=1))
        )
        assert done.said[0].startswith(
            "confirming trial 0 (wiring, depth 4) without a baseline: the residual network of"
        )
        assert done.said[1:] == ["confirming trial 0 (wiring, depth 4) on seed 4"]
        assert "nothing to be compared with: the residual" in findings(done.study.experiment, done.ledger).verdict()

    def test_a_winner_that_is_the_residual_network_is_trained_once_a_seed(self, run, make):
        done = run(make(confirm={"seeds": 2, "curve": 0}, trials=1, **only("residual", 3)))
        assert [seed for _, seed in done.ledger.confirmed] == [4, 5]
        said = findings(done.study.experiment, done.ledger).verdict()
        assert "it is the residual network of depth 3 itself" in said
        assert "better" not in said

    def test_what_was_confirmed_is_not_trained_again(self, run, make):
        whole = run(make(confirm={"seeds": 2}))
        again = run(make(confirm={"seeds": 2}))
        assert again.jobs == []
        assert again.ledger.confirmed == whole.ledger.confirmed

    @pytest.mark.parametrize("seeds", [2, "auto"])
    def test_cut_off_after_any_training_it_ends_as_if_it_had_not_been(self, run, make, seeds):
        experiment = make(confirm={"seeds": seeds, "difference": 0.2}, **STREAMS)
        whole = run(experiment, name="whole")
        for lines in (0, len(whole.said) // 2, len(whole.said) - 1):
            name = f"cut{lines}"
            with pytest.raises(KeyboardInterrupt):
                run(experiment, lines=lines, name=name)
            done = run(experiment, name=name)
            assert len(done.jobs) == len(whole.jobs) - lines

            def results(ledger):
                return [{k: v for k, v in one.items() if k not in ("seq", "at")} for one in
                        (*ledger.confirmed.values(), *ledger.budgets.values(), *ledger.openings)]  # fmt: skip

            assert results(done.ledger) == results(whole.ledger)
            ours, theirs = (json.dumps(findings(experiment, one.ledger).to_dict()) for one in (done, whole))
            assert ours == theirs

    def test_what_a_crash_left_of_a_training_that_had_ended_goes(self, run, make):
        experiment = make(confirm={"seeds": 2})
        left = run(experiment).path / "checkpoints"
        left.mkdir(exist_ok=True)
        for name in ("confirm-0123456789ab-4-100.safetensors", ".confirm-0123456789ab-4-100.safetensors.7"):
            (left / name).write_bytes(b"")
        again = run(experiment)
        assert again.jobs == []
        assert list(left.iterdir()) == []

    def test_the_number_of_seeds_from_the_spread_of_a_pilot(self, run, make, fake):
        done = run(make(confirm={"seeds": "auto", "difference": 0.2, "curve": 0}, **STREAMS))
        lineup = lineup_of(done.study.experiment, done.ledger.ordered())
        count = seeds_of(done.study.experiment, done.ledger, lineup)
        assert PILOT <= count <= 20
        base = lineup.baseline.topology.digest
        assert [(job.seed, job.topology["family"]) for job in done.jobs[:PILOT]] == [
            (seed, "residual") for seed in range(4, 4 + PILOT)
        ]
        for digest in lineup.digests:
            assert [seed for own, seed in done.ledger.confirmed if own == digest] == list(range(4, 4 + count))
        # Of the validation split: what the test split has is nobody's business.
        for seed in range(4, 4 + PILOT):
            done.ledger.confirmed[base, seed]["test_accuracy"] = seed * 9.0
        assert seeds_of(done.study.experiment, done.ledger, lineup) == count
        for seed in range(4, 4 + PILOT):  # no spread at all: at least the pilot's
            done.ledger.confirmed[base, seed]["accuracy"] = 0.5
        assert seeds_of(done.study.experiment, done.ledger, lineup) == PILOT
        for place, value in enumerate((0.3, 0.7, 0.3, 0.7, 0.5)):  # sd 0.2: n = 15.7
            done.ledger.confirmed[base, 4 + place]["accuracy"] = value
        assert seeds_of(done.study.experiment, done.ledger, lineup) == 16

    def test_a_bad_seed_is_on_record_and_compared_with_nobody(self, run, make, fake):
        class FailsLater(fake):
            def __call__(self, job):
                if job.seed == 4:
                    yield from ()
                    return Outcome(job.number, "failed", 0, 0.1, reason="no", traceback="trace")
                return (yield from super().__call__(job))

        done = run(make(confirm={"seeds": 3, "curve": 0}, **STREAMS), FailsLater())
        assert {(seed, event["status"]) for (_, seed), event in done.ledger.confirmed.items()} == {
            (4, "FAILED"),
            (5, "COMPLETE"),
            (6, "COMPLETE"),
        }
        assert findings(done.study.experiment, done.ledger).winner.comparison.seeds == 2

    def test_what_a_lost_worker_had_spent_is_counted(self, run, make, fake):
        experiment = make(confirm={"seeds": 2, "curve": 0}, **STREAMS)
        calm = run(experiment, name="calm")

        class Lost(fake):
            """The first attempt on seed 4 ends behind its second report; the next goes on behind the first."""

            def __call__(self, job):
                attempt = sum(one.number == job.number for one in self.jobs)
                training = super().__call__(job)
                answer = None
                for place in itertools.count(1):
                    try:
                        report = training.send(answer)
                    except StopIteration as end:
                        return end.value
                    cut = job.test and job.seed == 4 and attempt == 0 and place == 2
                    kept = job.test and job.seed == 4 and attempt == 1 and place == 1
                    answer = yield replace(report, kept=kept)
                    if cut:
                        return Outcome(job.number, "lost", report.step, 0.1, reason="its machine died")

        done = run(experiment, Lost())
        networks = {job.number: job for job in done.jobs if job.seed == 4}.values()
        assert len(networks) >= 2
        expected = sum((reports(job.steps)[1] - reports(job.steps)[0]) * job.flops_per_step for job in networks)
        assert spending(done.ledger)["lost to interruptions"] == pytest.approx(expected)
        assert spending(calm.ledger)["lost to interruptions"] == 0.0
        assert spending(done.ledger)["confirmation on fresh seeds"] == pytest.approx(
            spending(calm.ledger)["confirmation on fresh seeds"]
        )
        assert spending(Ledger.replay(read(done.path / "events.jsonl"))) == spending(done.ledger)

    def test_what_a_killed_driver_had_spent_is_counted(self, run, make, fake):
        experiment = make(confirm={"seeds": 2, "curve": 0}, **STREAMS)

        class Killed(fake):
            def __call__(self, job):
                for report in (training := super().__call__(job)):
                    if job.test and report.step == reports(job.steps)[1]:
                        training.close()
                        yield report
                        raise KeyboardInterrupt
                    yield report
                return Outcome(job.number, "complete", job.steps, 0.25, report.accuracy, report.loss)

        with pytest.raises(KeyboardInterrupt):
            run(experiment, Killed())
        done = run(experiment)
        spent = reports(done.jobs[0].steps)[1] * done.jobs[0].flops_per_step
        assert spending(done.ledger)["lost to interruptions"] == pytest.approx(spent)

    def test_nothing_is_confirmed_without_being_asked(self, run, make):
        done = run(make(confirm=None))
        assert done.jobs == []
        assert findings(done.study.experiment, done.ledger) is None

    def test_no_winner_no_confirmation(self, run, make, fake):
        assert run(make(trials=3), fake(ends=("diverged",))).jobs == []
