import csv
import re
from types import SimpleNamespace

import pytest

from nas.confirm import Pair, compare, confirm, fresh_seeds, openings, pair_of, rows, verdict, write
from nas.front import winner
from nas.jobs import Outcome
from nas.run_folder import RunFolder
from nas.study import Study


def event(digest, seed, test_accuracy, status="COMPLETE"):
    return {
        "event": "confirm", "seq": 9, "trial": 1, "family": "hyper", "depth": 4, "digest": digest, "seed": seed,
        "status": status, "accuracy": 0.5, "loss": 0.1, "test_accuracy": test_accuracy, "test_loss": 0.2,
        "spent_flops": 5.0, "seconds": 0.25,
    }  # fmt: skip


def confirmed(best, baseline):
    pairs = [("b", seed, value) for seed, value in best.items()] + [("r", s, v) for s, v in baseline.items()]
    return {(digest, seed): event(digest, seed, value) for digest, seed, value in pairs}


def test_the_paired_interval_by_hand():
    # Differences 0.01, 0.02, 0.03: mean 0.02, sd 0.01; Student's t at 97.5 % with two degrees of freedom is 4.302653.
    found = compare(confirmed({1: 0.91, 2: 0.92, 3: 0.93}, {1: 0.90, 2: 0.90, 3: 0.90}), "b", "r")
    assert found.seeds == 3
    assert (found.winner_mean, found.baseline_mean) == pytest.approx((0.92, 0.90))
    assert (found.winner_sd, found.baseline_sd) == pytest.approx((0.01, 0.0))
    assert found.difference == pytest.approx(0.02)
    half = 4.302653 * 0.01 / 3**0.5
    assert (found.low, found.high) == pytest.approx((0.02 - half, 0.02 + half), rel=1e-6)


def pair(baseline="r", problem=None):
    plan = None if baseline is None else SimpleNamespace(topology=SimpleNamespace(digest=baseline))
    return Pair(SimpleNamespace(number=7, family="hyper", digest="b"), 4, plan, problem)


def test_the_words_follow_the_interval_and_name_depths_and_split():
    def said(*gaps):
        gaps = dict(enumerate(gaps))
        return verdict(pair(), confirmed({s: 0.5 + gap for s, gap in gaps.items()}, dict.fromkeys(gaps, 0.5)))

    text = said(0.01, 0.02, 0.03)
    assert text.startswith("on 3 fresh seeds and the test split trial 7 (hyper, depth 4) has 52.00% (sd 1.00%)")
    assert "the residual network of the same depth, 4, has 50.00% (sd 0.00%)" in text
    assert "paired difference +2.00 points, 95 % interval on the test split -0.48 to +4.48, which includes zero" in text
    assert text.endswith("The test split was measured 6 times: at the end of each of these trainings.")
    assert "which excludes zero" in said(0.02, 0.021, 0.019)
    assert "which excludes zero" in said(-0.02, -0.021, -0.019)
    assert "which includes zero" in said(-0.02, 0.02)
    assert "better" not in said(0.02, 0.021, 0.019)


def test_words_where_there_is_nothing_to_compare():
    assert verdict(pair(), {}) == ""
    assert verdict(pair(), confirmed({}, {1: 0.5})) == ""  # an earlier winner's
    one = verdict(pair(), confirmed({1: 0.9, 2: 0.9}, {2: 0.8}))
    assert one.startswith(
        "no interval for trial 7 (hyper, depth 4) and the residual network of depth 4: fewer than two"
    )
    alone = verdict(pair(None, "traffic 9 is over the limit 8"), confirmed({1: 0.9, 2: 0.9}, {}))
    assert "trial 7 (hyper, depth 4) has nothing to be compared with: traffic 9 is over the limit 8." in alone
    assert "measured 2 times" in alone


def test_only_seeds_on_which_both_completed_are_compared():
    table = confirmed({1: 0.9, 2: 0.9, 3: 0.9}, {2: 0.8, 3: 0.8, 4: 0.1})
    assert compare(table, "b", "r").seeds == 2
    assert openings(table) == 6
    table["b", 2] = event("b", 2, None, "DIVERGED")
    assert compare(table, "b", "r") is None  # one seed has no interval
    assert openings(table) == 5
    assert compare(table, "b", "b") is None
    assert compare({}, "b", "r") is None


def test_fresh_seeds_are_not_the_searchs():
    assert list(fresh_seeds(3, 3)) == [4, 5, 6]


def test_the_table_reads_back_exactly(tmp_path):
    table = rows({("b", 1): event("b", 1, 0.1 + 0.2), ("b", 2): event("b", 2, None, "FAILED")})
    write(tmp_path / "confirm.csv", table)
    with (tmp_path / "confirm.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert list(first) == [
        "trial", "family", "depth", "digest", "seed", "status", "validation_accuracy", "validation_loss",
        "test_accuracy", "test_loss", "spent_flops", "seconds",
    ]  # fmt: skip
    assert float(first["test_accuracy"]) == 0.1 + 0.2
    assert (first["validation_accuracy"], first["depth"]) == ("0.5", "4")
    assert (second["test_accuracy"], second["status"]) == ("", "FAILED")


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
    found = pair_of(experiment, trials)
    assert found.winner == winner(trials, experiment.objectives)
    assert found.winner.family != "residual"
    assert found.baseline.topology.depth == found.depth == found.winner.point["depth"]
    assert str(found.baseline.topology) == f"residual(depth={found.depth})"
    assert pair_of(experiment, ()) is None


def test_a_winner_that_is_the_residual_network_has_no_other(searched):
    experiment, trials = searched(trials=1, **only("residual", 3))
    found = pair_of(experiment, trials)
    assert (found.baseline, found.problem) == (None, "it is the residual network of depth 3 itself")


def test_a_residual_network_over_the_limits_is_named(searched):
    # A chain with one edge reads and writes less than a residual network.
    experiment, trials = searched(trials=1, limits={"traffic": 15}, **only("wiring", 4, edges=1))
    found = pair_of(experiment, trials)
    assert found.baseline is None
    assert re.match(
        r"the residual network of depth 4 may not be trained: traffic \d+ is over the limit 15", found.problem
    )


class TestStudy:
    @pytest.fixture
    def run(self, fake, tmp_path):
        """Search and confirm in one folder, with what was trained for it; stop after ``lines`` of confirmation."""

        def confirmed(experiment, trainer=None, lines=None):
            from nas.executors.serial import SerialExecutor

            trainer = trainer or fake()
            path = tmp_path / "run"
            folder = RunFolder.resume(path, experiment) if path.exists() else RunFolder.create(path, experiment)
            study = Study(experiment, folder, SerialExecutor(trainer))
            said = []

            def say(message):
                if lines is not None and len(said) == lines:
                    raise KeyboardInterrupt
                said.append(message)

            try:
                study.run()
                searched = len(trainer.jobs)
                confirm(study, say)
            finally:
                folder.log.close()
            return SimpleNamespace(study=study, jobs=trainer.jobs[searched:], said=said)

        return confirmed

    def test_the_winner_and_the_residual_network_are_trained_on_each_fresh_seed(self, run, make):
        done = run(make(confirm={"seeds": 2}, **STREAMS))
        events = list(done.study.ledger.confirmed.values())
        best = winner(done.study.ledger.ordered(), done.study.experiment.objectives)
        assert best.family != "residual"
        depth = best.point["depth"]
        assert [event["family"] for event in events] == [best.family] * 2 + ["residual"] * 2
        assert {event["depth"] for event in events} == {depth}
        assert [event["seed"] for event in events] == [job.seed for job in done.jobs] == [4, 5, 4, 5]
        assert all(job.weights is None and job.ask_at == () and job.report_at == () for job in done.jobs)
        assert all(job.test for job in done.jobs)
        assert all(event["test_accuracy"] == event["accuracy"] / 2 for event in events)
        assert openings(done.study.ledger.confirmed) == 4
        assert done.said == [
            f"confirming {name} on seed {seed}"
            for name in (
                f"trial {best.number} ({best.family}, depth {depth})",
                f"the residual network of depth {depth}",
            )
            for seed in (4, 5)
        ]

    def test_no_trial_of_the_search_is_measured_on_the_test_split(self, run, make, fake):
        trainer = fake()
        run(make(confirm=None), trainer)
        assert trainer.jobs
        assert not any(job.test for job in trainer.jobs)

    def test_the_residual_network_need_not_have_been_a_trial(self, run, make):
        space = {"depth": 3, "families": {"wiring": {"edges": 1}}}
        done = run(make(confirm={"seeds": 1}, space=space, trials=2, search={"baselines": False}))
        ours, theirs = done.study.ledger.confirmed.values()
        assert (ours["family"], ours["trial"] in (0, 1)) == ("wiring", True)
        assert (theirs["family"], theirs["depth"], theirs["trial"]) == ("residual", 3, None)
        assert theirs["digest"] not in done.study.ledger.digests
        assert run(make(confirm={"seeds": 1}, space=space, trials=2, search={"baselines": False})).jobs == []

    def test_a_winner_without_a_match_is_confirmed_alone_and_says_why(self, run, make):
        done = run(make(confirm={"seeds": 1}, trials=1, space={"depth": 3, "families": {"residual": {}}}))
        assert done.said == [
            "confirming trial 0 (residual, depth 3) alone: it is the residual network of depth 3 itself",
            "confirming trial 0 (residual, depth 3) on seed 4",
        ]
        assert len(done.study.ledger.confirmed) == 1

    def test_what_was_confirmed_is_not_trained_again(self, run, make):
        whole = run(make(confirm={"seeds": 2}))
        again = run(make(confirm={"seeds": 2}))
        assert again.jobs == []
        assert again.study.ledger.confirmed == whole.study.ledger.confirmed

    def test_cut_off_it_goes_on_where_it_was(self, run, make):
        with pytest.raises(KeyboardInterrupt):
            run(make(confirm={"seeds": 3}, **STREAMS), lines=1)
        done = run(make(confirm={"seeds": 3}, **STREAMS))
        assert [job.seed for job in done.jobs][:2] == [5, 6]
        assert [seed for _, seed in done.study.ledger.confirmed][:3] == [4, 5, 6]

    def test_a_bad_seed_is_on_record(self, run, make, fake):
        class FailsLater(fake):
            def __call__(self, job):
                if job.seed == 4:
                    yield from ()
                    return Outcome(job.number, "failed", 0, 0.1, reason="no", traceback="trace")
                return (yield from super().__call__(job))

        ledger = run(make(), FailsLater()).study.ledger
        assert {(seed, event["status"]) for (_, seed), event in ledger.confirmed.items()} == {
            (4, "FAILED"),
            (5, "COMPLETE"),
        }

    def test_nothing_is_confirmed_without_being_asked_or_without_a_winner(self, run, make, fake):
        assert run(make(confirm=None)).jobs == []

    def test_no_winner_no_confirmation(self, run, make, fake):
        assert run(make(trials=3), fake(ends=("diverged",))).jobs == []
