"""What a backbone costs, in plain numbers and without torch.

FLOPs are those of one sample's forward pass: 2 per multiply-add, matrix products only, which is what
torch.utils.flop_counter counts; norms, activations and biases are left out. Parameters are exact.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trainers.shapes import MixerShape, parse


@dataclass(frozen=True)
class BlockCost:
    kind: str
    flops: int
    parameters: int


@dataclass(frozen=True)
class BackboneCosts:
    """Costs of the parts of a backbone whose hidden states are (batch, tokens, dim)."""

    tokens: int
    dim: int
    stem_flops: int
    head_flops: int
    stem_parameters: int
    head_parameters: int
    blocks: tuple[BlockCost, ...]


def price(kind: str, **options: Any) -> BackboneCosts:
    """Costs of a backbone by kind, from the options `trainers.backbones.build` takes; raises TrainerError."""
    shape = parse(kind, options)
    return PRICES[kind](shape)


def mixer_costs(
    *,
    depth: int,
    dim: int,
    patch: int,
    image: tuple[int, int] = (8, 8),
    channels: int = 1,
    classes: int = 10,
    token_hidden: int | None = None,
    channel_hidden: int | None = None,
) -> BackboneCosts:
    """Costs of `trainers.backbones.mixer` at these sizes; raises TrainerError."""
    return _mixer(
        MixerShape(
            depth=depth,
            dim=dim,
            patch=patch,
            image=image,
            channels=channels,
            classes=classes,
            token_hidden=token_hidden,
            channel_hidden=channel_hidden,
        )
    )


def _mixer(shape: MixerShape) -> BackboneCosts:
    tokens, dim = shape.tokens, shape.dim
    norm = 2 * dim
    # An MLP of width n and hidden width h has two matrices of n * h, and n + h biases.
    token = BlockCost(
        kind="token",
        flops=dim * 4 * tokens * shape.token_width,
        parameters=norm + 2 * tokens * shape.token_width + shape.token_width + tokens,
    )
    channel = BlockCost(
        kind="channel",
        flops=tokens * 4 * dim * shape.channel_width,
        parameters=norm + 2 * dim * shape.channel_width + shape.channel_width + dim,
    )
    return BackboneCosts(
        tokens=tokens,
        dim=dim,
        stem_flops=tokens * 2 * shape.patch_values * dim,
        head_flops=2 * dim * shape.classes,
        stem_parameters=shape.patch_values * dim + dim,
        head_parameters=norm + dim * shape.classes + shape.classes,
        blocks=tuple(token if number % 2 else channel for number in range(1, shape.depth + 1)),
    )


PRICES: dict[str, Callable[[MixerShape], BackboneCosts]] = {"mixer": _mixer}
