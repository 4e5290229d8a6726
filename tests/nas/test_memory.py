import pytest

from graphs import Topology, families
from nas.memory import peak_bytes
from nas.pricing import broken_limit, counted, judged, model_cost, priced


def test_it_grows_with_the_batch_the_depth_and_the_streams(make):
    experiment = make()

    def peak(topology, batch=8):
        plan = priced(experiment, topology)
        return peak_bytes(plan.cost, model_cost(experiment, topology), batch)

    assert peak(families.residual(2)) < peak(families.residual(3)) < peak(families.hyper(3, streams=4))
    state = peak(families.residual(2), 0)
    assert state == 16 * priced(experiment, families.residual(2)).cost.parameters
    assert peak(families.residual(2), 16) - state == 2 * (peak(families.residual(2), 8) - state)


def test_a_limit_on_memory_holds_before_training(make):
    experiment = make()
    plan = priced(experiment, families.residual(3))
    assert counted(plan.cost, plan.peak_bytes)["memory"] == plan.peak_bytes
    tight = experiment.replace(limits={"memory": plan.peak_bytes - 1})
    reason = broken_limit(tight, plan.cost, plan.peak_bytes)
    assert reason is not None
    assert reason.startswith("memory ")
    assert judged(tight, tight.space.residual(3))[0] is None
    loose = experiment.replace(limits={"memory": plan.peak_bytes})
    assert broken_limit(loose, plan.cost, plan.peak_bytes) is None


@pytest.mark.parametrize("seed", range(3))
def test_memory_as_an_objective_is_that_price(make, study, seed):
    objectives = [{"metric": "accuracy", "goal": "maximize"}, {"metric": "memory", "goal": "minimize"}]
    done = study(make(objectives=objectives, seed=seed, trials=5, confirm=None))
    for trial in done.ledger.ordered():
        if trial.objectives:
            plan = priced(done.experiment, Topology.from_dict(dict(trial.topology)))
            assert trial.objectives["memory"] == plan.peak_bytes
