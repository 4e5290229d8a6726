"""The two kernels on a CPU: compiled ones where there are (:mod:`graphs.ops.native`), else torch in pieces.

Weights have four axes here, (R, m, k, C): R is the number of rows (tokens), or 1 where all share them, and C the number
of channels, or 1 likewise. Where R and C are 1 nothing depends on where a number is, and tensors are one long row.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from graphs.ops import native
from graphs.ops.reference import accumulation, promoted, without_autocast

PIECE = 1 << 15  # elements of each tensor worked on at a time by torch: 128 KB of fp32 stay in the cache


def mix(sources: Sequence[Tensor], weight: Tensor) -> list[Tensor]:
    """``out[i] = sum_j weight[:, i, j] * sources[j]`` in the promoted dtype; each source is read once from memory."""
    dtype = promoted(sources)
    inner = accumulation(dtype)
    m = weight.shape[1]
    with without_autocast(weight):
        flat = _aligned([source.to(inner) for source in sources], weight)
        outputs = [torch.empty_like(flat[0]) for _ in range(m)]
        values = weight.to(inner).contiguous()
        if native.available(inner) and weight.shape[3] == 1:
            native.mix(flat, values[..., 0], outputs, _width(flat[0], weight))
        else:
            _in_pieces(flat, values, outputs)
        return [output.to(dtype) for output in outputs]


def gather(
    grads: Sequence[Tensor], sources: Sequence[Tensor | None], weight: Tensor, wanted: Sequence[bool]
) -> tuple[list[Tensor], Tensor]:
    """``sum_i weight[:, i, j] * grads[i]`` for each j that is wanted, and ``<grads[i], sources[j]>`` (R, m, k, C).

    Products are summed over what shares a weight. Without its source those of a column are zero. Both have the
    accumulation dtype.
    """
    inner = accumulation(promoted([*grads, *(source for source in sources if source is not None)]))
    with without_autocast(weight):
        there = [source.to(inner) for source in sources if source is not None]
        flat = _aligned([*(grad.to(inner) for grad in grads), *there], weight)
        rows, rest = flat[: len(grads)], iter(flat[len(grads) :])
        states = [None if source is None else next(rest) for source in sources]
        totals = [torch.empty_like(rows[0]) if want else None for want in wanted]
        values = weight.to(inner).contiguous()
        if native.available(inner) and weight.shape[3] == 1:
            products = native.spread(rows, states, values[..., 0], totals, _width(rows[0], weight))[..., None]
        else:
            products = torch.zeros_like(values)
            for j, (state, total) in enumerate(zip(states, totals, strict=True)):
                if total is not None:
                    _in_pieces(rows, values[:, None, :, j], [total])
                if state is not None:
                    for i, row in enumerate(rows):
                        products[:, i, j] = _product(row, state, values.shape)
        return [total for total in totals if total is not None], products


def _aligned(tensors: Sequence[Tensor], weight: Tensor) -> list[Tensor]:
    """Tensors whose elements follow each other in memory in one order, the same for all."""
    first = tensors[0]
    dense = first.is_contiguous() or (weight.shape[0] == weight.shape[3] == 1 and _dense(first))
    if dense and all(tensor.stride() == first.stride() for tensor in tensors[1:]):
        return list(tensors)
    return [tensor.contiguous() for tensor in tensors]


def _dense(tensor: Tensor) -> bool:
    """Whether its elements fill a run of memory, in whatever order of the axes."""
    order = sorted(range(tensor.ndim), key=tensor.stride, reverse=True)
    return tensor.permute(order).is_contiguous()


def _width(tensor: Tensor, weight: Tensor) -> int:
    return tensor.numel() if weight.shape[0] == 1 else tensor.shape[-1]


def _rows(tensor: Tensor, weight: Tensor) -> Tensor:
    """A view as (rows, width), or (1, all) where rows share weights and channels do."""
    if weight.shape[0] == weight.shape[3] == 1:
        return torch.as_strided(tensor, (1, tensor.numel()), (max(tensor.numel(), 1), 1))
    return tensor.reshape(-1, tensor.shape[-1])


def _in_pieces(flat: Sequence[Tensor], weight: Tensor, outputs: Sequence[Tensor]) -> None:
    states, results = [_rows(tensor, weight) for tensor in flat], [_rows(tensor, weight) for tensor in outputs]
    plain = weight.shape[0] == weight.shape[3] == 1
    length = states[0].shape[1 if plain else 0]
    step = PIECE if plain else max(PIECE // max(states[0].shape[1], 1), 1)
    numbers = weight[0, :, :, 0].tolist() if plain else None
    for start in range(0, length, step):
        part = (slice(None), slice(start, start + step)) if plain else (slice(start, start + step),)
        for i, result in enumerate(results):
            piece = result[part]
            for j, state in enumerate(states):
                if numbers is not None:
                    if j:
                        piece.add_(state[part], alpha=numbers[i][j])
                    else:
                        torch.mul(state[part], numbers[i][j], out=piece)
                    continue
                factor = weight[part[0], i, j] if weight.shape[0] > 1 else weight[:, i, j]
                if j:
                    piece.addcmul_(state[part], factor)
                else:
                    torch.mul(state[part], factor, out=piece)


def _product(left: Tensor, right: Tensor, shape: torch.Size) -> Tensor:
    """``left * right`` summed over rows where R is 1 and over channels where C is 1: (R, C)."""
    if shape[0] == shape[3] == 1:
        one, other = (torch.as_strided(side, (side.numel(),), (1,)) for side in (left, right))
        total = torch.zeros((), dtype=torch.float64)  # long sums keep their digits
        for start in range(0, one.numel(), PIECE):
            total += torch.dot(one[start : start + PIECE], other[start : start + PIECE])
        return total.to(left.dtype).view(1, 1)
    rows = torch.mul(left, right).reshape(-1, left.shape[-1])
    axes = [axis for axis, size in ((0, shape[0]), (1, shape[3])) if size == 1]
    return rows.sum(axes, keepdim=True) if axes else rows
