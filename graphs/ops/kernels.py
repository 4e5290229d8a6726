"""The two kernels as torch operators, ``wireloom::mix`` and ``wireloom::gather``, with an engine for each device.

On a CPU that is :mod:`graphs.ops.cpu`, on a GPU :mod:`graphs.ops.triton.engine` where triton is installed, and
anywhere else :mod:`graphs.ops.plain`, with a warning on a GPU. They are functional, without state or mutation, so that
``torch.compile``, ``torch.export`` and fake tensors know them.
"""

import importlib.util
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from graphs.errors import CompileError
from graphs.ops import cpu, plain
from graphs.ops.layout import aligned
from graphs.ops.reference import accumulation, promoted


@cache
def engine(device: str) -> Any:
    """The module whose ``mix`` and ``gather`` run on a type of device; asked once for each."""
    if device == "cpu":
        return cpu
    if device != "cuda":
        return plain
    if importlib.util.find_spec("triton") is None:
        warnings.warn(
            "impl='fused' runs in plain torch on this GPU, slower than it could: triton is not installed "
            "(pip install 'wireloom[gpu]')",
            stacklevel=2,
        )
        return plain
    from graphs.ops.triton import engine as made

    return made


@torch.library.custom_op("wireloom::mix", mutates_args=())
def mix_op(sources: list[Tensor], weight: Tensor) -> list[Tensor]:
    """See :func:`graphs.ops.cpu.mix`."""
    result: list[Tensor] = engine(weight.device.type).mix(sources, weight)
    return result


@torch.library.custom_op("wireloom::gather", mutates_args=())
def gather_op(
    grads: list[Tensor],
    sources: list[Tensor | None],
    weight: Tensor,
    wanted: list[bool],
    dtype: torch.dtype | None = None,
) -> tuple[list[Tensor], Tensor]:
    """See :func:`graphs.ops.cpu.gather`."""
    result: tuple[list[Tensor], Tensor] = engine(weight.device.type).gather(grads, sources, weight, wanted, dtype)
    return result


@mix_op.register_fake
def _(sources: list[Tensor], weight: Tensor) -> list[Tensor]:
    like, dtype = aligned(sources, weight)[0], promoted(sources)
    return [torch.empty_like(like, dtype=dtype) for _ in range(weight.shape[1])]


@gather_op.register_fake
def _(
    grads: list[Tensor],
    sources: list[Tensor | None],
    weight: Tensor,
    wanted: list[bool],
    dtype: torch.dtype | None = None,
) -> tuple[list[Tensor], Tensor]:
    everything = [*grads, *(source for source in sources if source is not None)]
    like, inner = aligned(everything, weight)[0], accumulation(promoted(everything))
    totals = [torch.empty_like(like, dtype=dtype or inner) for want in wanted if want]
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
    """``weight`` (R, m, k, C) on k sources: m outputs. CompileError where they are not on one device."""
    check_devices(sources, weight)
    result: list[Tensor]
    if eager(weight):
        result = engine(weight.device.type).mix(sources, weight)
    else:
        result = mix_op(list(sources), weight)
    return result


def gather(
    grads: Sequence[Tensor],
    sources: Sequence[Tensor | None],
    weight: Tensor,
    wanted: Sequence[bool],
    dtype: torch.dtype | None = None,
) -> tuple[list[Tensor], Tensor]:
    """The transposed weights on the gradients, for columns that are wanted, and products with the sources.

    The sums have ``dtype``, without it the accumulation dtype: asked for here, they are not converted in another pass.
    """
    result: tuple[list[Tensor], Tensor]
    if eager(weight):
        result = engine(weight.device.type).gather(grads, sources, weight, wanted, dtype)
    else:
        result = gather_op(list(grads), list(sources), weight, list(wanted), dtype)
    return result


def check_devices(sources: Sequence[Tensor], weight: Tensor) -> None:
    """CompileError where a source is on another device than the weights."""
    for source in sources:
        if source.device != weight.device:
            raise CompileError(
                f"a hidden state is on {source.device} and the weights of its mix on {weight.device}; "
                "move the whole model: model.to(device)"
            )


def eager(weight: Tensor) -> bool:
    """In eager mode the kernels are called as they are: the dispatcher costs more than a small mix."""
    return type(weight) is Tensor and not torch.compiler.is_compiling()
