"""The engine of a GPU: what :mod:`graphs.ops.cpu` does, by the Triton kernels.

Every output and every gradient is a tensor of its own, and nothing is stacked: kernels take tuples of pointers. By a
stated rule some go to :mod:`graphs.ops.plain`: dtypes the kernels are not for (fp64), weights that are both per token
and per channel, and norms of rows longer than ``launch.WIDEST``.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from graphs.ops import plain
from graphs.ops.layout import aligned, laid_out
from graphs.ops.reference import promoted
from graphs.ops.triton import launch
from graphs.ops.triton.attend_engine import attend as attend
from graphs.ops.triton.attend_engine import attend_back as attend_back
from graphs.ops.triton.attend_engine import attend_delta as attend_delta
from graphs.ops.triton.attend_engine import scales as scales
from graphs.ops.triton.gather import spread_into
from graphs.ops.triton.mix import Weight, mix_into, normed_into
from graphs.ops.triton.norm import norm_backward_into


def mix(sources: Sequence[Tensor], weight: Tensor) -> list[Tensor]:
    """See :func:`graphs.ops.cpu.mix`."""
    dtype = promoted(sources)
    if not kernels_take(sources, weight, dtype):
        return plain.mix(sources, weight)
    states = aligned(sources, weight)
    outputs = [torch.empty_like(states[0], dtype=dtype) for _ in range(weight.shape[1])]
    mix_into(states, _weight(weight, states[0]), outputs)
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
    if not kernels_take([*grads, *there], weight, dtype or torch.float32):
        return plain.gather(grads, sources, weight, wanted, dtype)
    rows, states = laid_out(grads, sources, weight)
    totals = [torch.empty_like(rows[0], dtype=dtype or torch.float32) if want else None for want in wanted]
    products = spread_into(rows, states, _weight(weight, rows[0]), totals)
    return [total for total in totals if total is not None], products.view(weight.shape)


def normed(
    sources: Sequence[Tensor], weight: Tensor, gain: Tensor, keep: bool
) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    """See :func:`graphs.ops.norm.normed`; rows longer than ``launch.WIDEST`` go to :mod:`graphs.ops.plain`."""
    dtype = promoted(sources)
    if not kernels_take(sources, weight, dtype) or gain.numel() > launch.WIDEST:
        return plain.normed(sources, weight, gain, keep)
    states = [source.contiguous() for source in sources]
    outputs = [torch.empty_like(states[0], dtype=dtype) for _ in range(weight.shape[1])]
    sums = [torch.empty_like(output, dtype=torch.float32) for output in outputs] if keep else []
    scale = torch.empty(len(outputs), states[0].numel() // max(gain.numel(), 1), device=gain.device)
    normed_into(states, _weight(weight, states[0]), outputs, sums, gain.float(), scale)
    return outputs, scale, sums


def norm_back(
    grads: Sequence[Tensor], sources: Sequence[Tensor], weight: Tensor, gain: Tensor, scale: Tensor
) -> tuple[list[Tensor], Tensor]:
    """See :func:`graphs.ops.norm.norm_back`."""
    dtype = promoted(grads)
    if not kernels_take([*grads, *sources], weight, dtype) or gain.numel() > launch.WIDEST:
        return plain.norm_back(grads, sources, weight, gain, scale)
    given, states = ([one.contiguous() for one in each] for each in (grads, sources))
    outputs = [torch.empty_like(grad, dtype=dtype) for grad in given]
    w = _weight(weight, states[0])
    return outputs, norm_backward_into(given, states, w, gain.float(), scale.contiguous(), outputs)


def kernels_take(tensors: Sequence[Tensor], weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether the kernels are for these dtypes and this kind of weight."""
    both = weight.shape[0] > 1 and weight.shape[3] > 1
    return not both and {dtype, *(tensor.dtype for tensor in tensors)} <= set(launch.DTYPES)


def _weight(weight: Tensor, state: Tensor) -> Weight:
    """(R, m, k, C) with the axes that the kernels know, in fp32."""
    weight = weight.float()
    if weight.shape[3] > 1:
        return Weight(weight[0], state, channels=True)
    return Weight(weight[..., 0] if weight.shape[0] > 1 else weight[0, ..., 0], state, channels=False)
