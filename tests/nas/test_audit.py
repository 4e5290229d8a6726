import json
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from nas.audit import DRAWS, FEWEST, Audit, audit, interval, kendall
from nas.jobs import Outcome, Report
from nas.records import Status

numbers = st.integers(0, 5).map(float)
pairs = st.lists(st.tuples(numbers, numbers), min_size=2, max_size=14)


@given(pairs)
def test_tau_is_scipys(pairs):
    a, b = map(list, zip(*pairs, strict=True))
    expected = kendalltau(a, b).statistic
    found = kendall(a, b)
    assert (found is None) == math.isnan(expected)
    assert found is None or found == pytest.approx(expected)


@given(pairs)
def test_the_interval_holds_and_turns_with_the_sign(pairs):
    a, b = map(list, zip(*pairs, strict=True))
    low, high = interval(a, b)
    other_low, other_high = interval(a, [-value for value in b])
    if low is None:
        assert other_low is None
    else:
        assert -1 <= low <= high <= 1
        assert (other_low, other_high) == (pytest.approx(-high), pytest.approx(-low))


def test_the_interval_is_that_of_tau_over_the_draws():
    rng = random.Random(1)
    for count in (2, 11, 40):
        a = [float(rng.randrange(6)) for _ in range(count)]
        b = [value + rng.randrange(4) for value in a]
        draws = np.random.default_rng(0).integers(0, count, (DRAWS, count))
        every = (kendall([a[i] for i in drawn], [b[i] for i in drawn]) for drawn in draws)
        taus = sorted(tau for tau in every if tau is not None)
        last = len(taus) - 1
        assert interval(a, b) == (taus[round(0.025 * last)], taus[round(0.975 * last)])


def test_the_interval_narrows_with_more_topologies():
    rng = random.Random(0)
    widths = []
    for count in (10, 40, 160):
        a = [rng.random() for _ in range(count)]
        low, high = interval(a, [value + rng.gauss(0, 0.3) for value in a])
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert widths[2] < 0.5 * widths[0]


class Curves:
    """Pretends to train: ``early`` and ``late`` turn a topology's draw into accuracies before and at the end."""

    def __init__(self, early, late):
        self.early, self.late = early, late

    def __call__(self, job):
        quality = random.Random(job.metadata["digest"]).random()
        for step in job.report_at:
            accuracy = self.late(quality) if step == job.steps else self.early(quality)
            if not (yield Report(job.number, step, 1.0, accuracy, 1.0, step in job.ask_at)) and step in job.ask_at:
                return Outcome(job.number, "stopped", step, 0.1, accuracy, 1.0)
        return Outcome(job.number, "complete", job.steps, 0.1, accuracy, 1.0)


def steady(quality):
    return quality / 2


def crossed(quality):
    """Early winners: what starts fast ends last."""
    return (1 - quality) / 2


TRAIN = {"budget_gflops": 0.5, "batch": 32, "lr": 1e-3, "warmup": 0.0}


@pytest.fixture
def audited(make, study, wide, tmp_path_factory):
    def run(early, trials=25, **search):
        experiment = make(space=wide, trials=trials, search={"sampler": "random"} | search, train=TRAIN)
        folder = tmp_path_factory.mktemp("audited") / "run"
        done = study(experiment, Curves(early, lambda quality: quality), folder)
        return audit(experiment, done.ledger, 10), done

    return run


def test_a_rung_that_ranks_like_the_full_budget(audited):
    found, _ = audited(steady)
    assert [round(one.share, 2) for one in found.ranks] == [0.1, 0.3, 0.5]  # there is no halving: shares of the budget
    for one in found.ranks:
        assert (one.metric, one.topologies, one.tau, one.low, one.high) == ("accuracy", 25, 1.0, 1.0, 1.0)
        assert one.lost == 0 < one.front
    assert (found.warning, found.survivors, found.problem) == (None, False, None)
    assert list(found.lines())[-1] == "halving ranks well enough here"


def test_early_winners_are_warned_of(audited):
    """Skip-rich networks start fast; a rung that believes them throws the best away."""
    found, _ = audited(crossed)
    assert all(one.tau == -1.0 and one.misleads for one in found.ranks)
    assert any(one.lost for one in found.ranks)
    assert "halving would mislead: what is best at 10% (accuracy -1.00 (95 % -1.00 to -1.00))" in found.warning
    assert list(found.lines())[-1] == found.warning


def test_of_very_many_tau_is_that_of_some_and_the_front_that_of_all(audited, monkeypatch):
    whole, _ = audited(crossed)
    monkeypatch.setattr("nas.audit.MOST", 12)
    some, _ = audited(crossed)
    for one, all_of_them in zip(some.ranks, whole.ranks, strict=True):
        assert (one.topologies, all_of_them.topologies) == (12, 25)
        assert one.tau == -1.0
        assert (one.front, one.lost) == (all_of_them.front, all_of_them.lost)


def test_what_is_all_the_same_early_says_nothing(audited):
    found, _ = audited(lambda quality: 0.1)
    assert all(one.tau is None and one.misleads for one in found.ranks)
    assert "unknown, all values are equal" in found.warning


@pytest.mark.parametrize(("extra", "survivors"), [(0, True), (12, False)])
def test_a_search_with_halving_needs_trials_that_no_rung_could_stop(audited, extra, survivors):
    """Halving lets the early winners through: looked at alone they seem to rank better than they do."""
    halving = {"rungs": 3, "keep": 0.34, "audit": extra}
    found, done = audited(lambda quality: quality / 2 if quality > 0.5 else crossed(quality), 60, halving=halving)
    assert {round(one.share, 2) for one in found.ranks} == {0.12, 0.34}
    complete = sum(trial.status is Status.COMPLETE for trial in done.ledger.ordered())
    baselines = sum(trial.source == "baseline" for trial in done.ledger.ordered())
    assert {one.topologies for one in found.ranks} == {complete if survivors else baselines + extra}
    assert found.survivors is survivors
    told = [line for line in found.lines() if "search.halving.audit to 10 or more" in line]
    assert bool(told) == survivors


def test_ten_topologies_are_needed(audited):
    found, _ = audited(steady, FEWEST - 1)
    assert found == Audit(problem="9 topologies were trained in full, and at least 10 are needed")
    assert list(found.lines()) == [f"no audit of early stopping: {found.problem}"]
    assert audited(steady, FEWEST)[0].problem is None


def test_only_what_training_changes_is_ranked(make, study, wide):
    objectives = [{"metric": "flops", "goal": "minimize"}]
    experiment = make(space=wide, trials=12, search={"sampler": "random"}, objectives=objectives)
    done = study(experiment)
    assert audit(experiment, done.ledger, 10).problem == "no objective changes with training"


def test_the_command_and_the_report_say_it(make, study, wide, wireloom, tmp_path):
    experiment = make(space=wide, trials=14, search={"sampler": "random"}, train=TRAIN)
    study(experiment, Curves(crossed, lambda quality: quality), folder=tmp_path / "run")
    ran = wireloom("audit", "run")
    assert ran.status == 0
    assert "at 10.0% of the budget, accuracy of 14 topologies: Kendall's tau -1.00 (95 % -1.00 to -1.00); " in ran.out
    assert "halving would mislead" in ran.out.splitlines()[-1]
    data = json.loads(wireloom("audit", "run", "--json").out)
    assert [one["tau"] for one in data["ranks"]] == [-1.0] * 3
    assert data["ranks"][0]["misleads"] is True
    assert data["warning"] in ran.out
    assert wireloom("report", "run").status == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Does a cheap rung rank like the full budget?" in page
    assert "halving would mislead" in page
    assert wireloom("audit", "nowhere").status == 2
