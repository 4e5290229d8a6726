import math
from dataclasses import replace
from typing import get_args

import pytest

from nas.experiment import Limited
from nas.records import Status, Trial
from nas.volume import LOGARITHMIC, Reference, reference_of, volume
from search_space.errors import SpaceError

TRIAL = Trial(
    0, Status.COMPLETE, "tpe", "residual", {"family": "residual", "depth": 2}, "d", 0, 1e9, 1e9, 1e6, 10, 1.0,
    {"accuracy": 0.6, "flops": 1e6},
)  # fmt: skip


def trial(number, accuracy, flops, **changes):
    given = {"number": number, "digest": f"d{number}", "objectives": {"accuracy": accuracy, "flops": flops}}
    return replace(TRIAL, **(given | changes))


@pytest.fixture
def experiment(make):
    return make(report={"reference": {"accuracy": 0.1, "flops": 1e7}})


def test_quality_counts_as_it_is_and_cost_in_decades(experiment):
    reference = reference_of(experiment, 10, None)
    assert (reference.values, set(reference.origins.values())) == (
        {"accuracy": 0.1, "flops": 1e7},
        {"report.reference"},
    )
    found = volume([trial(0, 0.6, 1e6)], experiment.objectives, reference)
    assert found.value == pytest.approx(0.5 * 1)
    found = volume([trial(0, 0.6, 1e6), trial(1, 0.3, 1e4)], experiment.objectives, reference)
    assert found.value == pytest.approx(0.5 * 1 + 0.2 * 2)


def test_the_curve_has_what_enlarged_it_and_the_present(experiment):
    reference = reference_of(experiment, 10, None)
    trials = [
        trial(0, 0.6, 1e6),
        trial(1, 0.5, 2e6),  # dominated
        trial(3, 0.6, 1e5),
        trial(2, 0.9, 1e5, status=Status.PRUNED),
        trial(4, 0.0, 0.0, status=Status.REJECTED, spent_flops=0.0),
        trial(5, 0.05, 1e3),  # below chance
        trial(6, math.nan, 1e3),
    ]
    curve = volume(trials, experiment.objectives, reference).curve
    assert [(one.number, one.trials, one.flops) for one in curve] == [(0, 1, 1e9), (3, 3, 3e9), (6, 6, 6e9)]
    assert [one.value for one in curve] == pytest.approx([0.5, 1.0, 1.0])
    assert volume([], experiment.objectives, reference).value == 0.0


def test_what_the_file_does_not_say_is_derived_and_stated(make):
    found = reference_of(make(limits={"flops": 5e6}), 10, None)
    assert found == Reference({"accuracy": 0.1, "flops": 5e6}, {"accuracy": "chance", "flops": "its limit"})
    found = reference_of(make(), None, None)
    assert found.origins == {"accuracy": "none at all", "flops": "the dearest corner of the space"}
    assert found.values["flops"] > 1e3


def test_what_has_no_range_waits_for_the_first_complete_trial(make):
    seconds = make(objectives=[{"metric": "loss", "goal": "minimize"}, {"metric": "seconds", "goal": "minimize"}])
    assert "seconds has no range" in reference_of(seconds, 10, None).problem
    assert volume([TRIAL], seconds.objectives, reference_of(seconds, 10, None)).value is None
    first = replace(TRIAL, number=7, objectives={"loss": 1.0, "seconds": 3.0})
    found = reference_of(seconds, 10, first)
    assert found.values == {"loss": math.log(10), "seconds": 6.0}
    assert found.origins["seconds"] == "twice that of trial 7, the first complete one"


def test_every_cost_counts_in_decades(make):
    every = set(get_args(Limited)) | {"seconds", "compute_to_target"}
    assert set(LOGARITHMIC) == every
    objectives = [{"metric": "accuracy", "goal": "maximize"}, {"metric": "memory", "goal": "minimize"}]
    experiment = make(objectives=objectives, limits={"memory": 1e9})
    reference = reference_of(experiment, 10, None)
    assert (reference.values["memory"], reference.origins["memory"]) == (1e9, "its limit")
    one = trial(0, 0.6, 1e6, objectives={"accuracy": 0.6, "memory": 1e7})
    assert volume([one], experiment.objectives, reference).value == pytest.approx(0.5 * 2)


def test_every_objective_of_an_experiment_has_a_reference(make):
    metrics = [
        {"metric": "accuracy_per_gflop", "goal": "maximize"},
        {"metric": "mnas", "goal": "maximize", "target": 1e6},
        {"metric": "auc_log_compute", "goal": "maximize"},
        {"metric": "compute_to_target", "goal": "minimize", "target": 0.9},
        {"metric": "traffic", "goal": "minimize"},
        {"metric": "parameters", "goal": "minimize"},
    ]
    found = reference_of(make(objectives=metrics), 10, None)
    assert found.problem is None
    assert list(found.values) == [one["metric"] for one in metrics]
    assert found.values["compute_to_target"] == 2 * 0.05


@pytest.mark.parametrize(
    ("reference", "said"),
    [({"loss": 1.0}, "is no objective here; there are: accuracy, flops"), ({"flops": 0}, "0 has no logarithm")],
)
def test_a_reference_that_means_nothing_is_refused(make, reference, said):
    with pytest.raises(SpaceError, match=said):
        make(report={"reference": reference})
