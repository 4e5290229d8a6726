"""The two kernels in plain torch, right on any device and for any dtype: where no engine is made for what is asked."""

from collections.abc import Sequence

import torch
from torch import Tensor

from graphs.ops.layout import aligned, laid_out, rows
from graphs.ops.plain_attend import attend as attend
from graphs.ops.plain_attend import attend_back as attend_back
from graphs.ops.plain_attend import attend_delta as attend_delta
from graphs.ops.plain_attend import scales as scales
from graphs.ops.reference import accumulation, promoted, without_autocast
from graphs.rule_tensors import MIN_NORM


def mix(sources: Sequence[Tensor], weight: Tensor) -> list[Tensor]:
    """See :func:`graphs.ops.cpu.mix`."""
    dtype = promoted(sources)
    with without_autocast(weight):
        states = aligned(sources, weight)
        values = weight.to(accumulation(dtype))
        outputs = [torch.empty_like(states[0], dtype=dtype) for _ in range(weight.shape[1])]
        for i, output in enumerate(outputs):
            rows(output, weight).copy_(_total([rows(state, weight) for state in states], values[:, i]))
        return outputs


def gather(
    grads: Sequence[Tensor],
    sources: Sequence[Tensor | None],
    weight: Tensor,
    wanted: Sequence[bool],
    dtype: torch.dtype | None = None,
) -> tuple[list[Tensor], Tensor]:
    """See :func:`graphs.ops.cpu.gather`."""
    there = [source for source in sources if source is not None]
    inner = accumulation(promoted([*grads, *there]))
    with without_autocast(weight):
        flat, states = laid_out(grads, sources, weight)
        edges = [rows(grad, weight) for grad in flat]
        values = weight.to(inner)
        products = torch.zeros(weight.shape, dtype=inner, device=weight.device)
        axes = [axis for axis, size in ((0, weight.shape[0]), (1, weight.shape[3])) if size == 1]
        totals = []
        for j, (source, want) in enumerate(zip(states, wanted, strict=True)):
            if want:
                totals.append(torch.empty_like(flat[0], dtype=dtype or inner))
                rows(totals[-1], weight).copy_(_total(edges, values[:, :, j]))
            if source is not None:
                state = rows(source, weight).to(inner)
                for i, edge in enumerate(edges):
                    product = edge * state
                    products[:, i, j] = product.sum(axes, keepdim=True) if axes else product
        return totals, products


def normed(
    sources: Sequence[Tensor], weight: Tensor, gain: Tensor, keep: bool
) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    """See :func:`graphs.ops.norm.normed`."""
    dtype = promoted(sources)
    inner = accumulation(dtype)
    with without_autocast(weight):
        sums = mix([source.to(inner).contiguous() for source in sources], weight)
        scale = torch.stack([(one.square().mean(-1) + MIN_NORM).rsqrt().reshape(-1) for one in sums])
        outputs = [(one * scale[i].view(*one.shape[:-1], 1) * gain.to(inner)).to(dtype) for i, one in enumerate(sums)]
        return outputs, scale, sums if keep else []


def norm_back(
    grads: Sequence[Tensor], sources: Sequence[Tensor], weight: Tensor, gain: Tensor, scale: Tensor
) -> tuple[list[Tensor], Tensor]:
    """See :func:`graphs.ops.norm.norm_back`."""
    dtype, inner = promoted(grads), scale.dtype
    with without_autocast(weight):
        sums = mix([source.to(inner).contiguous() for source in sources], weight)
        outputs, learned = [], torch.zeros(gain.shape, dtype=inner, device=gain.device)
        for grad, one, factor in zip(grads, sums, scale, strict=True):
            r = factor.view(*one.shape[:-1], 1)
            unit, pull = one * r, grad.to(inner) * gain.to(inner)
            outputs.append(((pull - unit * (pull * unit).mean(-1, keepdim=True)) * r).to(dtype).contiguous())
            learned += (grad.to(inner) * unit).reshape(-1, gain.numel()).sum(0)
        return outputs, learned


def _total(states: Sequence[Tensor], values: Tensor) -> Tensor:
    """The states (rows, width) weighed by ``values`` (R, k, C), in their dtype."""
    total = states[0].to(values.dtype) * values[:, 0]
    for j, state in enumerate(states[1:], start=1):
        total.addcmul_(state.to(values.dtype), values[:, j])
    return total
