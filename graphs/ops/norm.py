"""A mix whose outputs end with an RMSNorm, and the way back through it, as torch operators.

``wireloom::normed`` is the mix and its norm in one pass; ``wireloom::norm_back`` makes the sums before the norm again
from the sources, or takes them as sources where they were kept. Engines are those of :mod:`graphs.ops.kernels`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from graphs.ops import kernels
from graphs.ops.reference import accumulation, promoted

AGAIN = 4  # sources an output: up to so many, making the sums again moves no more than keeping them does


def again(k: int, m: int) -> bool:
    """Whether the backward pass of k sources and m outputs makes the sums again (k + 2 m Td), or has them kept.

    Kept, they cost m writes and m reads in the accumulation dtype, twice as wide as 16-bit states are.
    """
    return k <= AGAIN * m


@torch.library.custom_op("wireloom::normed", mutates_args=())
def normed_op(
    sources: list[Tensor], weight: Tensor, gain: Tensor, keep: bool
) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    """See :func:`normed`."""
    result: tuple[list[Tensor], Tensor, list[Tensor]] = kernels.engine(weight.device.type).normed(
        sources, weight, gain, keep
    )
    return result


@torch.library.custom_op("wireloom::norm_back", mutates_args=())
def norm_back_op(
    grads: list[Tensor], sources: list[Tensor], weight: Tensor, gain: Tensor, scale: Tensor
) -> tuple[list[Tensor], Tensor]:
    """See :func:`norm_back`."""
    result: tuple[list[Tensor], Tensor] = kernels.engine(weight.device.type).norm_back(
        grads, sources, weight, gain, scale
    )
    return result


@normed_op.register_fake
def _(sources: list[Tensor], weight: Tensor, gain: Tensor, keep: bool) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    dtype, m, like = promoted(sources), weight.shape[1], sources[0]
    scale = like.new_empty(m, like.numel() // like.shape[-1], dtype=accumulation(dtype))
    sums = [like.new_empty(like.shape, dtype=accumulation(dtype)) for _ in range(m if keep else 0)]
    return [like.new_empty(like.shape, dtype=dtype) for _ in range(m)], scale, sums


@norm_back_op.register_fake
def _(
    grads: list[Tensor], sources: list[Tensor], weight: Tensor, gain: Tensor, scale: Tensor
) -> tuple[list[Tensor], Tensor]:
    dtype = promoted(grads)
    return [grad.new_empty(grad.shape, dtype=dtype) for grad in grads], gain.new_empty(gain.shape, dtype=scale.dtype)


def _keep(ctx: Any, inputs: tuple[list[Tensor], Tensor, Tensor, bool], output: Any) -> None:
    sources, weight, gain, _ = inputs
    _, scale, sums = output
    ctx.mark_non_differentiable(scale, *sums)  # for the backward pass alone: a loss on them would have no gradient
    ctx.save_for_backward(weight, gain, scale, *sources)


def _backward(ctx: Any, grads: list[Tensor], scale: Tensor, sums: list[Tensor]) -> Any:
    """Of the operator called by itself, from its outputs alone."""
    weight, gain, scale, *sources = ctx.saved_tensors
    inner, slope = norm_back_op([grad.contiguous() for grad in grads], sources, weight, gain, scale)
    totals, products = kernels.gather_op(inner, sources, weight, [True] * len(sources))
    into = [total.to(source.dtype) for total, source in zip(totals, sources, strict=True)]
    return into, products.to(weight.dtype), slope.to(gain.dtype), None


normed_op.register_autograd(_backward, setup_context=_keep)


def normed(
    sources: Sequence[Tensor], weight: Tensor, gain: Tensor, keep: bool
) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    """A weight (R, m, k, C) on k sources (..., d) and the norm with ``gain`` (d,) of each of the m outputs.

    Also the norms' factors (m, rows) and, with ``keep``, the sums before them, both in the accumulation dtype.
    Outputs are contiguous. CompileError where the sources are not on one device.
    """
    kernels.check_devices(sources, weight)
    result: tuple[list[Tensor], Tensor, list[Tensor]]
    if kernels.eager(weight):
        result = kernels.engine(weight.device.type).normed(sources, weight, gain, keep)
    else:
        result = normed_op(list(sources), weight, gain, keep)
    return result


def norm_back(
    grads: Sequence[Tensor], sources: Sequence[Tensor], weight: Tensor, gain: Tensor, scale: Tensor
) -> tuple[list[Tensor], Tensor]:
    """From the gradients at m normed outputs to those at the sums before, and that of the gain in the sums' dtype."""
    result: tuple[list[Tensor], Tensor]
    if kernels.eager(weight):
        result = kernels.engine(weight.device.type).norm_back(grads, sources, weight, gain, scale)
    else:
        result = norm_back_op(list(grads), list(sources), weight, gain, scale)
    return result


def through(
    grads: Sequence[Tensor],
    sources: Sequence[Tensor] | None,
    sums: Sequence[Tensor],
    weight: Tensor,
    gain: Tensor,
    scale: Tensor,
) -> tuple[list[Tensor], Tensor]:
    """:func:`norm_back` from the sources, or without them from the sums that were kept."""
    if sources is not None:
        return norm_back(grads, sources, weight, gain, scale)
    one = torch.ones(1, 1, 1, 1, dtype=scale.dtype, device=scale.device)
    parts = [
        norm_back([grad], [kept], one, gain, scale[i : i + 1])
        for i, (grad, kept) in enumerate(zip(grads, sums, strict=True))
    ]
    slope = parts[0][1]
    for _, more in parts[1:]:
        slope = slope + more
    return [into[0] for into, _ in parts], slope
