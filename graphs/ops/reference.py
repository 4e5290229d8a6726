"""The definition of ``mix`` in plain PyTorch: any device, any float dtype, differentiable any number of times."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from graphs.weights import Matrix


def mix(sources: Sequence[Tensor], weight: Tensor | Matrix) -> tuple[Tensor, ...]:
    """See :func:`graphs.ops.mix`; arguments are taken as checked."""
    promoted = reduce(torch.promote_types, (source.dtype for source in sources))
    accumulate = torch.promote_types(promoted, torch.float32)
    states = [source.to(accumulate) for source in sources]
    if not isinstance(weight, Tensor):
        return tuple(_fixed_row(row, states).to(promoted) for row in weight)
    with without_autocast(states[0]):
        if weight.ndim == 2:
            mixed: Tensor = torch.tensordot(weight.to(accumulate), torch.stack(states), dims=1)
            return mixed.to(promoted).unbind(0)
        return torch.matmul(weight.to(accumulate), torch.stack(states, dim=-2)).to(promoted).unbind(-2)


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
