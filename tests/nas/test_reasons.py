from dataclasses import replace

from nas.ledger import Ask
from nas.reasons import reasons
from nas.records import Status, Trial
from search_space.point import Point


def trial(number, status, reason=None):
    return Trial(number, status, "tpe", "dense", {}, str(number), 0, 1.0, 1.0, 1.0, 1, 1.0, reason=reason)


def test_reasons_are_counted_with_figures_aside_and_nothing_is_dropped():
    trials = [
        trial(0, Status.COMPLETE),
        trial(3, Status.REJECTED, "parameters 1,200 is over the limit 700"),
        trial(1, Status.REJECTED, "parameters 900 is over the limit 700"),
        trial(2, Status.DIVERGED, "loss is inf at step 9"),
        trial(4, Status.FAILED),
    ]
    point = Point((("family", "dense"), ("depth", 2)))
    asks = [Ask(n, point, "tpe", "duplicate", "d", None, twin) for n, twin in enumerate((7, 7, 2))]
    found = [(one.status, one.reason, one.count, one.trials) for one in reasons(trials, asks)]
    assert found == [
        ("REPEATED", "the same topology as an earlier trial: not trained again", 3, (7, 2)),
        ("REJECTED", "parameters 900 is over the limit 700", 2, (1, 3)),
        ("DIVERGED", "loss is inf at step 9", 1, (2,)),
        ("FAILED", "no reason is on record", 1, (4,)),
    ]
    assert sum(one.count for one in reasons(trials)) == 4
    assert reasons([replace(trials[0])]) == ()
