"""The two kernels on a CPU: compiled ones where there are (:mod:`graphs.ops.native`), else torch in pieces.

Weights have four axes here, (R, m, k, C): R is the number of rows (tokens), or 1 where all share them, and C the number
of channels, or 1 likewise. Where R and C are 1 nothing depends on where a number is, and tensors are one long row.
Pieces are for these alone; what else is not compiled is :mod:`graphs.ops.plain`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from graphs.ops import native, plain
from graphs.ops.cpu_attend import attend as attend
from graphs.ops.cpu_attend import attend_back as attend_back
from graphs.ops.cpu_attend import attend_delta as attend_delta
from graphs.ops.cpu_attend import scales as scales
from graphs.ops.layout import aligned, laid_out, shared
from graphs.ops.native import rows
from graphs.ops.reference import accumulation, promoted, without_autocast

PIECE = 1 << 15  # elements of each tensor worked on at a time by torch: 128 KB of fp32 stay in the cache


def mix(sources: Sequence[Tensor], weight: Tensor) -> list[Tensor]:
    """``out[i] = sum_j weight[:, i, j] * sources[j]`` in the promoted dtype; each source is read once from memory."""
    dtype = promoted(sources)
    inner = accumulation(dtype)
    compiled = _compiled(weight, inner)
    if not compiled and not shared(weight):
        return plain.mix(sources, weight)
    with without_autocast(weight):
        flat = [state.to(inner) for state in aligned(sources, weight)]
        outputs = [torch.empty_like(flat[0]) for _ in range(weight.shape[1])]
        values = weight.to(inner).contiguous()
        if compiled:
            native.mix(flat, values[..., 0], outputs, _width(flat[0], weight))
        else:
            _in_pieces(flat, values[0, :, :, 0], outputs)
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
    compiled = _compiled(weight, inner)
    if not compiled and not shared(weight):
        return plain.gather(grads, sources, weight, wanted, dtype)
    with without_autocast(weight):
        given, there = laid_out(grads, sources, weight)
        edges = [grad.to(inner) for grad in given]
        states = [None if source is None else source.to(inner) for source in there]
        totals = [torch.empty_like(edges[0]) if want else None for want in wanted]
        values = weight.to(inner).contiguous()
        if compiled:
            products = native.spread(edges, states, values[..., 0], totals, _width(edges[0], weight))[..., None]
        else:
            products = torch.zeros_like(values)
            for j, (state, total) in enumerate(zip(states, totals, strict=True)):
                if total is not None:
                    _in_pieces(edges, values[0, :, j, 0][None], [total])
                if state is not None:
                    for i, edge in enumerate(edges):
                        products[0, i, j, 0] = _product(edge, state)
        return [total.to(dtype or inner) for total in totals if total is not None], products


def normed(
    sources: Sequence[Tensor], weight: Tensor, gain: Tensor, keep: bool
) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    """See :func:`graphs.ops.norm.normed`; without a compiled kernel it is :mod:`graphs.ops.plain`."""
    dtype = promoted(sources)
    inner = accumulation(dtype)
    if not _compiled(weight, inner):
        return plain.normed(sources, weight, gain, keep)
    states = [source.to(inner).contiguous() for source in sources]
    outputs = [torch.empty_like(states[0]) for _ in range(weight.shape[1])]
    sums = [torch.empty_like(states[0]) for _ in outputs] if keep else []
    scale = states[0].new_empty(len(outputs), states[0].numel() // max(gain.numel(), 1))
    values = weight.to(inner).contiguous()[..., 0]
    rows.normed(states, values, gain.to(inner).contiguous(), outputs, sums or [None] * len(outputs), scale)
    return [output.to(dtype) for output in outputs], scale, sums


def norm_back(
    grads: Sequence[Tensor], sources: Sequence[Tensor], weight: Tensor, gain: Tensor, scale: Tensor
) -> tuple[list[Tensor], Tensor]:
    """See :func:`graphs.ops.norm.norm_back`."""
    inner = scale.dtype
    if not _compiled(weight, inner):
        return plain.norm_back(grads, sources, weight, gain, scale)
    dtype = promoted(grads)
    given, states = ([one.to(inner).contiguous() for one in each] for each in (grads, sources))
    outputs = [torch.empty_like(given[0]) for _ in given]
    values = weight.to(inner).contiguous()[..., 0]
    learned = rows.norm_back(given, states, values, gain.to(inner).contiguous(), scale.contiguous(), outputs)
    return [output.to(dtype) for output in outputs], learned


def _compiled(weight: Tensor, dtype: torch.dtype) -> bool:
    return weight.shape[3] == 1 and native.available(dtype)


def _width(tensor: Tensor, weight: Tensor) -> int:
    return tensor.numel() if weight.shape[0] == 1 else tensor.shape[-1]


def _flat(tensor: Tensor) -> Tensor:
    """Its elements in the order in which they lie in memory."""
    return torch.as_strided(tensor, (tensor.numel(),), (1,))


def _in_pieces(tensors: Sequence[Tensor], weight: Tensor, outputs: Sequence[Tensor]) -> None:
    """``weight`` (m, k)."""
    states, numbers = [_flat(tensor) for tensor in tensors], weight.tolist()
    for start in range(0, states[0].numel(), PIECE):
        part = slice(start, start + PIECE)
        for output, row in zip(map(_flat, outputs), numbers, strict=True):
            piece = output[part]
            torch.mul(states[0][part], row[0], out=piece)
            for state, number in zip(states[1:], row[1:], strict=True):
                piece.add_(state[part], alpha=number)


def _product(left: Tensor, right: Tensor) -> Tensor:
    one, other = _flat(left), _flat(right)
    total = torch.zeros((), dtype=torch.float64)  # long sums keep their digits
    for start in range(0, one.numel(), PIECE):
        total += torch.dot(one[start : start + PIECE], other[start : start + PIECE])
    return total
