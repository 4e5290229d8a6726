"""Kernels in C for a CPU: each tensor is read once, at its own address."""

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from graphs.ops.native.build import library

BLOCKS = 64  # sums of products are taken in this many parts and then added, whatever the number of threads

_NAMES = {torch.float32: "float", torch.float64: "double"}


def available(dtype: torch.dtype) -> bool:
    """Whether there are compiled kernels for this dtype."""
    return dtype in _NAMES and library() is not None


def mix(sources: Sequence[Tensor], weight: Tensor, outputs: Sequence[Tensor], width: int) -> None:
    """``outputs[i] = sum_j weight[r, i, j] sources[j]`` for each row r of ``width`` numbers; ``weight`` (R, m, k).

    R is 1 where all rows share the weights. All tensors have one dtype and no gaps.
    """
    rows, step = _rows(weight, sources[0], width)
    m, k = weight.shape[1:]
    call("mix", weight.dtype)(
        rows, ctypes.c_int64(width), m, k, at(weight), ctypes.c_int64(step), addresses(sources), addresses(outputs)
    )


def spread(
    grads: Sequence[Tensor],
    sources: Sequence[Tensor | None],
    weight: Tensor,
    outputs: Sequence[Tensor | None],
    width: int,
) -> Tensor:
    """``outputs[j] = sum_i weight[r, i, j] grads[i]``; returns ``<grads[i], sources[j]>`` (R, m, k).

    Sources and outputs may be None: then these products (which are zero) and these sums are left out.
    """
    rows, step = _rows(weight, grads[0], width)
    m, k = weight.shape[1:]
    products, partial = weight, weight
    if any(source is not None for source in sources):
        if step:
            products = torch.zeros_like(weight)
        else:
            partial = torch.zeros(BLOCKS, m, k, dtype=torch.float64)
    call("spread", weight.dtype)(
        rows,
        ctypes.c_int64(width),
        m,
        k,
        at(weight),
        ctypes.c_int64(step),
        addresses(grads),
        addresses(sources),
        addresses(outputs),
        at(products),
        ctypes.c_int64(BLOCKS),
        at(partial),
    )
    if partial is not weight:
        return partial.sum(0, keepdim=True).to(weight.dtype)
    return products if products is not weight else torch.zeros_like(weight)


def call(name: str, dtype: torch.dtype) -> Any:
    """The compiled function of this name for numbers of a dtype that is :func:`available`."""
    loaded = library()
    assert loaded is not None
    function = getattr(loaded, f"{name}_{_NAMES[dtype]}")
    function.restype = None
    return function


def _rows(weight: Tensor, like: Tensor, width: int) -> tuple[ctypes.c_int64, int]:
    return ctypes.c_int64(like.numel() // max(width, 1)), 0 if weight.shape[0] == 1 else weight.shape[1] * weight.shape[
        2
    ]


def at(tensor: Tensor | None) -> ctypes.c_void_p:
    """The address of a tensor's numbers, null without one."""
    return ctypes.c_void_p(0 if tensor is None else tensor.data_ptr())


def addresses(tensors: Sequence[Tensor | None]) -> "ctypes.Array[ctypes.c_void_p]":
    """The addresses of several as a list of C's."""
    return (ctypes.c_void_p * len(tensors))(*(0 if tensor is None else tensor.data_ptr() for tensor in tensors))
