import csv
from types import SimpleNamespace

import pytest

from nas.confirm import Comparison, compare, confirm, fresh_seeds, rows, write
from nas.jobs import Outcome
from nas.run_folder import RunFolder
from nas.study import Study


def event(digest, seed, accuracy, status="COMPLETE"):
    return {
        "event": "confirm", "seq": 9, "trial": 1, "family": "hyper", "digest": digest, "seed": seed, "status": status,
        "accuracy": accuracy, "loss": 0.1, "spent_flops": 5.0, "seconds": 0.25,
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


def test_the_words_follow_the_interval():
    def said(low, high):
        return str(Comparison(3, 0.9, 0.01, 0.8, 0.02, 0.1, low, high))

    assert "95 % interval -0.10 to +0.20, which includes zero" in said(-0.001, 0.002)
    assert "95 % interval +0.10 to +0.20, which excludes zero" in said(0.001, 0.002)
    assert "which excludes zero" in said(-0.002, -0.001)
    assert "which includes zero" in said(0.0, 0.1)
    assert "on 3 fresh seeds" in said(0, 1)
    assert "better" not in said(0.001, 0.002)


def test_only_seeds_on_which_both_completed_are_compared():
    table = confirmed({1: 0.9, 2: 0.9, 3: 0.9}, {2: 0.8, 3: 0.8, 4: 0.1})
    assert compare(table, "b", "r").seeds == 2
    table["b", 2] = event("b", 2, None, "DIVERGED")
    assert compare(table, "b", "r") is None  # one seed has no interval
    assert compare(table, "b", "b") is None
    assert compare({}, "b", "r") is None


def test_fresh_seeds_are_not_the_searchs():
    assert list(fresh_seeds(3, 3)) == [4, 5, 6]


def test_the_table_reads_back_exactly(tmp_path):
    table = rows({("b", 1): event("b", 1, 0.1 + 0.2), ("b", 2): event("b", 2, None, "FAILED")})
    write(tmp_path / "confirm.csv", table)
    with (tmp_path / "confirm.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert list(first) == ["trial", "family", "digest", "seed", "status", "accuracy", "loss", "spent_flops", "seconds"]
    assert float(first["accuracy"]) == 0.1 + 0.2
    assert (second["accuracy"], second["status"]) == ("", "FAILED")


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
        done = run(make(confirm={"seeds": 2}))
        digests = [digest for digest, _ in done.study.ledger.confirmed]
        assert len(set(digests)) in (1, 2)
        assert [seed for _, seed in done.study.ledger.confirmed] == [4, 5] * len(set(digests))
        assert [job.seed for job in done.jobs] == [4, 5] * len(set(digests))
        assert all(job.weights is None and job.ask_at == () and job.report_at == () for job in done.jobs)
        assert all("confirming trial" in line for line in done.said)

    def test_what_was_confirmed_is_not_trained_again(self, run, make):
        whole = run(make(confirm={"seeds": 2}))
        again = run(make(confirm={"seeds": 2}))
        assert again.jobs == []
        assert again.study.ledger.confirmed == whole.study.ledger.confirmed

    def test_cut_off_it_goes_on_where_it_was(self, run, make):
        with pytest.raises(KeyboardInterrupt):
            run(make(confirm={"seeds": 3}), lines=1)
        done = run(make(confirm={"seeds": 3}))
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
