"""Backward of the RMSNorm that a mix ends with."""

from collections.abc import Sequence

import torch
from torch import Tensor

from graphs.errors import CompileError
from graphs.ops.triton import kernels, launch
from graphs.ops.triton.mix import Weight, mix_into

HELD = 16384  # elements of m rows that one program can hold beside the gain's gradient
SHARES = 264  # programs that share the rows: two for each of 132 multiprocessors, and as many partial gains


def norm_backward(
    grad: Tensor,
    sources: Sequence[Tensor],
    weight: Tensor,
    gain: Tensor,
    rstd: Tensor,
    dtype: torch.dtype | None = None,
    *,
    channels: bool = False,
) -> tuple[Tensor, Tensor]:
    """From the gradient of normed outputs (m, *shape) to that of the sums before the norm, and of the gain (d,).

    The sums are made again from the sources and ``weight``, as in the forward pass; ``rstd`` (m, *tokens) comes from
    there. The first result has ``dtype`` (that of ``grad`` without it), the second is fp32. Where the sums exist, see
    :func:`norm_backward_from`.

    Moves k + 2 m Td; sources are read again for each group of rows longer than ``HELD`` elements.
    """
    states = launch.checked(sources)
    rows = launch.checked(list(grad.unbind(0)))
    w = Weight(weight, states[0], channels)
    if states[0].shape[-1] > launch.WIDEST:
        raise CompileError(f"a fused norm is over at most {launch.WIDEST} channels")
    out = torch.empty(grad.shape, dtype=dtype or grad.dtype, device=grad.device)
    return out, norm_backward_into(rows, states, w, gain, rstd.reshape(w.m, -1).contiguous(), list(out.unbind(0)))


def norm_backward_into(
    rows: list[Tensor], states: list[Tensor], w: Weight, gain: Tensor, factors: Tensor, outs: list[Tensor]
) -> Tensor:
    """:func:`norm_backward` of contiguous tensors into tensors that exist, ``factors`` (m, rows): the gain's gradient.

    Sums of more sources than one launch takes are made by a mix of their own, in fp32.
    """
    learned = torch.zeros(gain.shape, dtype=torch.float32, device=gain.device)
    if not outs[0].numel():
        return learned
    if len(states) > launch.LARGEST:
        sums = [torch.empty_like(state, dtype=torch.float32) for state in rows]
        mix_into(states, w, sums)
        one = Weight(torch.ones(1, 1, device=gain.device), rows[0], channels=False)
        for i, known in enumerate(sums):
            learned += norm_backward_into([rows[i]], [known], one, gain, factors[i : i + 1], [outs[i]])
        return learned
    most = max(1, HELD // launch.power(gain.numel()))
    for part in launch.chunks(w.m, min(most, 16)):
        learned += _launch(rows[part], states, w, w.at(part.start, 0), gain, factors[part], outs[part])
    return learned


def norm_backward_from(
    grad: Tensor, raw: Tensor, gain: Tensor, rstd: Tensor, dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """:func:`norm_backward` from the sums ``raw`` (m, *shape) themselves. Moves 3 m Td."""
    one = torch.ones(1, 1, device=grad.device)
    flat, known = grad.reshape(1, -1, grad.shape[-1]), raw.reshape(-1, grad.shape[-1])
    out, learned = norm_backward(flat, [known], one, gain, rstd.reshape(1, -1), dtype)
    return out.view(grad.shape), learned


def _launch(
    rows: list[Tensor],
    states: list[Tensor],
    w: Weight,
    weight: Tensor,
    gain: Tensor,
    rstd: Tensor,
    outs: list[Tensor],
) -> Tensor:
    view = launch.view(states[0], by_row=True)
    cols = launch.power(view.width)
    block = min(max(1, launch.TILE * launch.SCALE // cols), launch.power(view.rows))
    groups = min(SHARES * launch.WARPS if cols <= launch.TILE else SHARES, -(-view.rows // block))
    partial = torch.empty(groups, view.width, dtype=torch.float32, device=gain.device)
    size = launch.bucket(len(states))
    with launch.on(gain):
        kernels.norm_kernel[(groups,)](
            tuple(rows),
            launch.pointers(states, size),
            weight,
            gain.contiguous(),
            rstd,
            tuple(outs),
            partial,
            view.rows,
            view.width,
            len(states),
            groups,
            w.row,
            w.out,
            w.into,
            M=len(rows),
            BUCKET=size,
            ROWS=block,
            COLS=cols,
            PER_TOKEN=w.per_token,
            PER_CHANNEL=w.per_channel,
            num_warps=min(max(block * cols // (256 * launch.SCALE), launch.WARPS), 32),
        )
    return partial.sum(dim=0)
