"""The kernels of attention over depth as torch operators; engines are those of :mod:`graphs.ops.kernels`.

Rows are all tokens in one axis; numbers a row are in the accumulation dtype. Tensors of states need not be contiguous.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from graphs.ops import kernels
from graphs.ops.reference import accumulation, promoted


@torch.library.custom_op("wireloom::scales", mutates_args=())
def scales_op(source: Tensor) -> Tensor:
    """See :func:`scales`."""
    result: Tensor = kernels.engine(source.device.type).scales(source)
    return result


@torch.library.custom_op("wireloom::attend", mutates_args=())
def attend_op(sources: list[Tensor], factors: list[Tensor], key: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`attend`."""
    result: tuple[Tensor, Tensor, Tensor] = kernels.engine(key.device.type).attend(sources, factors, key)
    return result


@torch.library.custom_op("wireloom::attend_delta", mutates_args=())
def attend_delta_op(grad: Tensor, output: Tensor) -> Tensor:
    """See :func:`attend_delta`."""
    result: Tensor = kernels.engine(grad.device.type).attend_delta(grad, output)
    return result


@torch.library.custom_op("wireloom::attend_back", mutates_args=())
def attend_back_op(
    grads: list[Tensor],
    source: Tensor,
    keys: Tensor,
    logits: Tensor,
    lse: Tensor,
    delta: Tensor,
    factor: Tensor,
    wanted: bool,
    learned: bool,
) -> tuple[list[Tensor], Tensor]:
    """See :func:`attend_back`."""
    result: tuple[list[Tensor], Tensor] = kernels.engine(source.device.type).attend_back(
        grads, source, keys, logits, lse, delta, factor, wanted, learned
    )
    return result


def _rows(state: Tensor) -> int:
    return state.numel() // state.shape[-1]


@scales_op.register_fake
def _(source: Tensor) -> Tensor:
    return source.new_empty(_rows(source), dtype=accumulation(source.dtype))


@attend_op.register_fake
def _(sources: list[Tensor], factors: list[Tensor], key: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    like, dtype = sources[0], promoted(sources)
    small = [like.new_empty(size, dtype=accumulation(dtype)) for size in ((_rows(like), len(sources)), (_rows(like),))]
    return like.new_empty(like.shape, dtype=dtype), small[0], small[1]


@attend_delta_op.register_fake
def _(grad: Tensor, output: Tensor) -> Tensor:
    return grad.new_empty(_rows(grad), dtype=accumulation(promoted([grad, output])))


@attend_back_op.register_fake
def _(
    grads: list[Tensor],
    source: Tensor,
    keys: Tensor,
    logits: Tensor,
    lse: Tensor,
    delta: Tensor,
    factor: Tensor,
    wanted: bool,
    learned: bool,
) -> tuple[list[Tensor], Tensor]:
    inner = accumulation(promoted([source, *grads]))
    out = [source.new_empty(source.shape)] if wanted else []
    return out, keys.new_empty(keys.shape if learned else (0,), dtype=inner)


def scales(source: Tensor) -> Tensor:
    """The factor of the RMS norm of each row of a source (..., d): (rows,)."""
    found: Tensor = kernels.engine(source.device.type).scales(source) if kernels.eager(source) else scales_op(source)
    return found


def attend(sources: Sequence[Tensor], factors: Sequence[Tensor], key: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The output (..., d) in the sources' promoted dtype, the logits (rows, k), and the logarithms (rows,) of the
    sums of their exponentials. CompileError where sources are not where the key (d,) is."""
    kernels.check_devices(sources, key)
    result: tuple[Tensor, Tensor, Tensor]
    if kernels.eager(key):
        result = kernels.engine(key.device.type).attend(sources, factors, key)
    else:
        result = attend_op(list(sources), list(factors), key)
    return result


def attend_delta(grad: Tensor, output: Tensor) -> Tensor:
    """``<grad, output>`` of each row: (rows,)."""
    eager = kernels.eager(grad)
    found: Tensor = (kernels.engine(grad.device.type).attend_delta if eager else attend_delta_op)(grad, output)
    return found


def attend_back(
    grads: Sequence[Tensor],
    source: Tensor,
    keys: Tensor,
    logits: Tensor,
    lse: Tensor,
    delta: Tensor,
    factor: Tensor,
    wanted: bool,
    learned: bool,
) -> tuple[list[Tensor], Tensor]:
    """One source and the gradients of the C outputs that read it: its gradient if ``wanted`` (in the source's dtype),
    and what it gives to those of the ``keys`` (C, d) if they are ``learned``, else an empty tensor.

    ``logits``, ``lse`` and ``delta`` are (rows, C), ``factor`` (rows,).
    """
    result: tuple[list[Tensor], Tensor]
    if kernels.eager(keys):
        result = kernels.engine(source.device.type).attend_back(
            grads, source, keys, logits, lse, delta, factor, wanted, learned
        )
    else:
        result = attend_back_op(list(grads), source, keys, logits, lse, delta, factor, wanted, learned)
    return result
