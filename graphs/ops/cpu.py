"""The two kernels on a CPU: plain torch and BLAS over pieces that stay in the cache."""

from collections.abc import Sequence

import torch
from torch import Tensor

from graphs.ops.reference import accumulation, promoted, without_autocast

PIECE = 1 << 16  # elements of one source worked on at a time: 256 KB of fp32, within a core's second-level cache


def mix(sources: Sequence[Tensor], weight: Tensor) -> Tensor:
    """``weight`` (m, k) static: shape (m, *shape), each source read once from memory."""
    dtype = promoted(sources)
    inner = accumulation(dtype)
    m, size = weight.shape[0], sources[0].numel()
    flat = [source.reshape(-1) for source in sources]
    with without_autocast(sources[0]):
        result = torch.empty(m, *sources[0].shape, dtype=inner)
        out = result.view(m, size)
        if m == 1:
            _weighted(flat, weight[0].tolist(), out[0])
        else:
            square = weight.to(inner)
            for start in range(0, size, PIECE):
                rows = _rows([source[start : start + PIECE] for source in flat], inner)
                torch.mm(square, rows, out=out[:, start : start + PIECE])
    return result.to(dtype)


def gather(grads: Sequence[Tensor], source: Tensor | None, weight: Tensor) -> tuple[Tensor, Tensor]:
    """``sum_e weight[e] * g[e]`` over the rows g of all ``grads``, and every ``<g[e], source>``.

    Each gradient has shape (m, *shape); the rows of all of them follow each other in ``weight`` (edges,). Without a
    source the products are not formed and their tensor is empty. The sum has the accumulation dtype.
    """
    inner = accumulation(promoted([*grads, *([] if source is None else [source])]))
    rows = [row.reshape(-1) for grad in grads for row in grad.unbind(0)]
    shape, size = grads[0].shape[1:], rows[0].numel()
    with without_autocast(rows[0]):
        total = torch.empty(size, dtype=inner)
        if source is None:
            _weighted(rows, weight.tolist(), total)
            return total.view(shape), weight.new_empty(0, dtype=inner)
        flat, column = source.reshape(-1), weight.to(inner)
        dots = torch.zeros(len(rows), dtype=torch.float64)
        for start in range(0, size, PIECE):
            part = slice(start, start + PIECE)
            pieces = _rows([row[part] for row in rows], inner)
            torch.mv(pieces.t(), column, out=total[part])
            dots += torch.mv(pieces, flat[part].to(inner))  # pieces are added in fp64: long sums keep their digits
    return total.view(shape), dots.to(inner)


def _rows(pieces: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """The pieces as the rows of one matrix; small enough to stay in the cache."""
    return torch.stack([piece.to(dtype) for piece in pieces])


def _weighted(flat: Sequence[Tensor], weights: Sequence[float], out: Tensor) -> None:
    for start in range(0, out.numel(), PIECE):
        part = slice(start, start + PIECE)
        piece = out[part]
        torch.mul(flat[0][part].to(out.dtype), weights[0], out=piece)
        for source, weight in zip(flat[1:], weights[1:], strict=True):
            piece.add_(source[part], alpha=weight)
