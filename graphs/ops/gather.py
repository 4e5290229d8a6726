"""Gather backward: a source's gradient and all its weight gradients in one pass over its consumers' gradients.

When the gradient of a source is first needed, the output gradients of all its consumers exist. Two autograd functions,
right only together, bring them to one place without a tensor per edge: ``fan`` gives every consumer a share of a
source, the source itself and a ticket for each output; ``mix`` returns its output gradients, unscaled and by
reference, as the gradients of tickets. So the backward of ``fan`` receives all of them at once. Where a weight is
known only later than the source (it is computed from a token) ``mix`` hands it over in the same way, as the gradient
of a ticket, and works out the weight's own gradient. A source of a single consumer needs no tickets: ``mix`` works out
its gradient, in one pass over all such sources. It does the same for sources that it shares with others if it has many
outputs, whose gradients would be read again for each source: then a source has one ticket there, for what all outputs
together give it. Neither function keeps anything but what it hands to
``save_for_backward``, and where the weights are frozen the sources are not kept.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graphs.errors import CompileError
from graphs.ops import kernels, norm
from graphs.ops.reference import accumulation


class Share(NamedTuple):
    """What one consumer gets of a source: its value, a ticket per output, and one for the weights if they come later.

    Without tickets the value itself is passed on, for a consumer that is the only one. ``joint``: one ticket for all
    outputs. ``version`` is the value's, which does not change until it was read.
    """

    state: Tensor
    tickets: tuple[Tensor, ...] = ()
    late: Tensor | None = None
    joint: bool = False
    version: int | None = None


class Consumer(NamedTuple):
    """A mix that will read a source: its number of outputs m, and the weights (1, m, C) of the source in it if known.

    ``late`` is the shape (R, m, C) of weights that are not. A mix that is neither given weights nor a shape works out
    the gradient of the source itself: it is joint.
    """

    outputs: int
    column: Tensor | None = None
    late: tuple[int, ...] = ()

    @property
    def joint(self) -> bool:
        return self.column is None and len(self.late) == 0


def fan(x: Tensor, consumers: Sequence[Consumer], dtype: torch.dtype | None = None) -> list[Share]:
    """One share of ``x`` for each consumer; each goes to one :func:`mix`, which has the same weights for ``x``.

    ``dtype`` is that of the consumers' outputs, ``x``'s without it; gradients of another are converted.
    """
    known, counts, late = [], [], []
    for consumer in consumers:
        joint = consumer.joint
        counts.append(1 if joint else consumer.outputs)
        late.append(consumer.late if consumer.column is None else ())
        if joint:
            known.append(torch.ones((1, 1, 1), dtype=accumulation(x.dtype), device=x.device))
        elif consumer.column is not None:
            known.append(consumer.column)
    given = _Fan.apply(x, tuple(counts), tuple(late), dtype or x.dtype, *known)  # type: ignore[no-untyped-call]
    states, shares, place, version = x.detach(), [], 0, version_of(x)
    for count, shape, consumer in zip(counts, late, consumers, strict=True):
        tickets = given[place : place + count]
        place += count
        shares.append(Share(states, tickets, given[place] if shape else None, consumer.joint, version))
        place += bool(shape)
    return shares


def mix(
    shares: Sequence[Share], weight: Tensor, plain: Sequence[bool] = (), gain: Tensor | None = None
) -> tuple[Tensor, ...]:
    """The outputs of a weight (R, m, k, C) on shares of k sources, with a ``gain`` (d,) each RMS-normalised over d.

    Gradients of weights known beforehand (R = 1) go to the fans of sources that have tickets. ``plain`` says which
    columns of a mix of one output are fixed at one: the gradient of a source without tickets is then the output's.
    """
    for share in shares:
        unchanged(share.state, share.version)
    alone = tuple(len(share.tickets) == 0 for share in shares)
    joint = tuple(share.joint for share in shares)
    late = tuple(share.late is not None for share in shares)
    tickets = [ticket for share in shares for ticket in share.tickets]
    tickets += [share.late for share in shares if share.late is not None]
    learned = any(alone) or any(joint) or any(late)
    outputs = _Mix.apply(  # type: ignore[no-untyped-call]
        weight if learned else weight.detach(),
        Ways(alone, joint, late, tuple(plain) or (False,) * len(shares), tuple(len(share.tickets) for share in shares)),
        gain,
        *(share.state for share in shares),
        *tickets,
    )
    return tuple(outputs)


class Ways(NamedTuple):
    """By source: how its gradient goes back (to itself; whole or in parts to its fan), if it is added as it is, and
    its number of tickets."""

    alone: tuple[bool, ...]
    joint: tuple[bool, ...]
    late: tuple[bool, ...]
    plain: tuple[bool, ...]
    tickets: tuple[int, ...] = ()


def refuse_second_derivatives() -> None:
    """Raise in a backward pass that is itself recorded."""
    if torch.is_grad_enabled():
        raise CompileError("impl='fused' has first derivatives alone; compile with impl='reference' for create_graph")


class _Fan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, counts: tuple[int, ...], late: tuple[tuple[int, ...], ...], dtype: torch.dtype, *known: Any
    ) -> Any:
        ctx.set_materialize_grads(False)
        ctx.counts, ctx.late, ctx.dtype = counts, late, x.dtype
        ctx.needed = ctx.needs_input_grad[4:]
        ctx.save_for_backward(x if any(ctx.needed) else None, *known)
        tickets = []
        nothing = x.new_zeros((), dtype=dtype)
        for count, shape in zip(counts, late, strict=True):
            tickets += [nothing.expand(x.shape) for _ in range(count)]
            if shape:
                tickets.append(x.new_zeros((), dtype=accumulation(x.dtype)).expand(shape))
        return tuple(tickets)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        refuse_second_derivatives()
        x, *known = ctx.saved_tensors
        columns = iter(known)
        place, number = 0, 0
        rows: dict[bool, list[Any]] = {True: [], False: []}  # gradients of edges, those of known weights apart
        weights: dict[bool, list[Tensor]] = {True: [], False: []}
        origin: list[tuple[int, list[int]]] = []  # of columns known: which, and its rows that have a gradient
        for count, shape in zip(ctx.counts, ctx.late, strict=True):
            mine = grads[place : place + count]
            place += count
            column = grads[place] if shape else next(columns)
            place += bool(shape)
            ran = [i for i, grad in enumerate(mine) if grad is not None and column is not None]
            rows[not shape] += [mine[i] for i in ran]
            weights[not shape] += [column[:, i] for i in ran]
            if not shape:
                origin.append((number, ran))
                number += 1
        total: Tensor | None = None
        results: list[Tensor | None] = [None] * len(known)
        wanted = ctx.needs_input_grad[0]
        for fixed in (True, False):
            if not rows[fixed]:
                continue
            weight = _together(weights[fixed])
            learns = fixed and x is not None
            dtype = None if rows[True] and rows[False] else ctx.dtype
            sums, products = kernels.gather(rows[fixed], [x if learns else None], weight, [wanted], dtype)
            if wanted:
                total = sums[0] if total is None else total + sums[0]
            if learns:
                start = 0
                for number, ran in origin:
                    if ran and ctx.needed[number]:
                        results[number] = _learned(products[:, start : start + len(ran), 0], known[number], ran)
                    start += len(ran)
        return None if total is None else total.to(ctx.dtype), None, None, None, *results


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, ways: Ways, gain: Tensor | None, *states: Tensor) -> Any:
        ctx.set_materialize_grads(False)
        k = len(ways.alone)
        sources = list(states[:k])
        ctx.ways = ways
        # Of the gradients that go back: what a ticket gets becomes the ticket's dtype in any case.
        starts = accumulate(ways.tickets, initial=k)
        ctx.dtypes = [
            (source if alone else states[start]).dtype
            for source, alone, start in zip(sources, ways.alone, starts, strict=False)
        ]
        # Of the others the fans keep the source.
        mine = [ways.late[j] or ways.joint[j] or (ways.alone[j] and not ways.plain[j]) for j in range(k)]
        learns = ctx.needs_input_grad[0]
        ctx.mine = [learns and one for one in mine]
        if gain is None:
            kept = (source if one else None for source, one in zip(sources, ctx.mine, strict=True))
            ctx.save_for_backward(weight, *kept)
            return tuple(kernels.mix(sources, weight))
        ctx.again = norm.again(k, weight.shape[1])
        outputs, scale, sums = norm.normed(sources, weight, gain, not ctx.again and any(ctx.needs_input_grad))
        kept = (source if one or ctx.again else None for source, one in zip(sources, ctx.mine, strict=True))
        ctx.save_for_backward(weight, *kept, gain, scale, *sums)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        refuse_second_derivatives()
        weight, *kept = ctx.saved_tensors
        ways: Ways = ctx.ways
        k, m = len(ways.alone), len(grads)
        kept, normed = kept[:k], kept[k:]
        ran = [i for i, grad in enumerate(grads) if grad is not None]
        there = [grad for grad in grads if grad is not None]
        if not ran:
            return (None,) * len(ctx.needs_input_grad)
        slope = None
        if normed:
            gain, scale, *sums = normed
            rows = lines(weight, ran, 1)
            there, slope = norm.through(
                there, kept if ctx.again else None, [sums[i] for i in ran if sums], rows, gain, lines(scale, ran, 0)
            )
            passed = iter(there)
            grads = tuple(None if grad is None else next(passed) for grad in grads)
            slope = slope.to(gain.dtype)
            kept = [source if one else None for source, one in zip(kept, ctx.mine, strict=True)]
        needed = ctx.needs_input_grad[3 : 3 + k]
        direct = [ways.alone[j] and m == 1 and ways.plain[j] for j in range(k)]
        wanted = [(ways.joint[j] or (ways.alone[j] and needed[j])) and not direct[j] for j in range(k)]
        totals: list[Tensor | None] = [there[0].to(ctx.dtypes[j]) if direct[j] else None for j in range(k)]
        columns = [j for j in range(k) if wanted[j] or kept[j] is not None]
        learned = None
        if columns:
            part = lines(lines(weight, ran, 1), columns, 2)
            asked = [j for j in columns if wanted[j]]
            dtypes = {ctx.dtypes[j] for j in asked}
            sums, products = kernels.gather(
                there,
                [kept[j] for j in columns],
                part,
                [wanted[j] for j in columns],
                dtypes.pop() if len(dtypes) == 1 else None,
            )
            for j, total in zip(asked, sums, strict=True):
                totals[j] = total.to(ctx.dtypes[j])
            if ctx.needs_input_grad[0]:
                learned = placed(placed(products.to(weight.dtype), columns, k, 2), ran, m, 1)
        tickets: list[Tensor | None] = []
        for j in range(k):
            if not ways.alone[j]:
                tickets += [totals[j]] if ways.joint[j] else grads
        tickets += [weight[:, :, j] for j in range(k) if ways.late[j]]
        return learned, None, slope, *(totals[j] if ways.alone[j] else None for j in range(k)), *tickets


def unchanged(state: Tensor, version: int | None) -> None:
    """CompileError where a shared value is not what it was when it was shared."""
    if version is not None and version_of(state) != version:
        raise CompileError(
            "a block has changed its input in place, and mixes that run later read it; "
            "make the block leave its input as it is, or compile with impl='reference'"
        )


def version_of(x: Tensor) -> int | None:
    """How often a tensor has been written to; None where nobody counts."""
    return None if torch.compiler.is_compiling() or x.is_inference() else x._version


def _together(columns: list[Tensor]) -> Tensor:
    """Weights (R, C) of edges, some the same for all rows or channels, as one (R, edges, 1, C)."""
    shape = [max(column.shape[axis] for column in columns) for axis in (0, 1)]
    return torch.stack([column.expand(shape) for column in columns], dim=1).unsqueeze(2)


def _learned(found: Tensor, column: Tensor, ran: list[int]) -> Tensor:
    """The gradient of a column (1, m, C) from those of its rows that ran, (1, rows, channels)."""
    if column.shape[2] < found.shape[2]:
        found = found.sum(-1, keepdim=True)
    return placed(found, ran, column.shape[1], 1).to(column.dtype)


def lines(tensor: Tensor, lines: list[int], axis: int) -> Tensor:
    """Some lines along an axis, ascending: a view where they are neighbours. An index would be copied to the device."""
    if lines[-1] - lines[0] == len(lines) - 1:
        return tensor.narrow(axis, lines[0], len(lines))
    return torch.cat([tensor.narrow(axis, line, 1) for line in lines], dim=axis)


def placed(tensor: Tensor, lines: list[int], size: int, axis: int) -> Tensor:
    """The lines back in their places among ``size``, of which the others are zero."""
    if len(lines) == size:
        return tensor
    shape = (*tensor.shape[:axis], 1, *tensor.shape[axis + 1 :])
    parts = [tensor.new_zeros(shape)] * size
    for i, line in enumerate(lines):
        parts[line] = tensor.narrow(axis, i, 1)
    return torch.cat(parts, dim=axis)
