"""The price is compared with what torch keeps: it must not be below, and not far above."""

import pytest
import torch

from nas.evaluate import build_model, dataset
from nas.pricing import backbone_options, priced
from search_space.space import Point


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
