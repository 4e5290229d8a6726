import pytest
import torch
from torch import nn

from trainers import backbones
from trainers.hints import Hints


def backbone(depth: int, hints: Hints | None = None) -> backbones.Backbone:
    return backbones.build("mixer", depth=depth, classes=3, image=(8, 8), channels=1, dim=8, patch=4, hints=hints)


def weights(module: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def equal(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_initial_weights_do_not_depend_on_depth() -> None:
    shallow, deep = backbone(2), backbone(6)
    shallow.initialise(3)
    deep.initialise(3)
    for name, module in shallow.parts():
        assert equal(weights(module), weights(dict(deep.parts())[name])), name


def test_blocks_of_one_kind_and_other_seeds_start_apart() -> None:
    first, second = backbone(3), backbone(3)
    first.initialise(0)
    second.initialise(1)
    assert not torch.equal(weights(first.blocks[0])[2], weights(first.blocks[2])[2])
    assert not torch.equal(weights(first.blocks[0])[2], weights(second.blocks[0])[2])


@pytest.mark.parametrize(
    ("hints", "expand", "reduce"),
    [
        ({"init_scale": 0.3}, 0.3, 0.3),
        ({"inner_init_scale": 0.3}, 0.3, 1.0),
        ({"output_init_scale": 3.0}, 1.0, 3.0),
        ({"inner_init_scale": 0.5, "output_init_scale": 0.0}, 0.5, 0.0),
        ({"init_scale": 0.5, "inner_init_scale": 0.5, "output_init_scale": 4.0}, 0.25, 2.0),
        ({"pre_norm": 0.0}, 1.0, 1.0),
        ({"norm_scale": 0.5, "lr_scale": 0.5, "eps_scale": 0.5}, 1.0, 1.0),
    ],
)
@pytest.mark.parametrize("number", [1, 2])
def test_hints_scale_the_same_draw_in_their_block_alone(
    number: int, hints: dict[str, float], expand: float, reduce: float
) -> None:
    plain, hinted = backbone(3), backbone(3, {number: hints})
    plain.initialise(5)
    hinted.initialise(5)
    scales = {f"block{number}.expand.weight": expand, f"block{number}.reduce.weight": reduce}
    start = {f"{part}.{own}": p for part, module in plain.parts() for own, p in module.named_parameters()}
    found = {f"{part}.{own}": p for part, module in hinted.parts() for own, p in module.named_parameters()}
    absent = {f"block{number}.norm.{own}" for own in ("weight", "bias")} if "pre_norm" in hints else set()
    assert start.keys() - found.keys() == absent
    for name, parameter in found.items():
        assert torch.equal(parameter, start[name] * scales.get(name, 1.0)), name
