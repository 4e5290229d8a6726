"""Attention over depth on a CPU: compiled kernels where there are, else :mod:`graphs.ops.plain_attend`.

Only the gradients of the keys are a matrix product; the rest goes once over rows that stay in the cache.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from graphs.ops import native, plain_attend
from graphs.ops.native import rows
from graphs.ops.reference import accumulation, promoted, without_autocast


def scales(source: Tensor) -> Tensor:
    """See :func:`graphs.ops.attend_op.scales`."""
    inner = accumulation(source.dtype)
    if not native.available(inner):
        return plain_attend.scales(source)
    state = source.to(inner).contiguous()
    found = state.new_empty(_rows(state))
    rows.scales(state, found)
    return found


def attend(sources: Sequence[Tensor], factors: Sequence[Tensor], key: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`graphs.ops.attend_op.attend`."""
    dtype = promoted(sources)
    inner = accumulation(dtype)
    if not native.available(inner):
        return plain_attend.attend(sources, factors, key)
    states, scale = ([one.to(inner).contiguous() for one in each] for each in (sources, factors))
    out = torch.empty_like(states[0])
    logits, lse = out.new_empty(_rows(out), len(states)), out.new_empty(_rows(out))
    rows.attend(states, scale, key.to(inner).contiguous(), out, logits, lse)
    return out.to(dtype), logits, lse


def attend_delta(grad: Tensor, output: Tensor) -> Tensor:
    """See :func:`graphs.ops.attend_op.attend_delta`."""
    inner = accumulation(promoted([grad, output]))
    if not native.available(inner):
        return plain_attend.attend_delta(grad, output)
    one, two = (each.to(inner).contiguous() for each in (grad, output))
    delta = one.new_empty(_rows(one))
    rows.attend_delta(one, two, delta)
    return delta


def attend_back(
    grads: Sequence[Tensor],
    source: Tensor,
    keys: Tensor,
    logits: Tensor,
    lse: Tensor,
    delta: Tensor,
    factor: Tensor,
    wanted: bool,
    learned: bool,
) -> tuple[list[Tensor], Tensor]:
    """See :func:`graphs.ops.attend_op.attend_back`."""
    inner = accumulation(promoted([source, *grads]))
    if not native.available(inner):
        return plain_attend.attend_back(grads, source, keys, logits, lse, delta, factor, wanted, learned)
    given = [grad.to(inner).contiguous() for grad in grads]
    state, scale, queries, said, total, shift = (
        one.to(inner).contiguous() for one in (source, factor, keys, logits, lse, delta)
    )
    out = torch.empty_like(state) if wanted else None
    pulls = torch.empty_like(said)
    rows.attend_back(given, state, queries, said, total, shift, scale, out, pulls)
    with without_autocast(state):
        slope = pulls.t() @ state.view(-1, state.shape[-1]) if learned else state.new_empty(0)
    return [] if out is None else [out.to(source.dtype)], slope


def _rows(state: Tensor) -> int:
    return state.numel() // max(state.shape[-1], 1)
