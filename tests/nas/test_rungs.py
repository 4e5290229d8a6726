"""Promotion: every trial waits at its first rung until it is among the best there."""

import json
import math
import random
import shutil
from collections import Counter

import pytest

from nas.errors import RunFolderError
from nas.events import EventLog, read
from nas.front import pareto
from nas.halving import promoted
from nas.ledger import Ledger
from nas.records import Status
from nas.rungs import Rungs

MIXED = ("complete", "complete", "complete", "complete", "diverged", "failed")


def promotion(**changes):
    halving = {"form": "promotion", "rungs": 3, "keep": 0.34} | changes
    return {"sampler": "random", "halving": halving}


def test_without_halving_there_are_no_rungs():
    rungs = Rungs(None, Ledger(), lambda number: 100)
    assert (rungs.promotes, rungs.waiting, rungs.promotion(), rungs.ask_at(0)) == (False, frozenset(), None, ())


def test_the_best_share_goes_on_and_no_front_as_a_whole():
    """1 and 2 are the front, 3 is beaten by 1; with two objectives the stopping form would let 1 and 2 go on."""
    rung = {1: (0.1, 5.0), 2: (0.2, 4.0), 3: (0.3, 5.0)}
    assert promoted(rung, {1, 2, 3}, 0.3) == 1
    assert promoted(rung, {2, 3}, 0.3) is None  # the place is taken by 1, which has gone on
    assert promoted(rung, {2, 3}, 0.34) == 2
    assert promoted(rung, {3}, 0.34) is None
    assert promoted(rung, set(), 1.0) is None


class TestSearch:
    @pytest.fixture
    def experiment(self, make, wide):
        train = {"budget_gflops": 0.5, "batch": 32, "lr": 1e-3, "warmup": 0.0}  # so many steps that all have all rungs
        return make(space=wide, trials=24, search=promotion(), train=train)

    @pytest.fixture
    def done(self, experiment, study, fake):
        return study(experiment, fake(ends=MIXED))

    def test_every_trial_waits_first_and_a_few_go_on(self, done):
        trials = {trial.number: trial for trial in done.ledger.ordered()}
        assert len(trials) == 24
        promotions = Counter(done.ledger.promotions)
        baselines = {trial.number for trial in trials.values() if trial.source == "baseline"}
        assert not baselines & promotions.keys()
        for number, trial in trials.items():
            steps = done._plan(number).steps
            first, second = done.rungs.steps(number).values()
            ends = {"PRUNED": (first, second)[min(promotions[number], 1)], "COMPLETE": steps}
            if trial.status in ends:
                assert trial.curve[-1].step == ends[trial.status]
            if trial.status is Status.COMPLETE and number not in baselines:
                assert promotions[number] == 2
        counts = Counter(trial.status for trial in trials.values())
        assert counts[Status.PRUNED] > counts[Status.COMPLETE] - len(baselines) > 0

    def test_who_waits_is_not_among_the_best_of_its_rung(self, done):
        assert done.rungs.promotion() is None
        assert done.rungs.waiting
        for number in done.rungs.waiting:
            rung, _ = done.rungs.next(number)
            at = done.rungs.vectors[rung]
            better = [other for other in at if all(a <= b for a, b in zip(at[other], at[number], strict=True))]
            assert promoted(at, {number}, 0.34) is None
            assert len(at) > len(better) >= 1

    def test_the_halves_are_of_the_rung_below(self, done):
        first, second = (done.rungs.vectors[rung] for rung in (0, 1))
        baselines = sum(trial.source == "baseline" for trial in done.ledger.ordered())
        assert len(first) == 24 - sum(trial.curve == () for trial in done.ledger.ordered())
        # One place more at most where a baseline, trained whatever it does, holds none of the best ones.
        assert len(second) <= math.ceil(0.34 * len(first)) + baselines + 3

    def test_every_part_of_a_promoted_trial_is_paid_for(self, done):
        for trial in done.ledger.ordered():
            if trial.status is not Status.COMPLETE or trial.source == "baseline":
                continue
            steps = done._plan(trial.number).steps
            parts = sum((*done.rungs.steps(trial.number).values(), steps))
            assert trial.spent_flops == pytest.approx(parts * done._plan(trial.number).flops_per_step)
            assert trial.spent_flops > trial.curve[-1].flops

    def test_partial_results_are_never_ranked_with_full_ones(self, done):
        assert {trial.status for trial in pareto(done.ledger.ordered(), done.experiment.objectives)} == {"COMPLETE"}
        for rung, vectors in done.rungs.vectors.items():
            for number in vectors:  # each rung holds what was measured there, at its share of the budget
                spent = done.rungs.steps(number)[rung] / done._plan(number).steps
                assert spent == pytest.approx(0.34 ** (2 - rung), rel=0.1)

    def test_observers_hear_of_each_trial_once_and_of_those_that_wait_at_the_end(self, experiment, study, fake):
        heard = []

        class Witness:
            def asked(self, ask, reason):
                pass

            def reported(self, report, steps):
                pass

            def paused(self, trial):
                pass

            def finished(self, trial):
                heard.append(trial.number)

        done = study(experiment, fake(ends=MIXED), observers=(Witness(),))
        assert sorted(heard) == list(range(24))
        waiting = sorted(done.rungs.waiting)
        assert heard[-len(waiting) :] == waiting

    def test_of_a_search_made_longer_observers_hear_what_is_new(self, experiment, done, study, fake, make, wide):
        log = EventLog(done.folder.log.path)
        log.append("end", trained=24, asks=len(done.ledger.asks))
        log.close()
        before = {trial.number: trial for trial in done.ledger.ordered()}
        heard = []

        class Witness:
            def asked(self, ask, reason):
                pass

            def reported(self, report, steps):
                pass

            def paused(self, trial):
                pass

            def finished(self, trial):
                heard.append(trial)

        longer = study(experiment.replace(trials=40), fake(ends=MIXED), observers=(Witness(),))
        after = {trial.number: trial for trial in longer.ledger.ordered()}
        assert longer.rungs.waiting - before.keys()
        assert {trial.number: trial for trial in heard} == {n: one for n, one in after.items() if before.get(n) != one}
        assert len(heard) == len({trial.number for trial in heard})
        assert any(before.get(trial.number) for trial in heard)  # some of those that waited went on

    def test_cut_off_anywhere(self, experiment, done, study, fake, tmp_path):
        lines = (done.folder.log.path).read_bytes().splitlines(keepends=True)
        kinds = [json.loads(line)["event"] for line in lines]
        promotes = [i for i, kind in enumerate(kinds, start=1) if kind == "promote"]
        assert len(promotes) > 4
        # Just before and behind promotions, inside the trainings that follow, and at random.
        cuts = {cut + more for cut in promotes[::3] for more in (-1, 0, 3)}
        cuts |= set(random.Random(0).sample(range(1, len(lines)), 6)) | {len(lines)}
        for number in sorted(cuts):
            shutil.rmtree(tmp_path / "cut", ignore_errors=True)
            shutil.copytree(done.folder.path, tmp_path / "cut")
            (tmp_path / "cut" / "events.jsonl").write_bytes(b"".join(lines[:number]))
            again = study(experiment, fake(ends=MIXED), folder=tmp_path / "cut")
            assert again.ledger.ordered() == done.ledger.ordered(), f"cut after line {number}"
            assert [ask.point for ask in again.ledger.asks] == [ask.point for ask in done.ledger.asks]
            assert again.ledger == Ledger.replay(read(tmp_path / "cut" / "events.jsonl"))

    def test_more_trials_extend_the_search(self, experiment, done, study, fake, tmp_path):
        longer = experiment.replace(trials=36)
        extended = study(longer, fake(ends=MIXED), folder=done.folder.path)
        at_once = study(longer, fake(ends=MIXED), folder=tmp_path / "at once")
        assert {trial.digest for trial in extended.ledger.ordered()} == {
            trial.digest for trial in at_once.ledger.ordered()
        }
        assert extended.ledger.ordered() == at_once.ledger.ordered()


def test_audited_trials_and_baselines_are_trained_in_full(make, study, wide):
    for form in ("promotion", "stopping"):
        halving = {"form": form, "rungs": 3, "keep": 0.34, "audit": 5}
        search = {"sampler": "random", "halving": halving}
        done = study(make(space=wide, trials=20, search=search), folder=None)
        trials = done.ledger.ordered()
        baselines = sum(trial.source == "baseline" for trial in trials)
        assert {trial.status for trial in trials[: baselines + 5]} == {Status.COMPLETE}
        assert Status.PRUNED in {trial.status for trial in trials[baselines + 5 :]}
        shutil.rmtree(done.folder.path)


def test_a_trial_too_short_for_any_rung_is_trained_in_full(make, study):
    train = {"budget_gflops": 0.002, "batch": 32, "lr": 1e-3, "warmup": 0.0}  # a few steps
    space = {"depth": 3, "families": {"residual": {}, "wiring": {"edges": {"low": 0, "high": 6}}}}
    for form in ("promotion", "stopping"):
        search = promotion(form=form, keep=0.1)
        done = study(make(space=space, trials=6, train=train, search=search))
        assert {done._plan(trial.number).steps for trial in done.ledger.ordered()} <= set(range(1, 6))
        assert {trial.status for trial in done.ledger.ordered()} == {Status.COMPLETE}
        assert done.rungs.vectors == {}
        shutil.rmtree(done.folder.path)


def test_a_promotion_that_does_not_follow_is_damage(make, study, tmp_path):
    done = study(make(trials=3, search=promotion()))
    with done.folder.log.path.open("a") as file:
        event = {"seq": len(done.folder.log.events), "event": "promote", "number": 0, "rung": 0}
        file.write(json.dumps(event) + "\n")
    with pytest.raises(RunFolderError, match=r"promote.* does not follow .*trial 0 is COMPLETE and cannot go on"):
        Ledger.replay(read(done.folder.log.path))
