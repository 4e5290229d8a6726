"""What a backbone costs, in plain numbers and without torch.

FLOPs are those of one sample's forward pass: 2 per multiply-add, matrix products only, which is what
torch.utils.flop_counter counts; norms, activations and biases are left out. Parameters are exact. Of the hints
that blocks take, `pre_norm` alone changes a cost: 0 leaves out the norm's parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trainers.hints import BlockHints, Hints, check
from trainers.shapes import MixerShape, parse


@dataclass(frozen=True)
class BlockCost:
    """Forward FLOPs of one sample and parameters of one block; `kind` is "token" or "channel" in a mixer."""

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


def price(kind: str, *, hints: Hints | None = None, **options: Any) -> BackboneCosts:
    """Costs of a backbone by kind, from the options and hints `trainers.backbones.build` takes; raises TrainerError."""
    shape = parse(kind, options)
    return PRICES[kind](shape, check(hints, shape.depth))


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
    hints: Hints | None = None,
) -> BackboneCosts:
    """Costs of `trainers.backbones.mixer` at these sizes; raises TrainerError."""
    shape = MixerShape(
        depth=depth,
        dim=dim,
        patch=patch,
        image=image,
        channels=channels,
        classes=classes,
        token_hidden=token_hidden,
        channel_hidden=channel_hidden,
    )
    return _mixer(shape, check(hints, depth))


def _mixer(shape: MixerShape, hints: tuple[BlockHints, ...]) -> BackboneCosts:
    tokens, dim = shape.tokens, shape.dim
    norm = 2 * dim

    def mlp(kind: str, width: int, hidden: int, times: int, hint: BlockHints) -> BlockCost:
        """An MLP applied `times` a sample: two matrices of width * hidden, width + hidden biases, maybe a norm."""
        parameters = 2 * width * hidden + width + hidden + (norm if hint.pre_norm else 0)
        return BlockCost(kind, flops=times * 4 * width * hidden, parameters=parameters)

    return BackboneCosts(
        tokens=tokens,
        dim=dim,
        stem_flops=tokens * 2 * shape.patch_values * dim,
        head_flops=2 * dim * shape.classes,
        stem_parameters=shape.patch_values * dim + dim,
        head_parameters=norm + dim * shape.classes + shape.classes,
        blocks=tuple(
            mlp("token", tokens, shape.token_width, dim, hint)
            if number % 2
            else mlp("channel", dim, shape.channel_width, tokens, hint)
            for number, hint in enumerate(hints, start=1)
        ),
    )


PRICES: dict[str, Callable[[MixerShape, tuple[BlockHints, ...]], BackboneCosts]] = {"mixer": _mixer}
