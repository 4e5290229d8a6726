"""Attention over depth as one operator, and its gather backward.

``logit[j] = key . (rms_norm(x[j]))``, softmax over j, weighted sum of the x[j] as they are; a key is a query with the
gain of the norm in it, over the temperature. The factor of a source's norm is worked out once and shared by all that
attend to it.

As in :mod:`graphs.ops.gather` a pair of autograd functions, right only together: ``fan`` gives each consumer a share of
a source; ``attend`` hands back its output gradient by reference, the logits' column of the source, and two numbers a
token that all sources share (the softmax's logarithm and ``<gradient, output>``). From these the fan's backward pass
makes the gradient of the source, and of every key what comes through this source, in one pass over the source and its
consumers' gradients. Kept are the source, one number a token for its norm, and for each consumer its output, its
logits and one more number a token.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graphs.ops import attend_op
from graphs.ops.gather import lines, placed, refuse_second_derivatives, unchanged, version_of


class Share(NamedTuple):
    """What one consumer gets of a source: its value, its norm's factors (rows,), and three tickets.

    The tickets stand for the output's gradient, the logits of the source, and the two numbers a token. ``version`` is
    the value's, which does not change until it was read.
    """

    state: Tensor
    scale: Tensor
    tickets: tuple[Tensor, ...]
    version: int | None


def fan(x: Tensor, keys: Tensor, dtype: torch.dtype | None = None) -> list[Share]:
    """One share of ``x`` (..., d) for each of the ``keys`` (consumers, d); each goes to one :func:`attend`.

    ``dtype`` is that of the consumers' outputs, ``x``'s without it.
    """
    with torch.no_grad():
        scale = attend_op.scales(x)
    tickets = _Fan.apply(x, keys, scale, dtype or x.dtype)  # type: ignore[no-untyped-call]
    state, version = x.detach(), version_of(x)
    return [Share(state, scale, tickets[3 * c : 3 * c + 3], version) for c in range(len(keys))]


def attend(shares: Sequence[Share], key: Tensor) -> Tensor:
    """The output (..., d) for shares of k sources, in their promoted dtype. ``key`` (d,) is the one its fans have."""
    for share in shares:
        unchanged(share.state, share.version)
    tickets = [ticket for share in shares for ticket in share.tickets]
    states, factors = [share.state for share in shares], [share.scale for share in shares]
    out: Tensor = _Attend.apply(len(shares), key.detach(), *states, *factors, *tickets)  # type: ignore[no-untyped-call]
    return out


class _Fan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, keys: Tensor, scale: Tensor, dtype: torch.dtype) -> Any:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, keys, scale)
        nothing, small = x.new_zeros((), dtype=dtype), scale.new_zeros(())
        tickets: list[Tensor] = []
        for _ in range(len(keys)):
            tickets += [nothing.expand(x.shape), small.expand(scale.shape), small.expand(2, *scale.shape)]
        return tuple(tickets)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        refuse_second_derivatives()
        x, keys, scale = ctx.saved_tensors
        rows = [grad for grad in grads[::3] if grad is not None]
        ran = [c for c, grad in enumerate(grads[::3]) if grad is not None]
        if not ran:
            return None, None, None, None
        logits = torch.stack([one for one in grads[1::3] if one is not None], dim=-1)
        both = torch.stack([one for one in grads[2::3] if one is not None], dim=-1)
        wanted, learned = ctx.needs_input_grad[:2]
        total, slope = attend_op.attend_back(
            rows, x, lines(keys, ran, 0), logits, both[0], both[1], scale, wanted, learned
        )
        into = total[0].to(x.dtype) if wanted else None
        return into, placed(slope.to(keys.dtype), ran, len(keys), 0) if learned else None, None, None


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, k: int, key: Tensor, *tensors: Tensor) -> Any:
        ctx.set_materialize_grads(False)
        states, factors = tensors[:k], tensors[k : 2 * k]
        out, logits, lse = attend_op.attend(states, factors, key)
        ctx.k = k
        ctx.save_for_backward(out, logits, lse)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> Any:
        refuse_second_derivatives()
        if grad is None:
            return (None,) * len(ctx.needs_input_grad)
        out, logits, lse = ctx.saved_tensors
        both = torch.stack([lse, attend_op.attend_delta(grad, out)])
        tickets: list[Tensor] = []
        for column in logits.unbind(1):
            tickets += [grad, column, both]
        return None, None, *(None,) * (2 * ctx.k), *tickets
