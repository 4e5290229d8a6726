"""The compiled model: an ``nn.Module`` that follows a plan and decides nothing."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graphs.attention import attention
from graphs.coefficients import Coefficients, Memo
from graphs.errors import CompileError
from graphs.matrix import connection_matrix
from graphs.ops import attend, gather, mix
from graphs.ops.api import in_full, transformed
from graphs.ops.readers import attended, joint, readers
from graphs.ops.seam_run import SeamRun, Seams
from graphs.plan import Plan
from graphs.topology import Block, Mix
from graphs.weights import evaluate


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
        recompute: bool | int = False,
    ) -> None:
        super().__init__()
        self.plan = plan
        self.dim = dim
        self.channel_axis = channel_axis
        self.impl = impl
        self.blocks = nn.ModuleList(blocks)
        self.weights = Coefficients(plan, dim, generator)
        # What is asked of a weight rule is worked out here: tracers do not follow cached properties.
        self._grains = tuple(mix.weight.grain for mix in plan.mixes)
        # Weights that are the same number for all channels do not mind where the channels are.
        self._channels_last = tuple(not (mix.static and mix.weight.grain.parts == 1) for mix in plan.mixes)
        self._seams = Seams(plan, self.weights, recompute) if impl == "fused" else None
        self._readers = readers(plan) if impl == "fused" else {}
        self._joint = joint(plan) if impl == "fused" else ()
        self._attended = attended(plan) if impl == "fused" else {}
        self._queries = {n: found for n, mix in enumerate(plan.mixes) if (found := attention(mix)) is not None}
        self._plain = tuple(_plain(mix) for mix in plan.mixes)

    def forward(self, x0: Tensor, **kw: Any) -> Tensor:
        """Run the plan on ``x0``; CompileError where its channel axis does not have ``dim`` channels."""
        axis = self.channel_axis
        if not -x0.ndim <= axis < x0.ndim or x0.shape[axis] != self.dim:
            raise CompileError(
                f"the input has shape {tuple(x0.shape)}; axis {axis} was expected to have {self.dim} channels"
            )
        run = _Run(self, x0)
        run.write(self.plan.topology.stem, x0)
        number = 0
        for step in self.plan.steps:
            op = step.op
            if isinstance(op, Block):
                result = self.blocks[op.number - 1](*(run.values[value] for value in op.reads), **kw)
                output = result[0] if isinstance(result, tuple) else result
                if output.shape != x0.shape:
                    raise CompileError(
                        f"block {op.number} ({op.name}) gave a hidden state of shape {tuple(output.shape)}; "
                        f"every hidden state has the shape of x0, {tuple(x0.shape)}"
                    )
                run.write(op.writes, output)
                del result, output
            else:
                for value, output in run.mixed(op, number).items():
                    run.write(value, output)
                number += 1
            for value in step.frees:
                run.free(value)
        return run.values[self.plan.topology.output]

    def matrix(self, port: str = "in") -> "np.ndarray[Any, Any]":
        """The effective connection matrix at the present weights; see :meth:`graphs.Topology.matrix`."""
        return connection_matrix(self.plan.topology, self.weights.values(), port)

    def extra_repr(self) -> str:
        return f"{self.plan.topology}, dim={self.dim}, impl={self.impl!r}"


def _plain(mix: Mix) -> tuple[bool, ...]:
    """Which sources a mix of one output adds as they are."""
    if len(mix.writes) > 1 or mix.weight.per_token or not any(mix.weight.units()[0]):
        return (False,) * len(mix.reads)
    # A unit is fixed at one or at minus one.
    return tuple(
        unit and entry == 1 for unit, entry in zip(mix.weight.units()[0], evaluate(mix.weight)[0], strict=True)
    )


class _Run:
    """One forward pass: the values alive and, of a fused model, what its mixes were given of them.

    Under torch.func, and for mixes that are not fusible, it is the reference.
    """

    def __init__(self, model: CompiledModel, x0: Tensor) -> None:
        self.model = model
        self.values: dict[str, Tensor] = {}
        self.memo: Memo = {}
        self.stem_dtype = x0.dtype
        fused = model.impl == "fused" and not transformed()
        self.readers = model._readers if fused else {}
        self.attended = model._attended if fused else {}
        self.looks: dict[int, dict[int, attend.Share]] = {}
        # The keys of all attention over depth, in the order of their mixes, from the first time they are needed.
        self.keys: Tensor | None = None
        self.shares: dict[int, dict[int, gather.Share]] = {}
        # Of weights that are known beforehand: all columns at once, so that their gradients come back in one piece.
        self.columns: dict[int, tuple[Tensor, ...]] = {}
        self.seams: SeamRun | None = None
        eager = type(x0) is Tensor and not torch.compiler.is_compiling()
        if fused and eager and model._seams is not None and model._seams.jobs:
            self.seams = SeamRun(model._seams, model.weights, model.channel_axis % x0.ndim)
        self.elsewhere = set() if self.seams is None else self.seams.seams.mixes
        if model.channel_axis % x0.ndim != x0.ndim - 1:
            self.elsewhere = self.elsewhere | {n for n, last in enumerate(model._channels_last) if last}

    def write(self, name: str, value: Tensor) -> None:
        """A value exists: its shares go to the mixes that will read it."""
        if not value.is_floating_point():
            raise CompileError(f"hidden state {name} has dtype {value.dtype}; floating point was expected")
        self.values[name] = value
        places = [place for place in self.readers.get(name, ()) if place[0] not in self.elsewhere]
        if len(places) == 1:
            number, j = places[0]
            self.shares.setdefault(number, {})[j] = gather.Share(value)
        elif places:
            consumers = [self._consumer(number, j, value) for number, j in places]
            shares = gather.fan(value, consumers, torch.promote_types(self.stem_dtype, value.dtype))
            for (number, j), share in zip(places, shares, strict=True):
                self.shares.setdefault(number, {})[j] = share
        looks = [place for place in self.attended.get(name, ()) if place[0] not in self.elsewhere]
        if looks:
            order = {number: row for row, number in enumerate(self.model._queries)}
            keys = gather.lines(self._keys(), [order[number] for number, _ in looks], 0)
            given = attend.fan(value, keys, torch.promote_types(self.stem_dtype, value.dtype))
            for (number, j), look in zip(looks, given, strict=True):
                self.looks.setdefault(number, {})[j] = look

    def free(self, name: str) -> None:
        self.values.pop(name, None)

    def mixed(self, op: Mix, number: int) -> dict[str, Tensor]:
        """The values that exist once a mix has run."""
        if self.seams is not None and number in self.seams.seams.mixes:
            return self.seams.run(number, self.values, op.keys, self.memo)
        return dict(zip(op.writes, self.mix(op, number), strict=True))

    def mix(self, op: Mix, number: int) -> tuple[Tensor, ...]:
        if number in self.looks:
            looks = self.looks.pop(number)
            key = self._keys()[list(self.model._queries).index(number)]
            output = attend.attend([looks[j] for j in range(len(op.reads))], key)
            return (self.model.weights.norm(number, output),)
        if number not in self.shares:
            return self._reference(op, number)
        shares = self.shares.pop(number)
        self.columns.pop(number, None)
        weight = self._weight(number, [self.values[value] for value in op.keys])
        gain = self.model.weights.gain(number)
        outputs = gather.mix([shares[j] for j in range(len(op.reads))], weight, self.model._plain[number], gain)
        # A layer norm, with its bias, runs in torch behind the kernel. Channels are last here where there is a norm.
        return outputs if gain is not None else tuple(self.model.weights.norm(number, output) for output in outputs)

    def _consumer(self, number: int, j: int, value: Tensor) -> gather.Consumer:
        op = self.model.plan.mixes[number]
        m = len(op.writes)
        if self.model._joint[number]:
            return gather.Consumer(m)
        if op.keys:
            channels = self.model.dim if self.model._grains[number].parts != 1 else 1
            return gather.Consumer(m, None, (value.numel() // self.model.dim, m, channels))
        if number not in self.columns:
            self.columns[number] = self._weight(number, ()).unbind(2)
        return gather.Consumer(m, self.columns[number][j])

    def _keys(self) -> Tensor:
        if self.keys is None:
            self.keys = self.model.weights.keys(tuple(self.model._queries.values()))
        return self.keys

    def _weight(self, number: int, keys: Sequence[Tensor]) -> Tensor:
        """With the kernels' four axes."""
        weight = self.model.weights(number, keys, self.memo)
        assert isinstance(weight, Tensor)
        return in_full(weight, self.model._grains[number], self.model.dim)

    def _reference(self, op: Mix, number: int) -> tuple[Tensor, ...]:
        sources = [self.values[value] for value in op.reads]
        axis, last = self.model.channel_axis % sources[0].ndim, sources[0].ndim - 1
        moved = axis != last and self.model._channels_last[number]
        keys = [self.values[value] for value in op.keys]
        if moved:
            sources = [source.movedim(axis, last) for source in sources]
            keys = [key.movedim(axis, last) for key in keys]
        outputs = mix(sources, self.model.weights(number, keys, self.memo), grain=self.model._grains[number])
        if op.norm is not None:
            outputs = tuple(self.model.weights.norm(number, output) for output in outputs)
        return tuple(output.movedim(last, axis) for output in outputs) if moved else outputs
