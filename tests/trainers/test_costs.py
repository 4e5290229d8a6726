from dataclasses import fields
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trainers import backbones, costs, shapes
from trainers.errors import TrainerError
from trainers.hints import KNOWN, Hints

SHAPES: list[dict[str, Any]] = [
    {"depth": 2, "dim": 8, "patch": 4, "image": (8, 8), "channels": 1, "classes": 10},
    {"depth": 5, "dim": 48, "patch": 2, "image": (8, 8), "channels": 1, "classes": 10},
    {"depth": 3, "dim": 20, "patch": 2, "image": (4, 6), "channels": 3, "classes": 7},
    {
        "depth": 4, "dim": 16, "patch": 1, "image": (4, 4), "channels": 2, "classes": 3,
        "token_hidden": 11, "channel_hidden": 13,
    },
    {"depth": 2, "dim": 1, "patch": 7, "image": (7, 7), "channels": 1, "classes": 1},
    {"depth": 3, "dim": 37, "patch": 3, "image": (9, 15), "channels": 5, "classes": 101},
]  # fmt: skip

# Sizes, and another value for each option of a shape.
BASE: dict[str, Any] = {"depth": 2, "dim": 6, "patch": 2, "image": (4, 10), "channels": 1, "classes": 8}
CHANGES: dict[str, Any] = {
    "depth": 3, "dim": 9, "patch": 1, "image": (6, 14), "channels": 3, "classes": 7,
    "token_hidden": 17, "channel_hidden": 13,
}  # fmt: skip

HINTS: list[Hints] = [
    {2: {"pre_norm": 0}},
    {1: {"pre_norm": 0}, 2: {"pre_norm": 1}, 3: {"pre_norm": 0}},
    {1: {"norm_scale": 0.5, "init_scale": 0.3, "lr_scale": 0.7, "eps_scale": 0.7}, 2: {"output_init_scale": 0}},
    {number: {name: 0.0 if name == "pre_norm" else 0.5} for number, name in enumerate(KNOWN, start=1)},
]


def counted_flops(module: nn.Module, *shape: int) -> int:
    with FlopCounterMode(display=False) as counter:
        module(torch.empty(*shape, device="meta"))
    return int(counter.get_total_flops())


def counted_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def check_price(sizes: dict[str, Any], hints: Hints | None = None, kind: str = "mixer") -> None:
    """The price is what torch counts, to the last FLOP and parameter: of the stem, of every block, of the head."""
    price = costs.price(kind, **sizes, hints=hints)
    with torch.device("meta"):
        backbone = backbones.build(kind, **sizes, hints=hints)
    hidden = (1, price.tokens, price.dim)
    sample = (1, sizes["context"]) if "context" in sizes else (1, sizes["channels"], *sizes["image"])

    assert price.stem_flops == counted_flops(backbone.stem, *sample)
    assert price.head_flops == counted_flops(backbone.head, *hidden)
    assert [block.flops for block in price.blocks] == [counted_flops(b, *hidden) for b in backbone.blocks]
    assert price.stem_parameters == counted_parameters(backbone.stem)
    assert price.head_parameters == counted_parameters(backbone.head)
    assert [block.parameters for block in price.blocks] == [counted_parameters(b) for b in backbone.blocks]


@pytest.mark.parametrize("sizes", SHAPES)
def test_prices_equal_what_torch_counts(sizes: dict[str, Any]) -> None:
    check_price(sizes)


IMAGES: dict[str, Any] = {"depth": 3, "dim": 12, "patch": 2, "image": (4, 10), "channels": 1, "classes": 8}
BYTES: dict[str, Any] = {"depth": 3, "dim": 12, "context": 7, "classes": 256}


@pytest.mark.parametrize("change", [
    {}, {"depth": 4}, {"dim": 20}, {"heads": 3}, {"hidden": 5}, {"patch": 1}, {"image": (1, 6)}, {"channels": 3},
    {"classes": 3},
], ids=str)  # fmt: skip
def test_a_transformer_of_images_costs_what_torch_counts(change: dict[str, Any]) -> None:
    check_price(IMAGES | change, kind="transformer")
    if change not in ({}, {"heads": 3}):
        assert costs.price("transformer", **IMAGES | change) != costs.price("transformer", **IMAGES)


@given(st.integers(1, 5), st.integers(1, 8), st.integers(1, 4), st.integers(1, 40), st.integers(1, 70))
@settings(max_examples=15, deadline=None)
def test_a_transformer_of_text_costs_what_torch_counts(
    depth: int, each: int, heads: int, context: int, hidden: int
) -> None:
    sizes = {"depth": depth, "dim": each * heads, "heads": heads, "context": context, "hidden": hidden}
    check_price(BYTES | sizes, kind="transformer")


def test_the_scores_of_attention_are_in_its_price() -> None:
    short, long = (costs.price("transformer", **BYTES | {"context": context}).blocks[0].flops for context in (8, 16))
    assert long - 2 * short == 4 * 12 * (16**2 - 2 * 8**2)


@pytest.mark.parametrize("hints", HINTS[:2])
def test_a_transformer_without_a_norm_has_fewer_parameters(hints: Hints) -> None:
    check_price(BYTES, hints, kind="transformer")


@pytest.mark.parametrize("option", CHANGES)
def test_prices_follow_every_option(option: str) -> None:
    check_price(BASE | {option: CHANGES[option]})


def test_every_option_of_a_mixer_is_among_those_tried() -> None:
    assert CHANGES.keys() == {field.name for field in fields(shapes.MixerShape)}
    for option in CHANGES:
        assert costs.price("mixer", **BASE | {option: CHANGES[option]}) != costs.price("mixer", **BASE), option


@pytest.mark.parametrize("hints", HINTS)
@pytest.mark.parametrize("sizes", [BASE, SHAPES[3]], ids=["defaults", "all options"])
def test_prices_follow_the_hints(sizes: dict[str, Any], hints: Hints) -> None:
    check_price(sizes | {"depth": len(KNOWN)}, hints)


def test_of_all_hints_pre_norm_alone_changes_a_price_by_the_norms_of_its_block() -> None:
    plain = costs.price("mixer", **BASE)
    for name in KNOWN:
        hinted = costs.price("mixer", **BASE, hints={2: {name: 0.0 if name == "pre_norm" else 0.5}})
        saved = 2 * BASE["dim"] if name == "pre_norm" else 0
        assert hinted.blocks[0] == plain.blocks[0]
        assert hinted.blocks[1].flops == plain.blocks[1].flops
        assert plain.blocks[1].parameters - hinted.blocks[1].parameters == saved, name


def test_hints_that_cannot_be_built_have_no_price() -> None:
    with pytest.raises(TrainerError, match="blocks are numbered 1 to 2"):
        costs.price("mixer", **BASE, hints={3: {"pre_norm": 0}})


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
    assert costs.mixer_costs(**SHAPES[3], hints=HINTS[0]) == costs.price("mixer", **SHAPES[3], hints=HINTS[0])


def test_every_kind_has_a_shape_a_price_and_modules() -> None:
    assert shapes.SHAPES.keys() == costs.PRICES.keys() == backbones.KINDS.keys()
