"""The eager engine for histories on a CPU: one buffer of all sources, one product for many gradients.

Sources that several mixes read are copied into the rows of one buffer as they are written; a mix is then one
matrix product with a run of rows. A handle goes from operation to operation, an empty tensor whose gradient is the
backward pass's own buffer: the gradients that sources have so far, and those of up to ``BLOCK`` consumers that wait.
When enough wait they are spread to all older sources by one product, and their weight gradients are another; a source
adds the few that wait when its own turn comes. Nothing is shared by side effect: the buffer of the forward pass goes
to the backward pass through ``save_for_backward`` alone, the other one as the handle's gradient, so an operation that
a backward pass does not reach takes no part in it.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from graphs.errors import CompileError
from graphs.ops.gather import refuse_second_derivatives
from graphs.ops.layout import Layout, Push, Read
from graphs.ops.reference import accumulation, without_autocast


class History:
    """The buffer of one forward pass. ``weights`` by mix number, those of the layout's reads."""

    def __init__(self, layout: Layout, like: Tensor, weights: Sequence[Tensor]) -> None:
        self.layout = layout
        self.shape = like.shape
        self.dtype = accumulation(like.dtype)
        self.data = torch.empty(layout.slots, like.numel(), dtype=self.dtype)
        self.trains = torch.is_grad_enabled() and any(weight.requires_grad for weight in weights)
        self._dtypes: dict[int, torch.dtype] = {}
        self._handle, self._learned, self._weight = _Start.apply(self, *weights)  # type: ignore[no-untyped-call]

    def push(self, push: Push, value: Tensor) -> None:
        """Copy a value into its slot."""
        if accumulation(value.dtype) != self.dtype:
            raise CompileError(
                f"a hidden state has dtype {value.dtype} where x0 asks for sums in {self.dtype}; use impl='reference'"
            )
        self._dtypes[push.slot] = value.dtype
        self._handle, self._learned = _Push.apply(  # type: ignore[no-untyped-call]
            self, push, self._weight, self._handle, self._learned, value
        )

    def read(self, read: Read, direct: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The outputs of one mix."""
        slots = range(*read.slots)
        dtype = reduce(torch.promote_types, [self._dtypes[i] for i in slots] + [value.dtype for value in direct])
        out, self._handle, self._learned = _Read.apply(  # type: ignore[no-untyped-call]
            self, read, dtype, self._weight, self._handle, self._learned, *direct
        )
        if len(read.rows) == 1:
            return (out,)
        return tuple(row.clone() if i in read.apart else row for i, row in enumerate(out.unbind(0)))

    def alias(self, start: int, stop: int) -> Tensor:
        """Rows that will not change, for saving: later rows are written without changing its version."""
        return self.data.data[start:stop]

    def handles(self) -> tuple[Tensor, Tensor]:
        """What carries the two buffers of the backward pass, sources' and weights': no values, so no memory."""
        layout, nothing = self.layout, torch.zeros((), dtype=self.dtype)
        size = layout.slots + layout.waiting, self.data.shape[1]
        return nothing.expand(size), nothing.expand(layout.rows, layout.slots)


class _Start(torch.autograd.Function):
    """The weights of all reads as one matrix; its backward pass is the last, and hands out their gradients."""

    @staticmethod
    def forward(ctx: Any, history: History, *weights: Tensor) -> Any:
        layout = history.layout
        ctx.set_materialize_grads(False)
        ctx.like = [(weight.shape, weight.dtype) for weight in weights]
        whole = history.data.new_zeros(layout.rows, layout.slots)
        for read, weight in zip(_by_number(layout), weights, strict=True):
            start, stop, step = read.slots
            whole[read.rows[0] : read.rows[-1] + 1, start:stop:step] = weight[:, list(read.columns)]
        ctx.reads = _by_number(layout)
        ctx.mark_non_differentiable(whole)
        return *history.handles(), whole

    @staticmethod
    def backward(ctx: Any, handle: Tensor | None, learned: Tensor | None, _: None) -> Any:
        refuse_second_derivatives()
        if learned is None:
            return None, *(None for _ in ctx.reads)
        result: list[Tensor | None] = []
        for read, (shape, dtype), needed in zip(ctx.reads, ctx.like, ctx.needs_input_grad[1:], strict=True):
            if not needed:
                result.append(None)
                continue
            start, stop, step = read.slots
            grad = learned.new_zeros(shape, dtype=dtype)
            grad[:, list(read.columns)] = learned[read.rows[0] : read.rows[-1] + 1, start:stop:step].to(dtype)
            result.append(grad)
        return None, *result


class _Push(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, history: History, push: Push, weight: Tensor, handle: Tensor, learned: Tensor, value: Tensor
    ) -> Any:
        history.data[push.slot].view(history.shape).copy_(value)
        ctx.set_materialize_grads(False)
        ctx.push, ctx.like, ctx.slots = push, (value.shape, value.dtype), history.layout.slots
        trains = history.trains and bool(push.waiting)
        ctx.save_for_backward(weight, history.alias(push.slot, push.slot + 1) if trains else None)
        return history.handles()

    @staticmethod
    def backward(ctx: Any, handle: Tensor | None, learned: Tensor | None) -> Any:
        refuse_second_derivatives()
        push: Push = ctx.push
        if handle is None:
            return None, None, None, None, None, None  # no reader of it took part
        weight, row = ctx.saved_tensors
        shape, dtype = ctx.like
        waiting = handle[ctx.slots : ctx.slots + len(push.waiting)]
        rows = list(push.waiting)
        grad = None
        with without_autocast(handle):
            if row is not None and learned is not None:
                learned[rows, push.slot] = torch.mv(waiting, row[0])
            if ctx.needs_input_grad[5]:
                so_far = handle[push.slot]
                if rows and push.spread:
                    grad = torch.addmv(so_far, waiting.t(), weight[rows, push.slot])
                elif rows:
                    grad = torch.mv(waiting.t(), weight[rows, push.slot])
                else:
                    grad = so_far.clone() if push.spread else torch.zeros_like(so_far)
                grad = grad.view(shape).to(dtype)
        return None, None, None, handle, learned, grad


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        history: History,
        read: Read,
        dtype: torch.dtype,
        weight: Tensor,
        handle: Tensor,
        learned: Tensor,
        *direct: Tensor,
    ) -> Any:
        start, stop, step = read.slots
        rows = weight[read.rows[0] : read.rows[-1] + 1, start:stop:step]
        sources = history.data[start:stop:step]
        many = (len(read.rows),) if len(read.rows) > 1 else ()
        # No view: a block may change its input in place.
        out = torch.empty(many + history.shape, dtype=history.dtype)
        with without_autocast(weight):
            if len(read.rows) > 1:
                torch.mm(rows, sources, out=out.view(len(read.rows), -1))
            elif direct:
                own = direct[0].to(history.dtype)
                for other in direct[1:]:
                    own = own + other
                torch.addmv(own.reshape(-1), sources.t(), rows[0], out=out.view(-1))
            else:
                torch.mv(sources.t(), rows[0], out=out.view(-1))
        ctx.set_materialize_grads(False)
        ctx.read, ctx.slots, ctx.size = read, history.layout.slots, handle.shape
        ctx.dtypes = [value.dtype for value in direct]
        ctx.inner = history.dtype
        ctx.trains = history.trains
        ctx.save_for_backward(weight, history.alias(0, read.older) if ctx.trains and read.spread else None)
        return out.to(dtype), *history.handles()

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, handle: Tensor | None, learned: Tensor | None) -> Any:
        refuse_second_derivatives()
        read: Read = ctx.read
        if grad is None and handle is None:
            return (None,) * (6 + len(ctx.dtypes))
        weight, sources = ctx.saved_tensors
        if handle is None:
            # The last read comes first, into memory it fills as it goes; from any other point the rest is zero.
            fresh = torch.empty if read.last and not torch.is_anomaly_enabled() else torch.zeros
            handle = fresh(ctx.size, dtype=ctx.inner)
        if learned is None and ctx.trains:
            learned = torch.zeros_like(weight)
        with without_autocast(handle):
            if read.waits is not None:
                place = handle[ctx.slots + read.waits]
                if grad is None:
                    place.zero_()
                else:
                    place.view(grad.shape).copy_(grad)
                gradients = handle[ctx.slots : ctx.slots + read.waits + 1]
            elif grad is not None:
                gradients = grad.reshape(len(read.rows), -1).to(ctx.inner)
            else:
                gradients = handle.new_zeros(len(read.rows), handle.shape[1])
            if read.spread:
                rows = list(read.spread)
                older = handle[: read.older]
                column = weight[rows, : read.older].t()
                if read.fresh:
                    torch.mm(column, gradients, out=older)
                else:
                    older.addmm_(column, gradients)
                if sources is not None and learned is not None:
                    learned[rows, : read.older] = torch.mm(gradients, sources.t())
        direct = (
            None if grad is None or not needed else grad.to(dtype)
            for dtype, needed in zip(ctx.dtypes, ctx.needs_input_grad[6:], strict=True)
        )
        return None, None, None, None, handle, learned, *direct


def _by_number(layout: Layout) -> list[Read]:
    return [layout.reads[number] for number in sorted(layout.reads)]
