"""Attention over depth: every token weighs the sources by one query, and its backward pass source by source.

``logit[j] = key . rms_norm(x[j])``, softmax over j, weighted sum of the x[j] as they are. The norm's factor of a source
is worked out once, for all that attend to it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from graphs.errors import CompileError
from graphs.ops.reference import promoted
from graphs.ops.triton import attend_kernels, launch
from graphs.rule_tensors import MIN_NORM

MOST = 24  # sources of one launch: with more, what the compiler loads early no longer fits the registers
WIDE = 4096  # elements of a tile of the backward pass: rows share the keys
SHARES = 132  # programs that share the rows of a channel of the keys' gradient
HELD = 32  # consumers of one launch there, each with two sums a lane


class Attended(NamedTuple):
    """The output (*shape), and for the backward pass, fp32, rows being tokens: logits (rows, k) and ``lse`` (rows), the
    logarithm of the sum of their exponentials."""

    out: Tensor
    logits: Tensor
    lse: Tensor


def scales(source: Tensor, eps: float = MIN_NORM) -> Tensor:
    """The factor of each row's RMS norm, (rows,) in fp32. Moves 1 Td, once a source."""
    (x,) = launch.checked([source])
    view, block, cols, warps = _tile(x, launch.TILE)
    factors = torch.empty(view.rows, dtype=torch.float32, device=x.device)
    if x.numel():
        with launch.on(x):
            attend_kernels.scales_kernel[(-(-view.rows // block),)](
                x, factors, view.rows, view.width, eps, ROWS=block, COLS=cols, num_warps=warps
            )
    return factors


def attend(sources: Sequence[Tensor], factors: Sequence[Tensor], key: Tensor) -> Attended:
    """Sources (*tokens, d), what :func:`scales` gives for each, and the key (d,): query times gain.

    The output has the sources' promoted dtype. Moves k + 1 Td; beyond ``MOST`` sources an fp32 sum goes from launch to
    launch.
    """
    states = launch.checked(sources)
    shape, k = states[0].shape, len(states)
    view, block, cols, warps = _tile(states[0], launch.TILE)
    out = torch.empty(shape, dtype=promoted(states), device=key.device)
    logits = torch.empty(view.rows, k, dtype=torch.float32, device=key.device)
    top, total = (torch.empty(view.rows, dtype=torch.float32, device=key.device) for _ in range(2))
    parts = launch.chunks(k, MOST)
    sums = torch.empty(shape, dtype=torch.float32, device=key.device) if len(parts) > 1 else out
    for n, part in enumerate(parts):
        last = n == len(parts) - 1
        if not out.numel():
            break
        size = launch.bucket(part.stop - part.start)
        with launch.on(out):
            attend_kernels.attend_kernel[(-(-view.rows // block),)](
                launch.pointers(states[part], size),
                launch.pointers(factors[part], size),
                key.float().contiguous(),
                out if last else sums,
                sums,
                top,
                total,
                logits[:, part.start :],
                view.rows,
                view.width,
                part.stop - part.start,
                k,
                BUCKET=size,
                PLACES=launch.power(size),
                ROWS=block,
                COLS=cols,
                CONTINUES=n > 0,
                FINAL=last,
                num_warps=warps,
            )
    return Attended(out, logits, total)


def attend_delta(grad: Tensor, out: Tensor) -> Tensor:
    """``<grad, out>`` of every token, (rows) in fp32: once for each consumer. Moves 2 Td."""
    rows = launch.checked([grad, out])
    view, block, cols, warps = _tile(out, launch.TILE)
    delta = torch.empty(view.rows, dtype=torch.float32, device=out.device)
    if out.numel():
        with launch.on(out):
            attend_kernels.delta_kernel[(-(-view.rows // block),)](
                *rows, delta, view.rows, view.width, ROWS=block, COLS=cols, num_warps=warps
            )
    return delta


def attend_backward(
    grads: Sequence[Tensor],
    source: Tensor,
    keys: Tensor,
    logits: Tensor,
    lse: Tensor,
    delta: Tensor,
    factor: Tensor,
    wanted: bool = True,
    learned: bool = True,
) -> tuple[Tensor, Tensor]:
    """One source, and the gradients (*shape) of the C outputs that read it: its gradient and that of the keys.

    ``keys`` (C, d) are the consumers'; ``logits`` (rows, C) the source's columns of theirs, ``lse`` and ``delta``
    (rows, C) their own, ``factor`` (rows) from :func:`scales`. The first result has the source's dtype, the second
    (C, d) is fp32 and this source's part. Not ``wanted`` or not ``learned``, either is empty.

    Moves C + 3 Td, 1 more for each ``HELD`` consumers; beyond ``LARGEST`` consumers the source is read again and an
    fp32 sum is carried.
    """
    rows, x = launch.checked(grads), launch.checked([source])[0]
    count = len(rows)
    view, block, cols, warps = _tile(x, WIDE)
    logits, lse, delta, factor, keys = (one.float().contiguous() for one in (logits, lse, delta, factor, keys))
    out, pulls = torch.empty_like(x), torch.empty(view.rows, count, dtype=torch.float32, device=x.device)
    slope = torch.zeros(keys.shape if learned else (0,), dtype=torch.float32, device=x.device)
    if not out.numel():
        return out if wanted else out.new_empty(0), slope
    parts = launch.chunks(count, launch.LARGEST)
    sums = torch.empty(x.shape, dtype=torch.float32, device=x.device) if len(parts) > 1 else out
    for n, part in enumerate(parts):
        size = launch.bucket(part.stop - part.start)
        with launch.on(out):
            attend_kernels.attend_backward_kernel[(-(-view.rows // block),)](
                launch.pointers(rows[part], size),
                x,
                keys[part.start :],
                logits[:, part.start :],
                lse[:, part.start :],
                factor,
                delta[:, part.start :],
                out if n == len(parts) - 1 else sums,
                sums,
                pulls[:, part.start :],
                view.rows,
                view.width,
                part.stop - part.start,
                count,
                BUCKET=size,
                ROWS=block,
                COLS=cols,
                CONTINUES=n > 0,
                num_warps=warps,
            )
    for part in launch.chunks(count, HELD) if learned else ():
        slope[part] = _keys(x, pulls[:, part.start :], part.stop - part.start, view)
    return out if wanted else out.new_empty(0), slope


def _keys(x: Tensor, pulls: Tensor, edges: int, view: launch.Rows) -> Tensor:
    cols = min(2 * 32 * launch.WARPS, launch.power(view.width))
    groups = min(SHARES, view.rows)
    partial = torch.empty(groups, edges, view.width, dtype=torch.float32, device=x.device)
    with launch.on(x):
        attend_kernels.keys_kernel[(groups * -(-view.width // cols),)](
            x,
            pulls,
            partial,
            view.rows,
            view.width,
            edges,
            groups,
            pulls.stride(0),
            BUCKET=launch.bucket(edges),
            COLS=cols,
            num_warps=launch.WARPS,
        )
    return partial.sum(dim=0)


def _tile(state: Tensor, elements: int) -> tuple[launch.Rows, int, int, int]:
    """(view, rows, columns, warps) of a tile of whole rows."""
    view = launch.view(state, by_row=True)
    if view.width > launch.WIDEST:
        raise CompileError(f"attention is over at most {launch.WIDEST} channels; the sources have {view.width}")
    cols = launch.power(view.width)
    block = min(max(1, elements * launch.SCALE // cols), launch.power(view.rows))
    return view, block, cols, min(max(block * cols // (256 * launch.SCALE), launch.WARPS), 16 if cols <= WIDE else 32)
