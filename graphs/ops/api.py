"""The public operator: checks its arguments and hands them to the engine that was named."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from graphs.errors import CompileError
from graphs.ops import reference
from graphs.weights import Matrix

Engine = Callable[[Sequence[Tensor], "Tensor | Matrix"], tuple[Tensor, ...]]

ENGINES: Mapping[str, Engine] = MappingProxyType({"reference": reference.mix})


def check_engine(impl: str) -> str:
    """Return ``impl`` if this version has it; CompileError names those it has."""
    if impl not in ENGINES:
        raise CompileError(f"impl={impl!r} is not in this version; it has {', '.join(map(repr, ENGINES))}")
    return impl


def mix(sources: Sequence[Tensor], weight: Tensor | Matrix, *, impl: str = "reference") -> tuple[Tensor, ...]:
    """Mix k tensors of one shape ``(..., d)`` into m: ``out[i] = sum_j weight[i, j] * sources[j]``.

    ``weight`` is a tensor of shape ``(m, k)``, one of shape ``(..., m, k)`` whose leading axes are those of the
    sources without the last (per token), or rows of plain numbers, which are fixed: zeros then cost nothing and
    ones no multiplication. 16-bit sources are accumulated in fp32; the outputs have the sources' promoted dtype.
    Raises CompileError for an empty list, sources of different shapes or a weight that does not fit.
    """
    engine = ENGINES[check_engine(impl)]
    if not sources:
        raise CompileError("mix needs at least one source; the list is empty")
    shape = sources[0].shape
    for j, source in enumerate(sources):
        if source.shape != shape:
            raise CompileError(f"source {j} has shape {tuple(source.shape)}, source 0 has {tuple(shape)}")
        if not source.is_floating_point():
            raise CompileError(f"source {j} has dtype {source.dtype}; floating point was expected")
    columns = weight.shape[-1] if isinstance(weight, Tensor) and weight.ndim >= 2 else None
    if not isinstance(weight, Tensor):
        columns = len(weight[0]) if weight and all(len(row) == len(weight[0]) for row in weight) else None
    if columns != len(sources):
        given = tuple(weight.shape) if isinstance(weight, Tensor) else f"{len(weight)} rows"
        raise CompileError(f"{len(sources)} sources need a weight with {len(sources)} columns; got {given}")
    if isinstance(weight, Tensor) and weight.ndim > 2:
        leading = torch.Size(weight.shape[:-2])
        if leading != shape[:-1]:
            raise CompileError(
                f"a weight per token has the leading shape {tuple(shape[:-1])} of its sources; got {tuple(leading)}"
            )
    return engine(sources, weight)
