from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trainers import backbones, costs, shapes

SHAPES: list[dict[str, Any]] = [
    {"depth": 2, "dim": 8, "patch": 4, "image": (8, 8), "channels": 1, "classes": 10},
    {"depth": 5, "dim": 48, "patch": 2, "image": (8, 8), "channels": 1, "classes": 10},
    {"depth": 3, "dim": 20, "patch": 2, "image": (4, 6), "channels": 3, "classes": 7},
    {
        "depth": 4, "dim": 16, "patch": 1, "image": (4, 4), "channels": 2, "classes": 3,
        "token_hidden": 11, "channel_hidden": 13,
    },
]  # fmt: skip


def counted_flops(module: nn.Module, *shape: int) -> int:
    with FlopCounterMode(display=False) as counter:
        module(torch.empty(*shape, device="meta"))
    return int(counter.get_total_flops())


def counted_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("sizes", SHAPES)
def test_prices_equal_what_torch_counts(sizes: dict[str, Any]) -> None:
    price = costs.price("mixer", **sizes)
    with torch.device("meta"):
        backbone = backbones.build("mixer", **sizes)
    hidden = (1, price.tokens, price.dim)
    image = (1, sizes["channels"], *sizes["image"])

    assert price.stem_flops == counted_flops(backbone.stem, *image)
    assert price.head_flops == counted_flops(backbone.head, *hidden)
    assert [block.flops for block in price.blocks] == [counted_flops(b, *hidden) for b in backbone.blocks]
    assert price.stem_parameters == counted_parameters(backbone.stem)
    assert price.head_parameters == counted_parameters(backbone.head)
    assert [block.parameters for block in price.blocks] == [counted_parameters(b) for b in backbone.blocks]


def test_flops_are_those_of_one_sample() -> None:
    price = costs.price("mixer", depth=1, dim=8, patch=4)
    with torch.device("meta"):
        backbone = backbones.build("mixer", depth=1, classes=10, image=(8, 8), channels=1, dim=8, patch=4)
    assert 3 * price.blocks[0].flops == counted_flops(backbone.blocks[0], 3, price.tokens, price.dim)


def test_blocks_alternate_from_token_mixing() -> None:
    assert [block.kind for block in costs.price("mixer", depth=3, dim=8, patch=4).blocks] == [
        "token",
        "channel",
        "token",
    ]


def test_by_kind_equals_by_name() -> None:
    assert costs.mixer_costs(**SHAPES[3]) == costs.price("mixer", **SHAPES[3])


def test_every_kind_has_a_shape_a_price_and_modules() -> None:
    assert shapes.SHAPES.keys() == costs.PRICES.keys() == backbones.KINDS.keys()
