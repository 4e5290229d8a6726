import pytest

from nas.equal_compute import at_compute, curve_of, equal_compute
from nas.records import Status

CURVE = [(1.0, 0.1), (4.0, 0.5), (16.0, 0.6)]


@pytest.mark.parametrize(
    ("flops", "value"),
    [(1.0, 0.1), (2.0, 0.3), (4.0, 0.5), (8.0, 0.55), (16.0, 0.6), (0.99, None), (16.01, None)],
)
def test_between_measurements_in_the_logarithm_and_never_beyond(flops, value):
    found = at_compute(CURVE, flops)
    assert found is None if value is None else found == pytest.approx(value, abs=1e-15)


def test_a_curve_of_one_point_is_that_point():
    assert at_compute([(2.0, 0.5)], 2.0) == 0.5
    assert at_compute([(2.0, 0.5)], 3.0) is None
    assert at_compute([], 3.0) is None


def test_the_front_and_the_baselines_at_the_same_levels(make, study):
    done = study(make(trials=8, search={"sampler": "random", "halving": {"rungs": 2, "keep": 0.3}}, confirm=None))
    trials = done.ledger.ordered()
    found = equal_compute(done.experiment, trials)
    budget = done.experiment.train.budget_gflops * 1e9
    assert found.levels[:3] == (budget / 8, budget / 4, budget / 2)
    ends = [trials[row.trial].curve[-1].flops for row in found.rows]
    assert found.levels[-1] == min(ends) <= budget
    assert {row.role for row in found.rows} <= {"front", "baseline"}
    assert all(trials[row.trial].status is Status.COMPLETE for row in found.rows)
    for row in found.rows:
        curve = curve_of(trials[row.trial], "accuracy")
        assert row.values == tuple(at_compute(curve, level) for level in found.levels)
        assert row.values[-1] is not None
    last = [row.values[-1] for row in found.rows]
    assert last == sorted(last, reverse=True)
    assert found.to_dict()["training_flops"] == list(found.levels)


def test_by_loss_less_is_better(make, study):
    done = study(make(trials=5, objectives=[{"metric": "loss", "goal": "minimize"}], search={}, confirm=None))
    found = equal_compute(done.experiment, done.ledger.ordered())
    assert found.metric == "loss"
    last = [row.values[-1] for row in found.rows]
    assert last == sorted(last)


def test_without_trials_there_is_nothing(make):
    found = equal_compute(make(), ())
    assert (found.levels, found.rows) == ((), ())
