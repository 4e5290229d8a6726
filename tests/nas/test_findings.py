from types import SimpleNamespace

import pytest

from nas.confirm import SHARES, Lineup
from nas.findings import BUDGETS, findings
from nas.ledger import Ledger
from nas.records import Status, Trial
from nas.spending import spending


def trial(number, digest, depth=4, accuracy=0.9, status=Status.COMPLETE, spent=1.0):
    point = {"family": "hyper", "depth": depth}
    return Trial(
        number, status, "tpe", "hyper", point, digest, 0, 9.0, spent, 100.0 * depth, 1, 1.0,
        {"accuracy": accuracy}, accuracy, 1 - accuracy,
    )  # fmt: skip


def event(digest, seed, value, **more):
    return {"event": "confirm", "digest": digest, "seed": seed, "test_accuracy": value, "test_loss": 1 - value,
            "accuracy": 0.5, "spent_flops": 7.0} | more  # fmt: skip


GAPS = {"close": [0.02, -0.02, 0.03, 0.01, -0.01], "clear": [0.02, 0.021, 0.019, 0.02, 0.022]}


@pytest.fixture
def found(monkeypatch):
    """The findings on a winner ``b`` whose paired differences to the baseline ``r`` are given."""

    def make(gaps, curve=True, metric="accuracy", others=(), **line):
        ledger = Ledger()
        base = SimpleNamespace(topology=SimpleNamespace(digest="r"), cost=SimpleNamespace(flops=400))
        winner = trial(7, "b")
        members = tuple(trial(8 + n, digest, depth=2) for n, digest in enumerate(others))
        lineup = Lineup(winner, 4, members, 1 + len(members), **({"baseline": base} | line))
        monkeypatch.setattr("nas.findings.lineup_of", lambda *_: lineup)
        for seed, gap in enumerate(gaps, start=1):
            for digest in ("b", *others):
                ledger.apply(event(digest, seed, 0.8 + gap))
            if lineup.baseline is not None:
                ledger.apply(event("r", seed, 0.8))
        for share, value in zip(SHARES, (0.7, 0.75, 0.9), strict=True) if curve else ():
            ledger.apply(event("r", 1, value, event="curve", share=share))
        return findings(SimpleNamespace(objectives=[SimpleNamespace(metric=metric)]), ledger)

    return make


def test_better_is_never_said_while_the_interval_includes_zero(found):
    said = found(GAPS["close"])
    for text in (said.verdict(), *said.sentences(), said.winner.comparison.word):
        assert "better" not in text
        assert "worse" not in text
    assert "zero is inside, so no difference is shown" in said.verdict()


def test_the_words_where_it_excludes_zero(found):
    text = found(GAPS["clear"]).verdict()
    assert text.startswith("on 5 fresh seeds and the test split trial 7 (hyper, depth 4) has 82.04 % (sd 0.11 %)")
    assert "the residual network of the same depth, 4, has 80.00 % (sd 0.00 %)" in text
    assert "paired difference +2.04 points, 95 % bootstrap interval on the test split +1.9" in text
    assert "zero is outside, so better than it there" in text
    # 0.0204 of the 0.1 between one budget and two: 2^0.204.
    assert "Compute advantage: as good as 1.15x the baseline's training compute (interval 1.1" in text
    assert "measured 13 times" in text
    worse = found([-gap for gap in GAPS["clear"]]).verdict()
    assert "so worse than it there" in worse
    assert "better" not in worse


def test_three_seeds_that_agree_are_too_few(found):
    text = found([0.01, 0.02, 0.03]).verdict()
    assert "zero is outside, but not of Student's t interval" in text
    assert "no difference is shown" in text
    assert "better" not in text


def test_networks_are_compared_by_loss_where_that_is_the_objective(found):
    said = found(GAPS["clear"], metric="loss")
    assert said.metric == "loss"
    assert said.winner.comparison.difference == pytest.approx(-0.0204)
    assert said.winner.comparison.word == "better"
    assert said.winner.advantage.times == pytest.approx(2**0.204)
    assert said.winner.advantage_low.times < said.winner.advantage.times < said.winner.advantage_high.times


def test_an_advantage_beyond_the_curve_has_no_figure(found):
    text = found([0.2, 0.21, 0.19, 0.2, 0.2]).verdict()
    assert "as good as more than 2x the baseline's training compute, where its curve ends" in text


def test_with_too_few_budgets_nothing_is_read_off(found):
    said = found(GAPS["clear"], curve=False)
    assert (said.winner.advantage, said.curve) == (None, ())
    assert "advantage" not in said.verdict()
    assert BUDGETS == 4


def test_words_where_there_is_nothing_to_compare(found):
    alone = found(GAPS["clear"], baseline=None, problem="traffic 9 is over the limit 8", curve=False)
    assert "nothing to be compared with: traffic 9 is over the limit 8. On 5 fresh seeds" in alone.verdict()
    one = found([0.02])
    assert one.verdict().startswith("no interval for trial 7 (hyper, depth 4)")
    assert one.winner.comparison is None


def test_the_whole_front_is_in_the_table_with_what_it_differs_in(found):
    said = found(GAPS["clear"], others=("c", "d"))
    assert [row["role"] for row in said.table()] == ["winner", "baseline", "front", "front"]
    assert {row["n"] for row in said.table()} == {5}
    text = " ".join(said.sentences())
    assert "Confirmed: 3 of the 3 members of the front, the whole front." in text
    assert "a member of another depth differs from it in more than its wiring" in text
    assert "Of 3 intervals of 95 % one in twenty misses by chance." in text


def test_the_cost_adds_up_to_the_last_flop():
    ledger = Ledger()
    ledger.trials = {
        0: trial(0, "a", spent=10.0), 1: trial(1, "b", status=Status.PRUNED, spent=3.0),
        2: trial(2, "c", status=Status.DIVERGED, spent=2.0), 3: trial(3, "d", spent=14.0),
    }  # fmt: skip
    ledger.spent = {3: 4.0}  # its earlier part, before it was promoted
    ledger.lost = 1.5
    ledger.apply(event("b", 1, 0.5))
    ledger.apply(event("b", 1, 0.5, event="curve", share=0.5, spent_flops=3.5))
    parts = spending(ledger)
    assert parts == {
        "trials in full": 20.0,
        "trials stopped at rungs": 3.0,
        "trials that diverged or failed": 2.0,
        "earlier parts of promoted trials": 4.0,
        "confirmation on fresh seeds": 7.0,
        "the baseline at other budgets": 3.5,
        "replicas for the seed noise": 0.0,
        "the gated super-network": 0.0,
        "lost to interruptions": 1.5,
    }


def test_what_an_interruption_lost_is_counted():
    ledger = Ledger()
    ledger.open[0] = {"number": 0}
    for step, flops in ((1, 5.0), (2, 10.0)):
        ledger.apply({"event": "report", "number": 0, "point": {"step": step, "flops": flops, "train_loss": 1.0}})
    ledger.apply({"event": "restart", "number": 0})
    assert ledger.lost == 10.0
