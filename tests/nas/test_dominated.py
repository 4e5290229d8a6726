import math
from dataclasses import replace

import pytest

from nas.dominated import area, box_of, dominated
from nas.records import Status, Trial


def trial(number, accuracy, flops, status=Status.COMPLETE):
    found = {"accuracy": accuracy, "flops": flops}
    return Trial(number, status, "tpe", "dense", {}, str(number), 0, 1.0, 1.0, flops, 1, 1.0, found, accuracy)


BOX = {"accuracy": (0.0, 1.0), "flops": (1e4, 1e2)}


def test_the_area_by_hand():
    # Costs 10^3 and 10^2 on the way from 10^4 to 10^2: half of it and all.
    assert area(BOX, [trial(0, 0.8, 1e3)]) == pytest.approx(0.8 * 0.5)
    assert area(BOX, [trial(0, 0.8, 1e3), trial(1, 0.4, 1e2)]) == pytest.approx(0.8 * 0.5 + 0.4 * 0.5)
    assert area(BOX, [trial(1, 0.4, 1e2), trial(0, 0.8, 1e3), trial(2, 0.3, 1e3)]) == pytest.approx(0.6)
    assert area(BOX, []) == 0
    assert area(BOX, [trial(0, 2.0, 1.0)]) == 1  # beyond the box counts to its edge
    assert area(BOX, [trial(0, 0.8, 1e5)]) == 0


def test_the_box_is_fixed_by_the_experiment(make):
    experiment = make()
    box = box_of(experiment, 10)
    assert box["accuracy"] == (0.1, 1.0)
    dearest, cheapest = box["flops"]
    assert dearest > cheapest > 0
    assert box == box_of(experiment, 10)
    loss = make(objectives=[{"metric": "loss", "goal": "minimize"}, {"metric": "parameters", "goal": "minimize"}])
    assert box_of(loss, 10)["loss"] == (math.log(10), 0.0)


@pytest.mark.parametrize(
    ("objectives", "problem"),
    [
        ([{"metric": "accuracy", "goal": "maximize"}], "there is one objective"),
        (
            [{"metric": "accuracy", "goal": "maximize"}, {"metric": "seconds", "goal": "minimize"}],
            "seconds has no range that is known before",
        ),
    ],
)
def test_where_there_is_no_box_it_is_said_why(make, objectives, problem):
    assert dominated(make(objectives=objectives), [], 10).problem == problem


def test_the_area_only_grows_and_takes_complete_trials_alone(make):
    experiment = make()
    cost = box_of(experiment, 10)["flops"][1]
    trials = [
        trial(0, 0.4, 1.1 * cost), trial(1, 0.9, cost, Status.PRUNED),
        trial(2, 0.3, 1.1 * cost), trial(3, 0.6, 1.1 * cost),
    ]  # fmt: skip
    grew = dominated(experiment, trials, 10).anytime
    assert [number for number, _ in grew] == [0, 3]
    assert grew[0][1] < grew[1][1] < 1
    best = dominated(experiment, [*trials, replace(trials[1], number=4, status=Status.COMPLETE)], 10)
    assert best.anytime[-1][1] == pytest.approx((0.9 - 0.1) / 0.9)
    assert best.to_dict()["share"] == best.anytime[-1][1]
