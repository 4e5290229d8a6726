"""Backward: gradients of sources and of weights from one pass over what they are made of. No atomics; every sum has
one order."""

from collections.abc import Sequence

import torch
from torch import Tensor

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
    """``total = sum_e weight[e] * grads[e]`` and ``dots[e] = <grads[e], source>``.

    Gradients and source have one shape; ``weight`` is (edges,), or per token (*tokens, edges), which makes ``dots``
    (*tokens, edges). ``total`` has ``dtype``, ``dots`` is fp32. Without a source the products are not formed and their
    tensor is empty.

    Moves edges + 2 Td (edges + 1 without a source). Beyond ``LARGEST`` edges the source is read once a launch and an
    fp32 sum goes between them.
    """
    rows = launch.checked(grads)
    x = None if source is None else launch.checked([source])[0]
    total = torch.empty(rows[0].shape, dtype=dtype, device=rows[0].device)
    by_row = weight.ndim > 1
    found = gather_into(rows, x, weight.reshape(-1, len(rows)).contiguous(), total, by_row)
    if found is None:
        return total, total.new_empty(0, dtype=torch.float32)
    return total, found.view((*total.shape[:-1], len(rows)) if by_row else (len(rows),))


def gather_into(
    rows: list[Tensor], source: Tensor | None, weight: Tensor, total: Tensor | None, by_row: bool
) -> Tensor | None:
    """:func:`gather` of aligned tensors with a weight (R, edges): the products (R, edges), if there is a source.

    The sum goes into ``total``, if there is one.
    """
    if not rows[0].numel():
        return None if source is None else torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
    parts = launch.chunks(len(rows), launch.LARGEST)
    sums = total
    if total is not None and len(parts) > 1:
        sums = torch.empty_like(total, dtype=torch.float32)
    found = []
    for n, part in enumerate(parts):
        column = weight[:, part].contiguous()
        to = total if n == len(parts) - 1 else sums
        found.append(_gather(rows[part], source, column, to, sums if n else None, by_row))
    if source is None:
        return None
    return found[0] if len(found) == 1 else torch.cat(found, dim=-1)


def _gather(
    rows: list[Tensor],
    source: Tensor | None,
    weight: Tensor,
    total: Tensor | None,
    before: Tensor | None,
    by_row: bool,
) -> Tensor:
    vec = launch.vector([*rows, *([] if source is None else [source])])
    first = rows[0]
    size = first.numel()
    width = first.shape[-1] if by_row else min(32 * EACH, launch.power(size))
    count = -(-size // width)
    span = min(32 * vec, launch.power(width))
    reps = min(EACH // vec, launch.power(-(-width // span)))
    block = min(launch.WARPS * 32 * vec * launch.SCALE // span, launch.power(count))
    across = -(-width // (reps * span))
    partial = torch.empty(count, across, len(rows), dtype=torch.float32, device=first.device)
    bucket = launch.bucket(len(rows))
    with launch.on(first):
        kernels.gather_kernel[(-(-count // block) * across,)](
            launch.pointers(rows, bucket),
            first if source is None else source,
            weight,
            first if total is None else total,
            first if before is None else before,
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
            TOTAL=total is not None,
            CONTINUES=before is not None,
            num_warps=launch.WARPS,
        )
    return partial.sum(dim=1) if by_row else partial.sum(dim=(0, 1)).unsqueeze(0)


def spread(
    grads: Sequence[Tensor], sources: Sequence[Tensor], weight: Tensor, *, channels: bool = False
) -> tuple[list[Tensor], Tensor]:
    """The backward pass of a mix whose sources have no other reader: gradients of the k sources and of the weight.

    The m gradients and k sources have one shape; ``weight`` is as in :func:`graphs.ops.triton.mix.mix`, whose shape
    the second result has, in fp32. Each source's gradient has the source's dtype.

    Moves m + 2 k Td for m * k up to ``SUMS`` and m up to ``HELD``. Beyond the first, groups of sources read the
    gradients once each; beyond the second, it is a gather per source, k (m + 2) Td, or with ``channels`` an fp32 sum
    of each source that goes from group to group of gradients.
    """
    states, rows = launch.checked(sources), launch.checked(grads)
    outs = [torch.empty_like(state) for state in states]
    return outs, spread_into(rows, states, Weight(weight, states[0], channels), outs).view(weight.shape)


def spread_into(
    rows: list[Tensor], states: Sequence[Tensor | None], w: Weight, outs: Sequence[Tensor | None]
) -> Tensor:
    """:func:`spread` of aligned tensors: a gradient goes into each of ``outs`` that there is.

    The result, in the shape of ``w.data``, has zeros for sources that are not there.
    """
    if not rows[0].numel() or all(state is None and out is None for state, out in zip(states, outs, strict=True)):
        return torch.zeros(w.data.shape, dtype=torch.float32, device=w.data.device)
    if w.per_channel:
        return _in_groups(rows, states, w, outs)
    if w.m > HELD or w.k == 1:
        found = []
        for j, (state, out) in enumerate(zip(states, outs, strict=True)):
            column = w.data.view(-1, w.m, w.k)[..., j].contiguous()
            dots = None if state is out is None else gather_into(rows, state, column, out, w.per_token)
            found.append(torch.zeros_like(column, dtype=torch.float32) if dots is None else dots)
        return torch.stack(found, dim=-1).view(w.data.shape)
    parts = launch.chunks(w.k, max(1, SUMS // w.m))
    found = [_spread(rows, states[part], w, w.at(0, part.start), outs[part]) for part in parts]
    return (found[0] if len(found) == 1 else torch.cat(found, dim=-1)).view(w.data.shape)


def _in_groups(rows: list[Tensor], states: Sequence[Tensor | None], w: Weight, outs: Sequence[Tensor | None]) -> Tensor:
    """Weights per channel: some gradients at a time, and of these some sources."""
    groups = launch.chunks(w.m, HELD)
    sums = outs
    if len(groups) > 1:
        sums = [None if out is None else torch.empty_like(out, dtype=torch.float32) for out in outs]
    learned = []
    for n, group in enumerate(groups):
        to, found = outs if n == len(groups) - 1 else sums, []
        for part in launch.chunks(w.k, max(1, SUMS // 2 // (group.stop - group.start))):
            weight = w.at(group.start, part.start)
            found.append(_channels(rows[group], states[part], w, weight, to[part], sums[part] if n else None))
        learned.append(torch.cat(found, dim=1))
    return torch.cat(learned)


def _masks(states: Sequence[Tensor | None], outs: Sequence[Tensor | None]) -> tuple[int, int]:
    """Which are wanted and which are learned from, a bit for each."""
    wanted, learned = (sum(1 << j for j, one in enumerate(each) if one is not None) for each in (outs, states))
    return wanted, learned


def _filled(tensors: Sequence[Tensor | None], other: Tensor) -> tuple[Tensor, ...]:
    """With another where there is none: the kernels do not touch it."""
    return tuple(other if tensor is None else tensor for tensor in tensors)


def _spread(
    rows: list[Tensor], states: Sequence[Tensor | None], w: Weight, weight: Tensor, outs: Sequence[Tensor | None]
) -> Tensor:
    first = rows[0]
    view = launch.view(first, by_row=w.per_token)
    vec = launch.vector([*rows, *(state for state in states if state is not None)])
    block, across, groups = lanes(view, vec, w.per_token)
    partial = torch.empty(view.rows, groups, w.m, len(states), dtype=torch.float32, device=first.device)
    wanted, learned = _masks(states, outs)
    with launch.on(first):
        kernels.spread_kernel[(-(-view.rows // block) * groups,)](
            tuple(rows),
            _filled(states, first),
            weight,
            _filled(outs, first),
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
            WANTED=wanted,
            LEARNED=learned,
            num_warps=launch.WARPS,
        )
    return partial.sum(dim=1)


def _channels(
    rows: list[Tensor],
    states: Sequence[Tensor | None],
    w: Weight,
    weight: Tensor,
    outs: Sequence[Tensor | None],
    before: Sequence[Tensor | None] | None,
) -> Tensor:
    first, m = rows[0], len(rows)
    view = launch.view(first, by_row=True)
    # A lane keeps every product of each of its channels: 4 channels of a few products, 1 of many.
    each = 4 if m * len(states) <= 16 else 2 if m * len(states) <= 32 else 1
    cols = min(32 * launch.WARPS * each * launch.SCALE, launch.power(view.width))
    groups = min(ROWS_EACH, view.rows)
    partial = torch.empty(groups, m, len(states), view.width, dtype=torch.float32, device=first.device)
    wanted, learned = _masks(states, outs)
    with launch.on(first):
        kernels.channels_kernel[(groups * -(-view.width // cols),)](
            tuple(rows),
            _filled(states, first),
            weight,
            _filled(outs, first),
            _filled(outs if before is None else before, first),
            partial,
            view.rows,
            view.width,
            groups,
            w.out,
            w.into,
            M=m,
            K=len(states),
            COLS=cols,
            WANTED=wanted,
            LEARNED=learned,
            CONTINUES=before is not None,
            num_warps=launch.WARPS,
        )
    return partial.sum(dim=0)
