"""The definition of ``mix`` in plain PyTorch: any device, any float dtype, differentiable any number of times."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from graphs.weights import SCALAR, Grain, Matrix


def mix(sources: Sequence[Tensor], weight: Tensor | Matrix, grain: Grain = SCALAR) -> tuple[Tensor, ...]:
    """See :func:`graphs.ops.mix`; arguments are taken as checked."""
    promoted = reduce(torch.promote_types, (source.dtype for source in sources))
    accumulate = torch.promote_types(promoted, torch.float32)
    states = [source.to(accumulate) for source in sources]
    if not isinstance(weight, Tensor):
        return tuple(_fixed_row(row, states).to(promoted) for row in weight)
    weight = weight.to(accumulate)
    with without_autocast(states[0]):
        if grain.full:
            return _mixing_channels(states, weight, promoted)
        if grain != SCALAR:
            return _per_part(states, weight, promoted)
        if weight.ndim == 2:
            mixed: Tensor = torch.tensordot(weight, torch.stack(states), dims=1)
            return mixed.to(promoted).unbind(0)
        return torch.matmul(weight, torch.stack(states, dim=-2)).to(promoted).unbind(-2)


def _per_part(states: list[Tensor], weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """``weight`` (..., m, k, parts): each part of the channels has a factor of its own."""
    parts = weight.shape[-1]
    cut = [torch.unflatten(state, -1, (parts, -1)) for state in states]
    rows = []
    for i in range(weight.shape[-3]):
        terms = (state * weight[..., i, j, :, None] for j, state in enumerate(cut))
        rows.append(reduce(torch.add, terms).flatten(-2).to(dtype))
    return tuple(rows)


def _mixing_channels(states: list[Tensor], weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """``weight`` (..., m, k, p, q): parts of the sources are mixed into parts of the outputs, offset by offset."""
    m, k, parts = weight.shape[-4], weight.shape[-3], weight.shape[-1]
    stacked = torch.stack([torch.unflatten(state, -1, (parts, -1)) for state in states], dim=-3)  # (..., k, q, offset)
    flat = weight.transpose(-3, -2).reshape(*weight.shape[:-4], m * parts, k * parts)
    mixed = torch.matmul(flat, stacked.flatten(-3, -2))  # (..., m p, offset)
    return torch.unflatten(mixed, -2, (m, parts)).flatten(-2).to(dtype).unbind(-2)


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
