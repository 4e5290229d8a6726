"""Forward: k sources in, m outputs, each source read once."""

from collections.abc import Sequence
from typing import NamedTuple, overload

import torch
from torch import Tensor

from graphs.errors import CompileError
from graphs.ops.reference import promoted
from graphs.ops.triton import kernels, launch
from graphs.rule_tensors import MIN_NORM

MOST = 16  # outputs of one launch: their sums stay in registers
NARROW = 128  # channels of a tile whose weights are per channel
HELD = launch.WIDEST  # elements of m rows that one program can hold, for a norm


class Weight:
    """A weight's kind and strides: static (m, k), per token (rows, m, k), or per channel (m, k, d)."""

    def __init__(self, weight: Tensor, state: Tensor, channels: bool) -> None:
        self.per_channel = channels
        self.per_token = weight.ndim > 2 and not channels
        if self.per_token:
            weight = weight.reshape(-1, *weight.shape[-2:])
        self.data = weight.contiguous()
        *self.tokens, self.m, self.k = self.data.shape[: 2 if channels else None]
        self.row, self.out, self.into = self.m * self.k, self.k, 1
        if channels:
            self.row, self.out, self.into = 0, self.k * weight.shape[-1], weight.shape[-1]
        elif not self.per_token:
            self.row = 0

    def at(self, i: int, j: int) -> Tensor:
        """The same weight from row i and column j on."""
        return self.data[..., i:, j:, :] if self.per_channel else self.data[..., i:, j:]


@overload
def mix(sources: Sequence[Tensor], weight: Tensor, *, channels: bool = ...) -> list[Tensor]: ...
@overload
def mix(
    sources: Sequence[Tensor], weight: Tensor, norm: Tensor, eps: float = ..., *, channels: bool = ...
) -> tuple[list[Tensor], Tensor]: ...
def mix(
    sources: Sequence[Tensor],
    weight: Tensor,
    norm: Tensor | None = None,
    eps: float = MIN_NORM,
    *,
    channels: bool = False,
) -> list[Tensor] | tuple[list[Tensor], Tensor]:
    """``out[i] = sum_j weight[i, j] * sources[j]``: m tensors in the promoted dtype of the sources (*shape).

    ``weight`` is static (m, k), per token (*tokens, m, k), or with ``channels`` (m, k, d); any of the three dtypes.
    With the gain ``norm`` (d,) each output is RMS-normalised over the last axis, and the factors ``rstd``
    (m, *tokens) come with it in fp32. Sums are fp32.

    Moves k + m Td. Beyond ``LARGEST`` sources fp32 sums go from launch to launch (2 m fp32 passes each). Beyond
    ``MOST`` outputs, and with a norm beyond rows of ``HELD`` elements together, the sources are read once for each
    group of outputs.
    """
    dtype = promoted(sources)
    states = launch.checked(sources)
    w = Weight(weight, states[0], channels)
    outs = [torch.empty(states[0].shape, dtype=dtype, device=states[0].device) for _ in range(w.m)]
    if norm is None:
        mix_into(states, w, outs)
        return outs
    rstd = torch.empty(w.m, *states[0].shape[:-1], dtype=torch.float32, device=states[0].device)
    _check_width(states[0])
    normed_into(states, w, outs, [], norm, rstd, eps)
    return outs, rstd


def mix_into(states: list[Tensor], w: Weight, outs: list[Tensor]) -> None:
    """:func:`mix` of aligned sources, into tensors that exist."""
    if outs[0].numel():
        for rows in launch.chunks(w.m, MOST):
            _mix(states, w, rows, outs, None)


def normed_into(
    states: list[Tensor],
    w: Weight,
    outs: list[Tensor],
    sums: list[Tensor],
    gain: Tensor,
    rstd: Tensor,
    eps: float = MIN_NORM,
) -> None:
    """:func:`mix` with a norm, of contiguous sources; ``sums`` (fp32, or none) get the outputs before the norm."""
    if outs[0].numel():
        for rows in launch.chunks(w.m, max(1, min(MOST, HELD // launch.power(gain.numel())))):
            _mix(states, w, rows, outs, _Norm(gain.contiguous(), rstd[rows], sums[rows], eps))


class _Norm(NamedTuple):
    """Of some outputs: the gain, where the factors go, and the sums if they are kept."""

    gain: Tensor
    rstd: Tensor
    sums: list[Tensor]
    eps: float


def _check_width(state: Tensor) -> None:
    if state.shape[-1] > launch.WIDEST:
        raise CompileError(f"a fused norm is over at most {launch.WIDEST} channels; the sources have {state.shape[-1]}")


def _mix(
    states: list[Tensor],
    w: Weight,
    rows: slice,
    outs: list[Tensor],
    norm: _Norm | None,
) -> None:
    """Some of the outputs, in as many launches as the sources need."""
    ends = outs[rows]
    parts = launch.chunks(len(states), launch.LARGEST)
    between = ends
    if len(parts) > 1:
        between = [torch.empty_like(end, dtype=torch.float32) for end in ends]
    for n, part in enumerate(parts):
        last = n == len(parts) - 1
        weight = w.at(rows.start, part.start)
        to = ends if last else between
        _launch(states[part], w, weight, to, between if n else None, norm if last else None)


def tile(view: launch.Rows, *, whole_rows: bool, heavy: bool, most: int) -> tuple[int, int, int]:
    """(rows, columns, warps) of a tile. Light programs (few sources, few sums) take two vectors a lane."""
    size = launch.TILE * (1 if heavy else 2) * launch.SCALE
    if whole_rows:
        cols = launch.power(view.width)
        rows = max(1, size // (2 * cols) if not heavy else size // cols)
        return min(rows, launch.power(view.rows)), cols, min(max(rows * cols // (256 * launch.SCALE), launch.WARPS), 32)
    cols = min(launch.power(view.width), size, most)
    return min(max(1, size // cols), launch.power(view.rows)), cols, launch.WARPS


def _launch(
    states: list[Tensor],
    w: Weight,
    weight: Tensor,
    outs: list[Tensor],
    before: list[Tensor] | None,
    norm: _Norm | None,
) -> None:
    view = launch.view(states[0], by_row=norm is not None or w.per_token or w.per_channel)
    heavy = len(states) > 4 or len(outs) > 2
    # Rows of one tile share its weights per channel: fewer channels, more rows.
    most = NARROW if w.per_channel else launch.HALF
    rows, cols, warps = tile(view, whole_rows=norm is not None, heavy=heavy, most=most)
    size = launch.bucket(len(states))
    grid = (-(-view.rows // rows) * -(-view.width // cols),)
    with launch.on(states[0]):
        kernels.mix_kernel[grid](
            launch.pointers(states, size),
            weight,
            tuple(outs),
            tuple(outs if before is None else before),
            weight if norm is None else norm.gain,
            weight if norm is None else norm.rstd,
            tuple(norm.sums if norm is not None and norm.sums else outs),
            view.rows,
            view.width,
            len(states),
            w.row,
            w.out,
            w.into,
            MIN_NORM if norm is None else norm.eps,
            M=len(outs),
            BUCKET=size,
            ROWS=rows,
            COLS=cols,
            PER_TOKEN=w.per_token,
            PER_CHANNEL=w.per_channel,
            CONTINUES=before is not None,
            NORM=norm is not None,
            KEEP=norm is not None and bool(norm.sums),
            WIDE=view.wide,
            num_warps=warps,
        )
