"""What a backbone costs, in plain numbers and without torch.

FLOPs are those of one sample's forward pass: 2 per multiply-add, matrix products only, which is what
torch.utils.flop_counter counts on the meta device; norms, activations, softmax and biases are left out, and the
scores of causal attention are counted in full, the half that is masked included. Parameters are exact. Of the hints
that blocks take, `pre_norm` alone changes a cost: 0 leaves out the norm's parameters. A user's backbone is counted by
torch itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from trainers.catalogue import BYTES
from trainers.hints import BlockHints, Hints, check
from trainers.shapes import FunctionShape, MixerShape, TransformerShape, parse, patch_height


@dataclass(frozen=True)
class BlockCost:
    """Forward FLOPs of one sample and parameters of one block; `kind` is what it does: "token", "attention"."""

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


def _transformer(shape: TransformerShape, hints: tuple[BlockHints, ...]) -> BackboneCosts:
    tokens, dim, width = shape.tokens, shape.dim, shape.width
    norm = 2 * dim

    def block(number: int, hint: BlockHints) -> BlockCost:
        own = norm if hint.pre_norm else 0
        if number % 2:  # four maps, and two products of a token with every token
            return BlockCost("attention", 8 * tokens * dim**2 + 4 * tokens**2 * dim, 4 * (dim**2 + dim) + own)
        return BlockCost("feed_forward", 4 * tokens * dim * width, 2 * dim * width + width + dim + own)

    places = tokens * dim
    if shape.context is not None:
        stem_flops, stem_parameters, read = 0, BYTES * dim + places, tokens
    else:
        assert shape.image is not None
        assert shape.patch is not None
        values = patch_height(shape.image, shape.patch) * shape.patch * shape.channels
        stem_flops, stem_parameters, read = tokens * 2 * values * dim, values * dim + dim + places, 1
    return BackboneCosts(
        tokens=tokens,
        dim=dim,
        stem_flops=stem_flops,
        head_flops=read * 2 * dim * shape.classes,
        stem_parameters=stem_parameters,
        head_parameters=norm + dim * shape.classes + shape.classes,
        blocks=tuple(block(number, hint) for number, hint in enumerate(hints, start=1)),
    )


@lru_cache(maxsize=64)
def _function(shape: FunctionShape, hints: tuple[BlockHints, ...]) -> BackboneCosts:
    """Made and run on torch's meta device, once for each depth and set of hints."""
    from trainers.backbones.user import user_costs

    return user_costs(shape, hints)


# Each takes the shape of its kind.
PRICES: dict[str, Callable[[Any, tuple[BlockHints, ...]], BackboneCosts]] = {
    "mixer": _mixer,
    "transformer": _transformer,
    "function": _function,
}
