from dataclasses import replace

import pytest

from graphs import lower
from nas.evaluate import build_model
from nas.pricing import backbone_options, broken_limit, judged, model_cost, priced
from trainers.errors import TrainerError


def test_counted_parameters_are_those_of_the_compiled_model(make):
    experiment = make()
    for point in experiment.space.baselines():
        topology = experiment.space.topology(point)
        model = build_model(
            topology, backbone_options(experiment), classes=10, image=(8, 8), channels=1, seed=experiment.seed
        )
        assert priced(experiment, topology).cost.parameters == sum(p.numel() for p in model.parameters())


def test_a_budget_buys_whole_steps(make):
    experiment = make()
    topology = experiment.space.topology(experiment.space.baselines()[0])
    found = priced(experiment, topology)
    per_step = 3 * found.cost.flops * experiment.train.batch
    assert found.steps == int(0.05e9 // per_step) > 10
    assert found.flops_per_step == per_step
    assert found.plan == lower(topology)
    assert found.topology == topology


def test_a_budget_below_one_step_is_refused(make):
    train = {"budget_gflops": 1e-6, "batch": 32, "lr": 1e-3, "warmup": 0.1}
    experiment = make(train=train)
    with pytest.raises(TrainerError, match="less than one training step"):
        priced(experiment, experiment.space.topology(experiment.space.baselines()[0]))


def test_limits_name_the_metric_the_value_and_the_limit(make):
    experiment = make(limits={"flops": 5000, "parameters": 700})
    cost = priced(experiment, experiment.space.topology(experiment.space.baselines()[0])).cost
    assert cost.flops > 5000
    assert broken_limit(experiment, cost) == f"flops {cost.flops:,} is over the limit 5,000"
    assert broken_limit(experiment, replace(cost, flops=5000)) == "parameters 722 is over the limit 700"
    assert broken_limit(experiment, replace(cost, flops=5000, parameters=700)) is None
    assert broken_limit(make(limits={"flops": cost.flops}), cost) is None  # at the limit is within it
    assert broken_limit(make(), cost) is None


def test_a_point_is_judged_before_it_is_trained(make):
    experiment = make(limits={"parameters": 700})
    shallow, deep = (experiment.space.residual(depth) for depth in (2, 3))
    plan, reason = judged(experiment, shallow)
    assert (str(plan.topology), reason) == ("residual(depth=2)", None)
    assert judged(experiment, deep) == (None, "parameters 722 is over the limit 700")
    poor = make(train={"budget_gflops": 1e-6, "batch": 32, "lr": 1e-3, "warmup": 0.1})
    plan, reason = judged(poor, shallow)
    assert plan is None
    assert "less than one training step" in reason


def test_the_backbone_is_priced_at_the_depth_asked(make):
    experiment = make()
    assert len(model_cost(experiment, 5).blocks) == 5
    assert model_cost(experiment, 5).blocks[:2] == model_cost(experiment, 2).blocks
    assert backbone_options(experiment) == {"kind": "mixer", "dim": 8, "patch": 4}
