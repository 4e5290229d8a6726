"""The engine of a GPU: what :mod:`graphs.ops.cpu` does, by the Triton kernels.

Every output and every gradient is a tensor of its own, and nothing is stacked: kernels take tuples of pointers. By a
stated rule some go to :mod:`graphs.ops.plain`: dtypes the kernels are not for (fp64), and weights that are both per
token and per channel.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from graphs.ops import plain
from graphs.ops.layout import aligned, laid_out
from graphs.ops.reference import promoted
from graphs.ops.triton import launch
from graphs.ops.triton.gather import spread_into
from graphs.ops.triton.mix import Weight, mix_into


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
