"""The definition of ``mix`` in plain PyTorch: any device, any float dtype, differentiable any number of times."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from graphs.rule_tensors import MIN_NORM
from graphs.weights import SCALAR, Grain, Matrix


def mix(
    sources: Sequence[Tensor], weight: Tensor | Matrix, grain: Grain = SCALAR, norm: Tensor | None = None
) -> tuple[Tensor, ...]:
    """See :func:`graphs.ops.mix`; arguments are taken as checked."""
    dtype = promoted(sources)
    accumulate = accumulation(dtype)
    states = [source.to(accumulate) for source in sources]
    if not isinstance(weight, Tensor):
        return tuple(finished(_fixed_row(row, states), norm, dtype) for row in weight)
    weight = weight.to(accumulate)
    with without_autocast(states[0]):
        if grain.full:
            rows = _mixing_channels(states, weight)
        elif grain != SCALAR:
            rows = _per_part(states, weight)
        elif weight.ndim == 2:
            rows = torch.tensordot(weight, torch.stack(states), dims=1).unbind(0)
        else:
            rows = torch.matmul(weight, torch.stack(states, dim=-2)).unbind(-2)
        return tuple(finished(row, norm, dtype) for row in rows)


def promoted(tensors: Sequence[Tensor]) -> torch.dtype:
    """The dtype that mixing these gives."""
    return reduce(torch.promote_types, (tensor.dtype for tensor in tensors))


def accumulation(dtype: torch.dtype) -> torch.dtype:
    """The dtype sums of ``dtype`` are taken in: at least fp32."""
    return torch.promote_types(dtype, torch.float32)


def finished(row: Tensor, norm: Tensor | None, dtype: torch.dtype) -> Tensor:
    """An accumulated output with its RMSNorm, in its final dtype."""
    if norm is not None:
        row = nn.functional.rms_norm(row, norm.shape, norm.to(row.dtype), MIN_NORM)
    return row.to(dtype)


def _per_part(states: list[Tensor], weight: Tensor) -> tuple[Tensor, ...]:
    """``weight`` (..., m, k, parts): each part of the channels has a factor of its own."""
    parts = weight.shape[-1]
    cut = [torch.unflatten(state, -1, (parts, -1)) for state in states]
    rows = []
    for i in range(weight.shape[-3]):
        terms = (state * weight[..., i, j, :, None] for j, state in enumerate(cut))
        rows.append(reduce(torch.add, terms).flatten(-2))
    return tuple(rows)


def _mixing_channels(states: list[Tensor], weight: Tensor) -> tuple[Tensor, ...]:
    """``weight`` (..., m, k, p, q): parts of the sources are mixed into parts of the outputs, offset by offset."""
    m, k, parts = weight.shape[-4], weight.shape[-3], weight.shape[-1]
    stacked = torch.stack([torch.unflatten(state, -1, (parts, -1)) for state in states], dim=-3)  # (..., k, q, offset)
    flat = weight.transpose(-3, -2).reshape(*weight.shape[:-4], m * parts, k * parts)
    mixed = torch.matmul(flat, stacked.flatten(-3, -2))  # (..., m p, offset)
    return torch.unflatten(mixed, -2, (m, parts)).flatten(-2).unbind(-2)


def without_autocast(tensor: Tensor) -> AbstractContextManager[Any]:
    """Matrix products keep the dtype they are given: autocast would take them to 16 bits."""
    kind = tensor.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


def _fixed_row(row: Sequence[object], states: Sequence[Tensor]) -> Tensor:
    total: Tensor | None = None
    for entry, state in zip(row, states, strict=True):
        number = float(entry)  # type: ignore[arg-type]
        if number:
            term = state if number == 1 else state * number
            total = term if total is None else total + term
    return torch.zeros_like(states[0]) if total is None else total
