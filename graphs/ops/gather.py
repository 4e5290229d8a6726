"""Gather backward: a source's gradient and all its weight gradients in one pass over its consumers' gradients.

When the gradient of a source is first needed, the output gradients of all its consumers exist. Two autograd functions,
right only together, bring them to one place without a tensor per edge: ``fan`` gives every consumer a share of a
source, the source itself and a ticket; ``mix`` returns its output gradient, unscaled and by reference, as the gradient
of every ticket. So the backward of ``fan`` receives all of them at once. Neither keeps anything but what it hands to
``save_for_backward``, and where the weights are frozen the source is not kept.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graphs.errors import CompileError
from graphs.ops import cpu
from graphs.ops.reference import accumulation, promoted


class Share(NamedTuple):
    """What one consumer gets of a source: its value, and the ticket through which the gradient goes back."""

    state: Tensor
    ticket: Tensor


@torch.library.custom_op("wireloom::mix", mutates_args=(), device_types="cpu")
def mix_op(sources: list[Tensor], weight: Tensor) -> Tensor:
    """Shape (m, *shape) from a static weight (m, k)."""
    return cpu.mix(sources, weight)


@torch.library.custom_op("wireloom::gather", mutates_args=(), device_types="cpu")
def gather_op(grads: list[Tensor], source: Tensor | None, weight: Tensor) -> tuple[Tensor, Tensor]:
    """See :func:`graphs.ops.cpu.gather`."""
    return cpu.gather(grads, source, weight)


@mix_op.register_fake
def _(sources: list[Tensor], weight: Tensor) -> Tensor:
    return sources[0].new_empty((weight.shape[0], *sources[0].shape), dtype=promoted(sources))


@gather_op.register_fake
def _(grads: list[Tensor], source: Tensor | None, weight: Tensor) -> tuple[Tensor, Tensor]:
    inner = accumulation(promoted([*grads, *([] if source is None else [source])]))
    edges = 0 if source is None else weight.shape[0]
    return grads[0].new_empty(grads[0].shape[1:], dtype=inner), weight.new_empty(edges, dtype=inner)


def _setup(ctx: Any, inputs: tuple[list[Tensor], Tensor], output: Tensor) -> None:
    sources, weight = inputs
    ctx.save_for_backward(weight, *sources)


def _alone(ctx: Any, grad: Tensor) -> tuple[list[Tensor], Tensor]:
    """The operator called by itself: each source has this one consumer."""
    weight, *sources = ctx.saved_tensors
    each = [gather_op([grad], source, weight[:, j].contiguous()) for j, source in enumerate(sources)]
    grads = [total.to(source.dtype) for (total, _), source in zip(each, sources, strict=True)]
    return grads, torch.stack([dots for _, dots in each], dim=1).to(weight.dtype)


mix_op.register_autograd(_alone, setup_context=_setup)


def fan(x: Tensor, columns: Sequence[Tensor], dtype: torch.dtype | None = None) -> list[Share]:
    """One share of ``x`` for each consumer, whose edges from ``x`` have the weights ``columns[c]`` (m_c,).

    ``dtype`` is that of the consumers' outputs, ``x``'s without it; gradients of another are converted. Each share
    goes to one :func:`mix`, whose weight has the same numbers in the column of ``x``.
    """
    together = torch.cat([column.reshape(-1) for column in columns])
    counts = tuple(column.numel() for column in columns)
    tickets = _Fan.apply(x, together, counts, dtype or x.dtype)  # type: ignore[no-untyped-call]
    return [Share(x.detach(), ticket) for ticket in tickets]


def mix(shares: Sequence[Share], weight: Tensor) -> tuple[Tensor, ...]:
    """The outputs of a static ``weight`` (m, k) on shares of k sources; the weight's gradients go to the fans."""
    states, tickets = zip(*shares, strict=True)
    result: Tensor = _Mix.apply(weight.detach(), len(shares), *states, *tickets)  # type: ignore[no-untyped-call]
    # One output is the whole tensor, which a block may change in place; several are its views.
    return (result.view(result.shape[1:]),) if weight.shape[0] == 1 else result.unbind(0)


def refuse_second_derivatives() -> None:
    """Raise in a backward pass that is itself recorded."""
    if torch.is_grad_enabled():
        raise CompileError("impl='fused' has first derivatives alone; compile with impl='reference' for create_graph")


class _Fan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, counts: tuple[int, ...], dtype: torch.dtype) -> Any:
        ctx.set_materialize_grads(False)
        ctx.counts, ctx.shape, ctx.dtype = counts, x.shape, x.dtype
        ctx.save_for_backward(weight, x if ctx.needs_input_grad[1] else None)
        return tuple(x.new_zeros((), dtype=dtype).expand(m, *x.shape) for m in counts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        refuse_second_derivatives()
        weight, x = ctx.saved_tensors
        ran = [grad for grad in grads if grad is not None]
        if not ran:
            return None, None, None, None
        parts = torch.split(weight, ctx.counts)
        used = [part for part, grad in zip(parts, grads, strict=True) if grad is not None]
        total, dots = _gather(ran, x, torch.cat(used))
        if x is None:
            return total.to(ctx.dtype), None, None, None
        if len(ran) < len(grads):
            each = iter(torch.split(dots, [part.numel() for part in used]))
            dots = torch.cat(
                [
                    next(each) if grad is not None else dots.new_zeros(m)
                    for grad, m in zip(grads, ctx.counts, strict=True)
                ]
            )
        return total.to(ctx.dtype), dots.to(weight.dtype), None, None


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, k: int, *states: Tensor) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.k = k
        sources = list(states[:k])
        result: Tensor = (mix_op if _traced(weight) else cpu.mix)(sources, weight)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> Any:
        refuse_second_derivatives()
        return None, None, *(None,) * ctx.k, *(grad,) * ctx.k


def _gather(grads: list[Tensor], source: Tensor | None, weight: Tensor) -> tuple[Tensor, Tensor]:
    result: tuple[Tensor, Tensor] = (gather_op if _traced(weight) else cpu.gather)(grads, source, weight)
    return result


def _traced(weight: Tensor) -> bool:
    """Whether to call the operators: a CPU in eager mode calls the kernels, as the dispatcher costs more than a
    small mix."""
    return torch.compiler.is_compiling() or weight.device.type != "cpu" or type(weight) is not Tensor
