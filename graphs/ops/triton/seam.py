"""A seam of a model by the kernels: its weight rules laid out in slots, and the autograd function."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from graphs.coefficients import Coefficients
from graphs.ops.gather import refuse_second_derivatives
from graphs.ops.seam_kinds import At, Recognised
from graphs.ops.triton.seam_launch import Forward, Kind, backward, centred, forward

DTYPES = (torch.bfloat16, torch.float16, torch.float32)


class Slots:
    """The rules of one seam as the kernels take them, on one device; kept, because indices would be copied to it."""

    def __init__(self, known: Recognised, weights: Coefficients, device: torch.device) -> None:
        self.kind = kind = Kind(known.name, known.streams, known.layer, known.iterations, known.norm is not None)
        self.norm = known.norm
        p, q = kind.slots
        learned: list[list[At | None]] = [[None] * q for _ in range(p)]
        gains: list[list[At | None]] = [[None] * q for _ in range(p)]
        fixed, free = ([[0.0] * q for _ in range(p)] for _ in range(2))
        rows: list[At | None] = [None] * kind.maps
        for i, row in enumerate(known.slots):
            for j, slot in enumerate(row):
                a, b = (j, i) if kind.each else (i, j)
                learned[a][b], gains[a][b], fixed[a][b] = slot.learned, slot.gain, slot.fixed
                free[a][b] = float(slot.gain is None)
                rows[i if kind.each else i * q + j] = slot.map
        self.maps = _Picked([rows], weights, device, True)
        self.learned = _Picked(learned, weights, device)
        self.gains = _Picked(gains, weights, device)
        self.fixed, self.free, self.later = (
            torch.tensor(rows, dtype=torch.float32, device=device) for rows in (fixed, free, known.later)
        )

    def takes(self, weights: Coefficients, write: Tensor, reads: Sequence[Tensor]) -> bool:
        """Whether the kernels are for such dtypes: streams of one, of at most 32 bits, and fp32 weights."""
        wide = all(getattr(weights, name).dtype is torch.float32 for name in self.maps.names)
        wide = wide and (self.norm is None or getattr(weights, self.norm).dtype is torch.float32)
        return wide and write.dtype is torch.float32 and reads[0].dtype in DTYPES and len({r.dtype for r in reads}) == 1

    def static(self, weights: Coefficients) -> tuple[Tensor, Tensor, Tensor]:
        """Maps, base and gain: small, so autograd takes their slopes back to the parameters."""
        maps = self.maps.of(weights)[0]
        base, gain = self.learned.of(weights) + self.fixed, self.gains.of(weights) + self.free
        return centred(maps) if self.kind.layer else maps, base, gain


class _Picked:
    """Numbers of parameters by place, or with ``whole`` rows of them; zero where there is none."""

    def __init__(
        self, places: Sequence[Sequence[At | None]], weights: Coefficients, device: torch.device, whole: bool = False
    ) -> None:
        self.names = list(dict.fromkeys(at[0] for row in places for at in row if at is not None))
        self.whole = whole
        begins, end = {}, 0
        for name in self.names:
            begins[name] = end
            parameter: Tensor = getattr(weights, name)
            end += len(parameter) if whole else parameter.numel()
        index = [[end if at is None else begins[at[0]] + at[1] for at in row] for row in places]
        self.index = torch.tensor(index, device=device)

    def of(self, weights: Coefficients) -> Tensor:
        if not self.names:
            return torch.zeros(self.index.shape, device=self.index.device)
        parts: list[Tensor] = [getattr(weights, name) for name in self.names]
        parts = parts if self.whole else [part.flatten() for part in parts]
        return torch.cat([*parts, parts[0].new_zeros(1, *parts[0].shape[1:])])[self.index]


def run(slots: Slots, weights: Coefficients, write: Tensor, reads: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The block's input, the n streams, and the later mix's weights (..., n, n + 1).

    ``reads`` are a block's output and n streams of one shape (..., d), ``write`` is (n, n + 1) or (..., n, n + 1).
    """
    norm = None if slots.norm is None else getattr(weights, slots.norm)
    arguments = slots.kind, slots.later, write, *slots.static(weights), norm, *reads
    results: tuple[Tensor, ...] = _Seam.apply(*arguments)  # type: ignore[no-untyped-call]
    return results


class _Seam(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        kind: Kind,
        fixed: Tensor,
        write: Tensor,
        maps: Tensor,
        base: Tensor,
        gain: Tensor,
        norm: Tensor | None,
        *reads: Tensor,
    ) -> Any:
        ctx.set_materialize_grads(False)
        shape = reads[0].shape
        y, g = reads[0].reshape(-1, shape[-1]).contiguous(), _joined(reads[1:])
        flat = (write if write.ndim == 2 else write.reshape(-1, *write.shape[-2:])).contiguous()
        result = forward(y, g, flat, maps, base, gain, fixed, kind, norm)
        ctx.kind, ctx.shape = kind, shape
        small = result._replace(block_input=None, streams=None, later=None)  # type: ignore[arg-type]
        ctx.save_for_backward(*reads, write, maps, base, gain, norm, *small[3:])
        streams = [result.streams[:, i].view(shape) for i in range(kind.streams)]
        return result.block_input.view(shape), *streams, result.later.view(*shape[:-1], *result.later.shape[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        refuse_second_derivatives()
        kind: Kind = ctx.kind
        if all(grad is None for grad in grads):
            return (None,) * len(ctx.needs_input_grad)
        *reads, write, maps, base, gain, norm, width, raw, scale, mean, rstd = ctx.saved_tensors
        y, g = reads[0].reshape(-1, ctx.shape[-1]).contiguous(), _joined(reads[1:])
        flat = (write if write.ndim == 2 else write.reshape(-1, *write.shape[-2:])).contiguous()
        given = [y.new_zeros(ctx.shape) if grad is None else grad for grad in grads[:-1]]
        later = grads[-1]
        later = y.new_zeros(len(y), *flat.shape[-2:], dtype=torch.float32) if later is None else later
        found = backward(
            y,
            g,
            flat,
            maps,
            base,
            gain,
            Forward(y, g, flat, width, raw, scale, mean, rstd),
            given[0].reshape(y.shape).contiguous(),
            _joined(given[1:]),
            later.reshape(len(y), *flat.shape[-2:]).contiguous(),
            kind,
            learn=ctx.needs_input_grad[3],
            norm=norm,
        )
        streams = [found.g[:, i].view(ctx.shape) for i in range(kind.streams)]
        return (
            None,
            None,
            found.write.view(write.shape),
            found.maps,
            found.base,
            found.gain,
            found.norm,
            found.y.view(ctx.shape),
            *streams,
        )


def _joined(streams: Sequence[Tensor]) -> Tensor:
    """(T, n, d) of n streams: without a copy where they are neighbours in memory, as the kernels leave them."""
    n, dim = len(streams), streams[0].shape[-1]
    flat = [stream.reshape(-1, dim) for stream in streams]
    first = flat[0]
    size = first.element_size() * dim
    beside = all(
        one.data_ptr() == first.data_ptr() + i * size
        and one.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        and one.stride() == (n * dim, 1)
        for i, one in enumerate(flat)
    )
    if beside:
        return first.as_strided((len(first), n, dim), (n * dim, dim, 1))
    return torch.stack(flat, dim=1)
