"""The two kernels as torch operators, ``wireloom::mix`` and ``wireloom::gather``, with an engine for each device.

They are functional, without state or mutation, so that ``torch.compile``, ``torch.export`` and fake tensors know them.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from graphs.ops import cpu
from graphs.ops.reference import accumulation, promoted


@torch.library.custom_op("wireloom::mix", mutates_args=(), device_types="cpu")
def mix_op(sources: list[Tensor], weight: Tensor) -> list[Tensor]:
    """See :func:`graphs.ops.cpu.mix`."""
    return cpu.mix(sources, weight)


@torch.library.custom_op("wireloom::gather", mutates_args=(), device_types="cpu")
def gather_op(
    grads: list[Tensor], sources: list[Tensor | None], weight: Tensor, wanted: list[bool]
) -> tuple[list[Tensor], Tensor]:
    """See :func:`graphs.ops.cpu.gather`."""
    return cpu.gather(grads, sources, weight, wanted)


@mix_op.register_fake
def _(sources: list[Tensor], weight: Tensor) -> list[Tensor]:
    dtype = promoted(sources)
    return [torch.empty_like(sources[0], dtype=dtype) for _ in range(weight.shape[1])]


@gather_op.register_fake
def _(
    grads: list[Tensor], sources: list[Tensor | None], weight: Tensor, wanted: list[bool]
) -> tuple[list[Tensor], Tensor]:
    inner = accumulation(promoted([*grads, *(source for source in sources if source is not None)]))
    totals = [torch.empty_like(grads[0], dtype=inner) for want in wanted if want]
    return totals, torch.empty_like(weight, dtype=inner, memory_format=torch.contiguous_format)


def _keep(ctx: Any, inputs: tuple[list[Tensor], Tensor], output: list[Tensor]) -> None:
    sources, weight = inputs
    ctx.save_for_backward(weight, *sources)


def _backward(ctx: Any, grads: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    """Of the operator called by itself; the pair in :mod:`graphs.ops.gather` does without it."""
    weight, *sources = ctx.saved_tensors
    totals, products = gather_op(grads, sources, weight, [True] * len(sources))
    return [total.to(source.dtype) for total, source in zip(totals, sources, strict=True)], products.to(weight.dtype)


mix_op.register_autograd(_backward, setup_context=_keep)


def mix(sources: Sequence[Tensor], weight: Tensor) -> list[Tensor]:
    """``weight`` (R, m, k, C) on k sources: m outputs."""
    if _eager(weight):
        return cpu.mix(sources, weight)
    result: list[Tensor] = mix_op(list(sources), weight)
    return result


def gather(
    grads: Sequence[Tensor], sources: Sequence[Tensor | None], weight: Tensor, wanted: Sequence[bool]
) -> tuple[list[Tensor], Tensor]:
    """The transposed weights on the gradients, for columns that are wanted, and products with the sources."""
    if _eager(weight):
        return cpu.gather(grads, sources, weight, wanted)
    result: tuple[list[Tensor], Tensor] = gather_op(list(grads), list(sources), weight, list(wanted))
    return result


def _eager(weight: Tensor) -> bool:
    """On a CPU in eager mode the kernels are called as they are: the dispatcher costs more than a small mix."""
    return weight.device.type == "cpu" and type(weight) is Tensor and not torch.compiler.is_compiling()
