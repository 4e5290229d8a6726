"""The compiled model: an ``nn.Module`` that follows a plan and decides nothing."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graphs.coefficients import Coefficients, Memo
from graphs.errors import CompileError
from graphs.matrix import connection_matrix
from graphs.ops import mix
from graphs.plan import Plan
from graphs.topology import Block, Mix


class CompiledModel(nn.Module):
    """``model(x0, **kw)`` -> the output value, a tensor of the shape of ``x0``; no final norm, no head.

    ``blocks`` are the user's modules, the same objects, called as ``block(u, **kw)`` (one positional argument per
    port); of a tuple the first item is the value. ``plan`` is what runs.
    """

    def __init__(
        self,
        plan: Plan,
        blocks: Sequence[nn.Module],
        dim: int,
        channel_axis: int,
        impl: str,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.plan = plan
        self.dim = dim
        self.channel_axis = channel_axis
        self.impl = impl
        self.blocks = nn.ModuleList(blocks)
        self.weights = Coefficients(plan, dim, generator)

    def forward(self, x0: Tensor, **kw: Any) -> Tensor:
        """Run the plan on ``x0``; CompileError where its channel axis does not have ``dim`` channels."""
        axis = self.channel_axis
        if not -x0.ndim <= axis < x0.ndim or x0.shape[axis] != self.dim:
            raise CompileError(
                f"the input has shape {tuple(x0.shape)}; axis {axis} was expected to have {self.dim} channels"
            )
        values = {self.plan.topology.stem: x0}
        memo: Memo = {}
        number = 0
        for step in self.plan.steps:
            op = step.op
            if isinstance(op, Block):
                result = self.blocks[op.number - 1](*(values[value] for value in op.reads), **kw)
                output = result[0] if isinstance(result, tuple) else result
                if output.shape != x0.shape:
                    raise CompileError(
                        f"block {op.number} ({op.name}) gave a hidden state of shape {tuple(output.shape)}; "
                        f"every hidden state has the shape of x0, {tuple(x0.shape)}"
                    )
                values[op.writes] = output
            else:
                outputs = self._mix(op, number, values, memo)
                values.update(zip(op.writes, outputs, strict=True))
                number += 1
            for value in step.frees:
                del values[value]
        return values[self.plan.topology.output]

    def _mix(self, op: Mix, number: int, values: dict[str, Tensor], memo: Memo) -> tuple[Tensor, ...]:
        sources = [values[value] for value in op.reads]
        axis, last = self.channel_axis % sources[0].ndim, sources[0].ndim - 1
        # Weights that are the same number for all channels do not mind where the channels are.
        moved = axis != last and not (op.static and op.weight.grain.parts == 1)
        keys = [values[value] for value in op.keys]
        if moved:
            sources = [source.movedim(axis, last) for source in sources]
            keys = [key.movedim(axis, last) for key in keys]
        outputs = mix(sources, self.weights(number, keys, memo), grain=op.weight.grain, impl=self.impl)
        if op.norm is not None:
            outputs = tuple(self.weights.norm(number, output) for output in outputs)
        return tuple(output.movedim(last, axis) for output in outputs) if moved else outputs

    def matrix(self, port: str = "in") -> "np.ndarray[Any, Any]":
        """The effective connection matrix at the present weights; see :meth:`graphs.Topology.matrix`."""
        return connection_matrix(self.plan.topology, self.weights.values(), port)

    def extra_repr(self) -> str:
        return f"{self.plan.topology}, dim={self.dim}, impl={self.impl!r}"
