"""The kernels in C that need whole rows: a mix that ends with a norm, and attention over depth.

All tensors have one dtype and no gaps, and rows are their last axis.
"""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from graphs.ops.native import BLOCKS, addresses, at, call
from graphs.rule_tensors import MIN_NORM

Long, Eps = ctypes.c_int64, ctypes.c_double(MIN_NORM)


def normed(
    sources: Sequence[Tensor],
    weight: Tensor,
    gain: Tensor,
    outputs: Sequence[Tensor],
    sums: Sequence[Tensor | None],
    scale: Tensor,
) -> None:
    """``outputs`` normed, ``sums`` as they are before it where asked for, and ``scale`` (m, rows).

    ``weight`` is (R, m, k).
    """
    m, k = weight.shape[1:]
    call("normed", gain.dtype)(
        *_size(sources[0]), m, k, at(weight), _step(weight), addresses(sources), at(gain), addresses(outputs),
        addresses(sums), at(scale), Eps,
    )  # fmt: skip


def norm_back(
    grads: Sequence[Tensor],
    sources: Sequence[Tensor],
    weight: Tensor,
    gain: Tensor,
    scale: Tensor,
    outputs: Sequence[Tensor],
) -> Tensor:
    """``outputs``: the gradients at the sums before the norm; returns the gain's."""
    m, k = weight.shape[1:]
    partial = torch.zeros(BLOCKS, gain.numel(), dtype=torch.float64)
    call("norm_back", gain.dtype)(
        *_size(sources[0]), m, k, at(weight), _step(weight), addresses(sources), at(gain), at(scale), addresses(grads),
        addresses(outputs), Long(BLOCKS), at(partial),
    )  # fmt: skip
    return partial.sum(0).to(gain.dtype)


def scales(source: Tensor, scale: Tensor) -> None:
    """``scale`` (rows): one over the root of the mean square of each row."""
    call("scales", source.dtype)(*_size(source), at(source), at(scale), Eps)


def attend(
    sources: Sequence[Tensor], scale: Sequence[Tensor], key: Tensor, output: Tensor, logits: Tensor, lse: Tensor
) -> None:
    """``logits`` (rows, k) and ``lse`` (rows) beside the output."""
    call("attend", key.dtype)(
        *_size(output), len(sources), addresses(sources), addresses(scale), at(key), at(output), at(logits), at(lse)
    )


def attend_delta(grad: Tensor, output: Tensor, delta: Tensor) -> None:
    """``delta`` (rows): the products of the rows."""
    call("attend_delta", grad.dtype)(*_size(output), at(grad), at(output), at(delta))


def attend_back(
    grads: Sequence[Tensor],
    source: Tensor,
    keys: Tensor,
    logits: Tensor,
    lse: Tensor,
    delta: Tensor,
    scale: Tensor,
    output: Tensor | None,
    pulls: Tensor,
) -> None:
    """``output``: the gradient of the source, if asked for; ``pulls`` (rows, readers): its logits' times ``scale``."""
    call("attend_back", source.dtype)(
        *_size(source), len(grads), addresses(grads), at(source), at(keys), at(logits), at(lse), at(delta), at(scale),
        at(output), at(pulls),
    )  # fmt: skip


def _size(tensor: Tensor) -> tuple[ctypes.c_int64, ctypes.c_int64]:
    """Rows, and the numbers in one."""
    width = tensor.shape[-1]
    return Long(tensor.numel() // max(width, 1)), Long(width)


def _step(weight: Tensor) -> ctypes.c_int64:
    return Long(0 if weight.shape[0] == 1 else weight.shape[1] * weight.shape[2])
