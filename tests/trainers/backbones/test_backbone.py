import torch
from torch import nn

from trainers import backbones


def backbone(depth: int) -> backbones.Backbone:
    return backbones.build("mixer", depth=depth, classes=3, image=(8, 8), channels=1, dim=8, patch=4)


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
