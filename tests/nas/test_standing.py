import json

import pytest

from nas.holder import Driver
from nas.ledger import Ledger
from nas.standing import standing, times
from nas.volume import Reference

REFERENCE = Reference({"accuracy": 0.1, "flops": 1e7}, {"accuracy": "given", "flops": "given"})
DRIVER = Driver("host", 1, "me", since=1000.0)


@pytest.fixture
def done(make, study, fake, wide):
    """A study of trials of every kind, with limits so that some are rejected."""
    return study(
        make(space=wide, trials=25, limits={"flops": 6000}), fake(ends=("complete", "complete", "diverged", "failed"))
    )


def stands(study, events=None, **changes):
    ledger = study.ledger if events is None else Ledger.replay(events)
    given = {"alive": True, "driver": DRIVER, "finished": [], "last": None, "reference": REFERENCE, "now": 2000.0}
    return standing(study.experiment, ledger, **given | changes)


def test_every_proposal_is_counted_once_at_any_moment(done):
    events = done.folder.log.events
    for end in range(1, len(events) + 1, 7):
        ledger = Ledger.replay(events[:end])
        found = stands(done, events[:end])
        counted = sum(found.counts.values())
        assert counted == len(ledger.asks) == sum(event["event"] == "ask" for event in events[:end])
        assert len(found.open) == found.counts["running"]
        assert found.done + found.left == 25
        assert found.done == ledger.trained - len(ledger.open)
        json.dumps(found.to_dict(), allow_nan=False)
    assert {name for name, count in found.counts.items() if count} >= {"COMPLETE", "PRUNED", "DIVERGED", "FAILED"}


def test_what_is_under_way_is_spent_and_not_left(done):
    events = done.folder.log.events
    last = max(place for place, event in enumerate(events) if event["event"] == "report")
    found = stands(done, events[: last + 1])
    (running,) = found.open
    assert 0 < running.share <= 1
    assert running.accuracy is not None
    assert found.spent["under way"] == events[last]["point"]["flops"]
    before = stands(done, events[:last])
    assert found.spent_flops > before.spent_flops
    assert found.left_flops < before.left_flops


def test_the_state_is_told_by_the_lock_and_the_log(done):
    events = done.folder.log.events
    assert stands(done, events[:5]).state == "running"
    assert stands(done, events[:5], alive=False, driver=None).state == "interrupted"
    assert stands(done).state == "confirming"
    ended = [*events, {"seq": len(events), "event": "end", "trained": 25, "asks": 30}]
    assert stands(done, ended, alive=False, driver=None).state == "finished"
    assert stands(done, ended).left == 0


def test_trials_that_wait_at_a_rung_are_not_finished(make, study, wide):
    halving = {"form": "promotion", "rungs": 3, "keep": 0.34}
    run = study(make(space=wide, trials=12, search={"halving": halving, "baselines": False}))
    found = stands(run)
    assert found.counts["waiting"] > 0
    assert found.counts["PRUNED"] == 0
    assert found.done == 12 - found.counts["waiting"]
    events = [*run.folder.log.events, {"seq": len(run.folder.log.events), "event": "end"}]
    assert stands(run, events).counts["PRUNED"] == found.counts["waiting"]


def test_the_pace_is_that_of_this_driver_alone(done):
    events = done.folder.log.events[:5]
    earlier = [1.0, 2.0, 500.0]
    found = stands(done, events, finished=[*earlier, 1010.0, 1020.0, 1030.0])
    assert found.hourly == pytest.approx(360)
    assert found.end == pytest.approx(2000 + found.left * 10)
    assert stands(done, events, finished=earlier).hourly is None
    assert stands(done, events, finished=[*earlier, 1010.0], alive=False, driver=None).end is None
    many = [1000.0 + 100 * place for place in range(1, 10)] + [2000.0 + place for place in range(40)]
    assert stands(done, events, finished=many).hourly == pytest.approx(3600)  # of late it goes faster


def test_times_are_those_of_the_log():
    events = [{"event": "start"}, {"event": "result", "at": 3.0}, {"event": "ask", "at": 4.0}]
    assert times(events) == ([3.0], 4.0)
    assert times([{"event": "result"}]) == ([], None)  # of a log that was begun before there were times
