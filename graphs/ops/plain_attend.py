"""Attention over depth in plain torch, where no engine is made for what is asked; see :mod:`graphs.ops.attend_op`."""

from collections.abc import Sequence

import torch
from torch import Tensor

from graphs.ops.reference import accumulation, promoted, without_autocast
from graphs.rule_tensors import MIN_NORM


def scales(source: Tensor) -> Tensor:
    """See :func:`graphs.ops.attend_op.scales`."""
    wide = _flat(source, accumulation(source.dtype))
    return (wide.square().mean(-1) + MIN_NORM).rsqrt()


def attend(sources: Sequence[Tensor], factors: Sequence[Tensor], key: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`graphs.ops.attend_op.attend`."""
    dtype = promoted(sources)
    inner = accumulation(dtype)
    with without_autocast(key):
        logits = torch.stack(
            [
                (_flat(source, inner) @ key.to(inner)) * factor.to(inner)
                for source, factor in zip(sources, factors, strict=True)
            ],
            dim=1,
        )
        lse = logits.logsumexp(1)
        share = torch.exp(logits - lse[:, None])
        out = _flat(sources[0], inner) * share[:, :1]
        for j, source in enumerate(sources[1:], start=1):
            out.addcmul_(_flat(source, inner), share[:, j : j + 1])
    return out.to(dtype).view(sources[0].shape), logits, lse


def attend_delta(grad: Tensor, output: Tensor) -> Tensor:
    """See :func:`graphs.ops.attend_op.attend_delta`."""
    inner = accumulation(promoted([grad, output]))
    return (_flat(grad, inner) * _flat(output, inner)).sum(-1)


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
    with without_autocast(source):
        x, r = _flat(source, inner), factor.to(inner)[:, None]
        flat = [_flat(grad, inner) for grad in grads]
        share = torch.exp(logits.to(inner) - lse.to(inner))
        dots = torch.stack([(grad * x).sum(-1) for grad in flat], dim=1)
        pulls = share * (dots - delta.to(inner)) * r
        total = []
        if wanted:
            out = pulls @ keys.to(inner) - x * ((pulls * logits.to(inner)).sum(1, keepdim=True) * r / x.shape[1])
            for c, grad in enumerate(flat):
                out.addcmul_(grad, share[:, c : c + 1])
            total = [out.to(source.dtype).view(source.shape)]
        slope = pulls.t() @ x if learned else x.new_empty(0)
    return total, slope


def _flat(state: Tensor, dtype: torch.dtype) -> Tensor:
    return state.to(dtype).reshape(-1, state.shape[-1])
