import pytest

from nas.errors import RunFolderError
from nas.ledger import Ledger
from nas.records import Status

START = {"event": "start", "key": "k"}
COSTS = {"flops": 10.0, "parameters": 5, "traffic": 3.0, "budget_flops": 100.0}


def ask(index, verdict="job", number=None, digest=None, **fields):
    number = index if number is None and verdict != "duplicate" else number
    return {
        "event": "ask", "ask": index, "point": {"family": "hyper", "depth": 2 + index}, "source": "tpe", "seed": 1,
        "verdict": verdict, "number": number, "digest": digest or f"d{index}", **COSTS, **fields,
    }  # fmt: skip


def report(number, step, accuracy=0.5):
    point = {"step": step, "flops": 10.0 * step, "train_loss": 1.0, "accuracy": accuracy, "loss": 0.7}
    return {"event": "report", "number": number, "point": point}


def result(number, status="COMPLETE", **fields):
    given = {"objectives": {"accuracy": 0.5, "flops": 10.0}, "accuracy": 0.5, "loss": 0.7, "seconds": 1.5}
    return {"event": "result", "number": number, "status": status, "spent_flops": 90.0, **given, **fields}


def replay(*events):
    return Ledger.replay([{"seq": i, **event} for i, event in enumerate([START, *events])])


def test_a_trial_is_its_ask_its_reports_and_its_result():
    ledger = replay(ask(0, topology={"depth": 2}), report(0, 4), report(0, 8, 0.6), result(0))
    (trial,) = ledger.ordered()
    assert (trial.number, trial.status, trial.family, trial.digest, trial.seed) == (
        0,
        Status.COMPLETE,
        "hyper",
        "d0",
        1,
    )
    assert (trial.flops, trial.parameters, trial.traffic, trial.budget_flops) == (10.0, 5, 3.0, 100.0)
    assert (trial.spent_flops, trial.seconds, trial.accuracy, trial.loss) == (90.0, 1.5, 0.5, 0.7)
    assert [(point.step, point.accuracy) for point in trial.curve] == [(4, 0.5), (8, 0.6)]
    assert trial.objectives == {"accuracy": 0.5, "flops": 10.0}
    assert trial.topology == {"depth": 2}


def test_a_trial_that_was_cut_off_and_trained_again_has_one_curve():
    cut = [ask(0), report(0, 4, 0.1), report(0, 8, 0.2)]
    again = [report(0, 4, 0.1), report(0, 8, 0.2), report(0, 12, 0.3), result(0)]
    assert replay(*cut, *again).trials == replay(ask(0), *again).trials
    assert [point.step for point in replay(*cut, *again).trials[0].curve] == [4, 8, 12]


def test_what_an_interrupted_attempt_reported_is_forgotten_when_it_is_trained_again():
    cut, again = [ask(0), report(0, 4, 0.1), report(0, 8, 0.2)], {"event": "restart", "number": 0}
    assert replay(*cut, again).curves == {}
    stopped = replay(*cut, again, report(0, 4, 0.3), result(0, "PRUNED")).trials[0]
    assert [(point.step, point.accuracy) for point in stopped.curve] == [(4, 0.3)]
    assert replay(*cut, again, result(0, "FAILED")).trials[0].curve == ()


def test_rejected_points_are_trials_that_do_not_count_and_duplicates_are_none():
    twin = ask(2, "duplicate", digest="d0", twin=0)
    ledger = replay(ask(0), result(0), ask(1, "rejected", reason="too big"), twin, ask(3, number=2))
    assert {number: trial.status for number, trial in ledger.trials.items()} == {0: "COMPLETE", 1: "REJECTED"}
    assert ledger.trials[1].reason == "too big"
    assert list(ledger.open) == [2]
    assert ledger.trained == 2  # finished, and under way
    assert ledger.digests == {"d0": 0, "d1": 1, "d3": 2}


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.REJECTED])
def test_everything_that_used_compute_counts(status):
    assert replay(ask(0), result(0, status)).trained == 1


def test_the_sampler_hears_of_every_ask_in_order():
    twin = ask(3, "duplicate", digest="d0", twin=0)
    lost = result(1, "DIVERGED", objectives={})
    history = replay(ask(0), result(0), ask(1), lost, ask(2, "rejected"), twin, ask(4, number=3)).history()
    assert [told.point.depth for told in history] == [2, 3, 4, 5, 6]
    assert [told.status for told in history] == ["COMPLETE", "DIVERGED", "REJECTED", "PRUNED", None]
    assert [told.values for told in history] == [(0.5, 10.0), None, None, None, None]


def test_confirmations_are_kept_by_digest_and_seed():
    ledger = replay({"event": "confirm", "digest": "d0", "seed": 4}, {"event": "confirm", "digest": "d0", "seed": 5})
    assert list(ledger.confirmed) == [("d0", 4), ("d0", 5)]
    assert not ledger.ended


def test_a_search_has_ended_until_it_is_made_longer():
    end = {"event": "end", "trained": 1, "asks": 1}
    longer = [ask(0), result(0), end, ask(1)]
    assert replay(*longer[:3]).ended
    assert not replay(*longer).ended
    assert not replay(*longer, result(1)).ended
    assert replay(*longer, result(1), end).ended


@pytest.mark.parametrize(
    "events",
    [
        [START],  # a second start
        [result(0)],  # of a trial that nobody asked
        [ask(0), result(0), result(0)],
        [ask(0), {"event": "result", "number": 0}],
        [ask(0), result(0, "SPLENDID")],
        [{**ask(0), "point": {"family": 7}}],
        [{"event": "report", "number": 0, "point": {"step": 1}}],
        [{"event": "ask"}],
        [{"event": "restart", "number": 0}],  # of a trial that is not under way
        [ask(0), result(0), {"event": "restart", "number": 0}],
    ],
)
def test_events_that_do_not_follow_are_damage(events):
    with pytest.raises(RunFolderError, match=rf"event {len(events)} .*does not follow.*another --out"):
        replay(*events)


def test_a_log_begins_with_its_start():
    with pytest.raises(RunFolderError, match="event 0"):
        Ledger.replay([{"seq": 0, **ask(0)}])
    assert Ledger.replay([]).ordered() == ()
