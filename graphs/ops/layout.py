"""How tensors lie in memory where the kernels take them, the same on every device and for fake tensors."""

from collections.abc import Sequence

import torch
from torch import Tensor


def aligned(tensors: Sequence[Tensor], weight: Tensor) -> list[Tensor]:
    """Tensors whose elements follow each other in memory in one order, the same for all.

    Contiguous, unless ``weight`` (R, m, k, C) is one number for all elements and they have a dense order in common.
    """
    first = tensors[0]
    dense = first.is_contiguous() or (shared(weight) and _dense(first))
    if dense and all(tensor.stride() == first.stride() for tensor in tensors[1:]):
        return list(tensors)
    return [tensor.contiguous() for tensor in tensors]


def laid_out(
    grads: Sequence[Tensor], sources: Sequence[Tensor | None], weight: Tensor
) -> tuple[list[Tensor], list[Tensor | None]]:
    """What ``gather`` takes, aligned: gradients, and the sources where there are any."""
    flat = aligned([*grads, *(source for source in sources if source is not None)], weight)
    rest = iter(flat[len(grads) :])
    return flat[: len(grads)], [None if source is None else next(rest) for source in sources]


def shared(weight: Tensor) -> bool:
    """Whether rows share the weights and channels do: nothing then depends on where a number is."""
    return weight.shape[0] == weight.shape[3] == 1


def rows(tensor: Tensor, weight: Tensor) -> Tensor:
    """An aligned tensor as (rows, width), or (1, all) where rows share weights and channels do."""
    if shared(weight):
        return torch.as_strided(tensor, (1, tensor.numel()), (max(tensor.numel(), 1), 1))
    return tensor.reshape(-1, tensor.shape[-1])


def _dense(tensor: Tensor) -> bool:
    """Whether its elements fill a run of memory, in whatever order of the axes."""
    order = sorted(range(tensor.ndim), key=tensor.stride, reverse=True)
    return tensor.permute(order).is_contiguous()
