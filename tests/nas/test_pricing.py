import re
from dataclasses import replace
from random import Random

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from graphs import TopologyError, families, lower, price
from nas.evaluate import build_model
from nas.pricing import backbone_options, broken_limit, corner_costs, judged, model_cost, priced
from trainers.catalogue import describe
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
    assert found.cost == price(lower(topology), model_cost(experiment, topology))
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
    five, two = (model_cost(experiment, families.residual(depth)) for depth in (5, 2))
    assert len(five.blocks) == 5
    assert five.blocks[:2] == two.blocks
    bare = model_cost(experiment, families.rezero(5))
    assert bare.blocks[0].parameters == five.blocks[0].parameters - 2 * 8, "no norm of its own"
    assert backbone_options(experiment) == {"kind": "mixer", "dim": 8, "patch": 4}


def test_a_backbone_without_the_ports_that_a_topology_reads(make):
    experiment = make()
    with pytest.raises(TopologyError, match=r"block 1 of mudd.* reads 3 values \(q, k, v\), but a block of the back"):
        model_cost(experiment, families.mudd(2))
    assert model_cost(experiment, families.mudd(2, multiway=False)).blocks


NEEDS_PORTS = {"mudd"}


@pytest.mark.parametrize("name", [name for name in families.FAMILIES if name not in NEEDS_PORTS])
def test_costs_of_every_family_are_those_of_the_model(make, name):
    """Block FLOPs within 1 % of torch's counter on the meta device, parameters exactly."""
    topology = families.FAMILIES[name](8)
    train = {"budget_gflops": 10, "batch": 32, "lr": 1e-3, "warmup": 0.1}
    experiment = make(backbone={"kind": "mixer", "dim": 16, "patch": 2}, train=train)
    cost = priced(experiment, topology).cost
    options = backbone_options(experiment)
    model = build_model(topology, options, classes=10, image=(8, 8), channels=1, seed=0).to("meta")
    assert cost.parameters == sum(parameter.numel() for parameter in model.parameters())
    with FlopCounterMode(display=False, depth=None) as counter:
        model(torch.zeros(1, 1, 8, 8, device="meta"))
    counts = counter.get_flop_counts()
    blocks = sum(sum(counts[module].values()) for module in counts if re.fullmatch(r".*\.blocks\.\d+", module))
    rest = sum(sum(counts.get(f"Classifier.{part}", {}).values()) for part in ("stem", "head"))
    assert blocks + rest == pytest.approx(cost.block_flops, rel=0.01)


TRANSFORMERS = {
    "text": {"data": {"kind": "stdlib", "context": 12}, "backbone": {"kind": "transformer", "dim": 16, "heads": 2}},
    "images": {"data": {"kind": "digits"}, "backbone": {"kind": "transformer", "dim": 16, "heads": 2, "patch": 4}},
}


@pytest.mark.parametrize("task", TRANSFORMERS)
@pytest.mark.parametrize("name", families.FAMILIES)
def test_costs_of_every_family_on_a_transformer_are_those_of_the_model(make, name, task):
    """Block FLOPs, attention scores among them, exactly torch's on the meta device; parameters exactly."""
    topology = families.FAMILIES[name](8, **({"period": 2} if name == "mudd" else {}))
    experiment = make(train={"budget_gflops": 10, "batch": 8, "lr": 1e-3, "warmup": 0.1}, **TRANSFORMERS[task])
    cost = priced(experiment, topology).cost
    facts = describe(experiment.data.source)
    model = build_model(topology, backbone_options(experiment), seed=0, **facts).to("meta")
    assert cost.parameters == sum(parameter.numel() for parameter in model.parameters())
    size = (1, 12) if task == "text" else (1, 1, 8, 8)
    inputs = torch.zeros(size, dtype=torch.uint8 if task == "text" else torch.float32, device="meta")
    with FlopCounterMode(display=False, depth=None) as counter:
        model(inputs)
    counts = counter.get_flop_counts()
    blocks = sum(sum(counts[module].values()) for module in counts if re.fullmatch(r".*\.blocks\.\d+", module))
    rest = sum(sum(counts.get(f"Classifier.{part}", {}).values()) for part in ("stem", "head"))
    assert blocks + rest == cost.block_flops


def test_only_attention_has_inputs_of_its_own_for_queries_keys_and_values(make):
    experiment = make(**TRANSFORMERS["text"])
    assert model_cost(experiment, families.mudd(4, period=2)).blocks
    with pytest.raises(TopologyError, match=r"block 2 of mudd.* reads 3 values .* transformer there has 1 input"):
        model_cost(experiment, families.mudd(4, period=1))


def test_the_corners_of_a_space_bound_what_its_points_cost(make):
    experiment = make()
    costs = corner_costs(experiment)
    for number in range(40):
        cost = priced(experiment, experiment.space.topology(experiment.space.random(Random(number)))).cost
        assert cost.flops <= max(corner["flops"] for corner in costs)
    assert costs == corner_costs(experiment)
    assert len(corner_costs(make(limits={"flops": 1.0}))) == len(costs), "a limit takes no corner away"
