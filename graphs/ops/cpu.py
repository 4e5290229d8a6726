"""The two kernels on a CPU: compiled ones where there are (:mod:`graphs.ops.native`), else torch in pieces.

Weights have four axes here, (R, m, k, C): R is the number of rows (tokens), or 1 where all share them, and C the number
of channels, or 1 likewise. Where R and C are 1 nothing depends on where a number is, and tensors are one long row.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from graphs.ops import native
from graphs.ops.layout import aligned, rows
from graphs.ops.reference import accumulation, promoted, without_autocast

PIECE = 1 << 15  # elements of each tensor worked on at a time by torch: 128 KB of fp32 stay in the cache


def mix(sources: Sequence[Tensor], weight: Tensor) -> list[Tensor]:
    """``out[i] = sum_j weight[:, i, j] * sources[j]`` in the promoted dtype; each source is read once from memory."""
    dtype = promoted(sources)
    inner = accumulation(dtype)
    m = weight.shape[1]
    with without_autocast(weight):
        flat = [state.to(inner) for state in aligned(sources, weight)]
        outputs = [torch.empty_like(flat[0]) for _ in range(m)]
        values = weight.to(inner).contiguous()
        if native.available(inner) and weight.shape[3] == 1:
            native.mix(flat, values[..., 0], outputs, _width(flat[0], weight))
        else:
            _in_pieces(flat, values, outputs)
        return [output.to(dtype) for output in outputs]


def gather(
    grads: Sequence[Tensor],
    sources: Sequence[Tensor | None],
    weight: Tensor,
    wanted: Sequence[bool],
    dtype: torch.dtype | None = None,
) -> tuple[list[Tensor], Tensor]:
    """``sum_i weight[:, i, j] * grads[i]`` for each j that is wanted, and ``<grads[i], sources[j]>`` (R, m, k, C).

    Products are summed over what shares a weight. Without its source those of a column are zero. Both have the
    accumulation dtype, the sums ``dtype`` where it is given.
    """
    inner = accumulation(promoted([*grads, *(source for source in sources if source is not None)]))
    with without_autocast(weight):
        there = [source for source in sources if source is not None]
        flat = [tensor.to(inner) for tensor in aligned([*grads, *there], weight)]
        edges, rest = flat[: len(grads)], iter(flat[len(grads) :])
        states = [None if source is None else next(rest) for source in sources]
        totals = [torch.empty_like(edges[0]) if want else None for want in wanted]
        values = weight.to(inner).contiguous()
        if native.available(inner) and weight.shape[3] == 1:
            products = native.spread(edges, states, values[..., 0], totals, _width(edges[0], weight))[..., None]
        else:
            products = torch.zeros_like(values)
            for j, (state, total) in enumerate(zip(states, totals, strict=True)):
                if total is not None:
                    _in_pieces(edges, values[:, None, :, j], [total])
                if state is not None:
                    for i, edge in enumerate(edges):
                        products[:, i, j] = _product(edge, state, values.shape)
        return [total.to(dtype or inner) for total in totals if total is not None], products


def _width(tensor: Tensor, weight: Tensor) -> int:
    return tensor.numel() if weight.shape[0] == 1 else tensor.shape[-1]


def _in_pieces(flat: Sequence[Tensor], weight: Tensor, outputs: Sequence[Tensor]) -> None:
    states, results = [rows(tensor, weight) for tensor in flat], [rows(tensor, weight) for tensor in outputs]
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
    each = torch.mul(left, right).reshape(-1, left.shape[-1])
    axes = [axis for axis, size in ((0, shape[0]), (1, shape[3])) if size == 1]
    return each.sum(axes, keepdim=True) if axes else each
