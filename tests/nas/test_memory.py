"""The price is compared with what torch keeps: it must not be below, and not far above."""

import pytest
import torch

from graphs import Topology, families
from nas.evaluate import build_model, dataset
from nas.memory import peak_bytes
from nas.pricing import backbone_options, broken_limit, counted, judged, model_cost, priced
from search_space.space import Point


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


def kept_bytes(model, inputs, labels) -> int:
    """What autograd keeps for a backward pass, each storage once, parameters aside."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    found: dict[int, int] = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = torch.nn.functional.cross_entropy(model(inputs), labels)
    assert loss.requires_grad
    return sum(found.values())


@pytest.mark.parametrize(
    "backbone", [{"kind": "mixer", "dim": 48, "patch": 2}, {"kind": "transformer", "dim": 48, "patch": 2}]
)
@pytest.mark.parametrize("family", ["residual", "dense", "hyper"])
def test_the_price_covers_what_torch_keeps(make, backbone, family):
    families = {"residual": {}, "dense": {}, "hyper": {"streams": 4}}
    experiment = make(backbone=backbone, space={"depth": 6, "families": families}, train={
        "budget_gflops": 1, "batch": 64, "lr": 1e-3, "warmup": 0.1})  # fmt: skip
    point = next(point for point in experiment.space.corners() if point.family == family)
    plan = priced(experiment, experiment.space.topology(point))
    data = dataset("digits")
    model = build_model(plan.topology, backbone_options(experiment), seed=0, **data.facts)
    state = 16 * sum(parameter.numel() for parameter in model.parameters())
    truth = state + kept_bytes(model, data.train.inputs[:64], data.train.labels[:64].long())
    assert truth < plan.peak_bytes < 3 * truth, f"{plan.peak_bytes / truth:.2f} of the truth"
    assert isinstance(point, Point)
