"""Backward: gradients of sources and of weights from one pass over what they are made of. No atomics; every sum has
one order."""

from collections.abc import Sequence

import torch
from torch import Tensor

from graphs.errors import CompileError
from graphs.ops.triton import kernels, launch
from graphs.ops.triton.mix import Weight

ROWS_EACH = 64  # programs that share the rows of a channel
SUMS = 96  # products one program of spread keeps; each is a register of every lane
HELD = 16  # gradients one program of spread holds
EACH = 16  # elements of a gradient that a lane of gather holds


def lanes(view: launch.Rows, vec: int, by_row: bool) -> tuple[int, int, int]:
    """(rows, lanes, groups): one warp a row where rows have weights of their own, or else all as one row."""
    count = 32 * launch.WARPS * launch.SCALE
    if by_row:
        across = min(launch.power(-(-view.width // vec)), 32)
        return min(count // across, launch.power(view.rows)), across, 1
    across = min(count, launch.power(-(-view.width // vec)))
    return 1, across, max(1, min(launch.PROGRAMS, -(-view.width // (across * vec))))


def gather(
    grads: Sequence[Tensor], source: Tensor | None, weight: Tensor, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """``total = sum_e weight[e] * g[e]`` and ``dots[e] = <g[e], source>`` over the rows g of all ``grads``.

    Each gradient has shape (m, *shape); the rows of all of them follow each other in ``weight``: (edges,), or per
    token (*tokens, edges), which makes ``dots`` (*tokens, edges). ``total`` (*shape) has ``dtype``, ``dots`` is fp32.
    Without a source the products are not formed and their tensor is empty.

    Moves edges + 2 Td (edges + 1 without a source). Beyond ``LARGEST`` edges the source is read once a launch and an
    fp32 sum goes between them.
    """
    rows = launch.checked([row for grad in grads for row in grad.unbind(0)])
    by_row = weight.ndim > 1
    shape, edges = rows[0].shape, len(rows)
    column = weight.reshape(-1, edges).contiguous()
    x = None if source is None else launch.checked([source])[0]
    total = torch.empty(shape, dtype=dtype, device=rows[0].device)
    products = total.new_zeros((*shape[:-1], edges) if by_row else (edges,), dtype=torch.float32)
    if source is None:
        products = products.new_empty(0)
    if not total.numel():
        return total, products
    parts = launch.chunks(edges, launch.LARGEST)
    sums = torch.empty(shape, dtype=torch.float32, device=total.device) if len(parts) > 1 else total
    found = []
    for n, part in enumerate(parts):
        to = total if n == len(parts) - 1 else sums
        found.append(
            _gather(
                rows[part],
                x,
                column[:, part].contiguous() if by_row else column[0, part],
                to,
                sums if n else None,
                by_row,
            )
        )
    if x is None:
        return total, products
    return total, torch.cat(found, dim=-1).view(products.shape)


def _gather(
    rows: list[Tensor], source: Tensor | None, weight: Tensor, total: Tensor, before: Tensor | None, by_row: bool
) -> Tensor:
    vec = launch.vector([*rows, *([] if source is None else [source])])
    size = total.numel()
    width = total.shape[-1] if by_row else min(32 * EACH, launch.power(size))
    count = -(-size // width)
    span = min(32 * vec, launch.power(width))
    reps = min(EACH // vec, launch.power(-(-width // span)))
    block = min(launch.WARPS * 32 * vec * launch.SCALE // span, launch.power(count))
    across = -(-width // (reps * span))
    partial = torch.empty(count, across, len(rows), dtype=torch.float32, device=total.device)
    bucket = launch.bucket(len(rows))
    with launch.on(total):
        kernels.gather_kernel[(-(-count // block) * across,)](
            launch.pointers(rows, bucket),
            total if source is None else source,
            weight,
            total,
            total if before is None else before,
            partial,
            size,
            count,
            width,
            len(rows),
            across,
            len(rows) if by_row else 0,
            BUCKET=bucket,
            PLACES=launch.power(bucket),
            ROWS=block,
            REPS=reps,
            SPAN=span,
            DOTS=source is not None,
            CONTINUES=before is not None,
            num_warps=launch.WARPS,
        )
    return partial.sum(dim=1) if by_row else partial.sum(dim=(0, 1))


def spread(
    grad: Tensor, sources: Sequence[Tensor], weight: Tensor, *, channels: bool = False
) -> tuple[list[Tensor], Tensor]:
    """The backward pass of a mix whose sources have no other reader: gradients of the k sources and of the weight.

    ``grad`` (m, *shape), sources (*shape); ``weight`` as in :func:`graphs.ops.triton.mix.mix`, whose shape the second
    result has, in fp32. Each source's gradient has the source's dtype.

    Moves m + 2 k Td for m * k up to ``SUMS`` and m up to ``HELD``. Beyond the first, groups of sources read the
    gradients once each; beyond the second, it is a gather per source: k (m + 2) Td.
    """
    states = launch.checked(sources)
    rows = launch.checked(list(grad.unbind(0)))
    w = Weight(weight, states[0], channels)
    learned = torch.zeros(weight.shape, dtype=torch.float32, device=grad.device)
    outs = [torch.empty_like(state) for state in states]
    if not outs[0].numel():
        return outs, learned
    if w.m > HELD:
        return _one_by_one(grad, states, weight, learned, channels)
    for part in launch.chunks(w.k, max(1, (SUMS // 2 if channels else SUMS) // w.m)):
        dots = (_channels if channels else _spread)(rows, states[part], w, w.at(0, part.start), outs[part])
        if channels:
            learned[:, part] = dots
        else:
            learned[..., part] = dots.view(*learned.shape[:-1], part.stop - part.start)
    return outs, learned


def _one_by_one(
    grad: Tensor, states: list[Tensor], weight: Tensor, learned: Tensor, channels: bool
) -> tuple[list[Tensor], Tensor]:
    if channels:
        raise CompileError(f"weights per channel go to at most {HELD} outputs; got {grad.shape[0]}")
    outs = []
    for j, state in enumerate(states):
        total, learned[..., j] = gather([grad], state, weight[..., j], state.dtype)
        outs.append(total)
    return outs, learned


def _spread(rows: list[Tensor], states: list[Tensor], w: Weight, weight: Tensor, outs: list[Tensor]) -> Tensor:
    view = launch.view(states[0], by_row=w.per_token)
    vec = launch.vector([*rows, *states])
    block, across, groups = lanes(view, vec, w.per_token)
    partial = torch.empty(view.rows, groups, w.m, len(states), dtype=torch.float32, device=rows[0].device)
    with launch.on(rows[0]):
        kernels.spread_kernel[(-(-view.rows // block) * groups,)](
            tuple(rows),
            tuple(states),
            weight,
            tuple(outs),
            partial,
            view.rows,
            view.width,
            groups,
            w.row,
            w.out,
            w.into,
            M=w.m,
            K=len(states),
            ROWS=block,
            LANES=across,
            VEC=vec,
            WIDE=view.wide,
            num_warps=launch.WARPS,
        )
    return partial.sum(dim=1)


def _channels(rows: list[Tensor], states: list[Tensor], w: Weight, weight: Tensor, outs: list[Tensor]) -> Tensor:
    view = launch.view(states[0], by_row=True)
    # A lane keeps every product of each of its channels: 4 channels of a few products, 1 of many.
    each = 4 if w.m * len(states) <= 16 else 2 if w.m * len(states) <= 32 else 1
    cols = min(32 * launch.WARPS * each * launch.SCALE, launch.power(view.width))
    groups = min(ROWS_EACH, view.rows)
    partial = torch.empty(groups, w.m, len(states), view.width, dtype=torch.float32, device=rows[0].device)
    with launch.on(rows[0]):
        kernels.channels_kernel[(groups * -(-view.width // cols),)](
            tuple(rows),
            tuple(states),
            weight,
            tuple(outs),
            partial,
            view.rows,
            view.width,
            groups,
            w.out,
            w.into,
            M=w.m,
            K=len(states),
            COLS=cols,
            num_warps=launch.WARPS,
        )
    return partial.sum(dim=0)
