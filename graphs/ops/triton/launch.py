"""What the launches share: sizes of buckets and tiles, checks, and lists of tensors as tuples of pointers.

Sizes are chosen by reasoning for a card of 4 TB/s, where about 32 KB per multiprocessor must be on their way: a lane
loads 16 bytes at a time, a tile has 8 elements a lane, and 4 warps share it, so that eight programs of even one source
fill a multiprocessor. There is nothing to tune and nothing to warm up.
"""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from graphs.errors import CompileError

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
SCALE = 16 if INTERPRETED else 1  # the interpreter pays by program, not by element
BUCKETS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 24, 32, 48, 64)  # exact where a few streams are mixed
LARGEST = BUCKETS[-1]
TILE = 1024  # elements of one tensor that a program of 4 warps holds
WARPS = 4
PROGRAMS = 1056  # of a two-stage sum: 8 for each of 132 multiprocessors; a constant, so that the order of a sum is one
WIDEST = 32768  # channels of a row that a program can hold, for a norm
HALF = 1 << 31
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class Rows(NamedTuple):
    """A tensor as ``rows`` of ``width`` elements."""

    rows: int
    width: int

    @property
    def wide(self) -> bool:
        return self.width >= HALF - (1 << 24)  # a loop's last step may go past the end


def bucket(count: int) -> int:
    """The smallest bucket that holds them; the caller has cut the list to ``LARGEST``."""
    return next(size for size in BUCKETS if size >= count)


def chunks(count: int, size: int) -> list[slice]:
    """Equal parts of at most ``size``: 65 is 33 and 32, not 64 and 1."""
    parts = max(1, -(-count // size))
    each = -(-count // parts)
    return [slice(start, min(start + each, count)) for start in range(0, count, each)]


def pointers(tensors: Sequence[Tensor], size: int) -> tuple[Tensor, ...]:
    """The tensors, and the first again in the places nobody reads."""
    return (*tensors, *(tensors[0],) * (size - len(tensors)))


def checked(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Contiguous; CompileError for a dtype or a device these kernels are not for."""
    for tensor in tensors:
        if tensor.dtype not in DTYPES:
            names = ", ".join(str(dtype) for dtype in DTYPES)
            raise CompileError(f"the Triton kernels are for {names}; got {tensor.dtype}, which impl='reference' takes")
        if tensor.device != tensors[0].device:
            raise CompileError(f"sources are on {tensors[0].device} and {tensor.device}; one device was expected")
    return [tensor.contiguous() for tensor in tensors]


def view(tensor: Tensor, *, by_row: bool) -> Rows:
    """Its rows of channels, or all of it as one row."""
    if not by_row:
        return Rows(1, tensor.numel())
    width = tensor.shape[-1]
    return Rows(tensor.numel() // width if width else 0, width)


def vector(tensors: Sequence[Tensor]) -> int:
    """Elements of the widest dtype in 16 bytes."""
    return 16 // max(tensor.element_size() for tensor in tensors)


def power(number: int) -> int:
    result: int = triton.next_power_of_2(max(number, 1))
    return result


def on(tensor: Tensor) -> AbstractContextManager[Any]:
    """Triton launches on the current device."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()
