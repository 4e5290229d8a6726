"""The engine of a GPU for attention over depth: what :mod:`graphs.ops.cpu_attend` does, by the Triton kernels.

By a stated rule :mod:`graphs.ops.plain_attend` runs for dtypes the kernels are not for (fp64) and for rows longer than
``launch.WIDEST``.
"""

from collections.abc import Sequence

from torch import Tensor

from graphs.ops import plain_attend
from graphs.ops.triton import launch
from graphs.ops.triton.attend import attend as attend_rows
from graphs.ops.triton.attend import attend_backward
from graphs.ops.triton.attend import attend_delta as delta_rows
from graphs.ops.triton.attend import scales as scale_rows


def scales(source: Tensor) -> Tensor:
    """See :func:`graphs.ops.attend_op.scales`."""
    return scale_rows(source) if _taken(source) else plain_attend.scales(source)


def attend(sources: Sequence[Tensor], factors: Sequence[Tensor], key: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`graphs.ops.attend_op.attend`."""
    if _taken(*sources):
        return attend_rows(sources, factors, key)
    return plain_attend.attend(sources, factors, key)


def attend_delta(grad: Tensor, output: Tensor) -> Tensor:
    """See :func:`graphs.ops.attend_op.attend_delta`."""
    return delta_rows(grad, output) if _taken(grad, output) else plain_attend.attend_delta(grad, output)


def attend_back(
    grads: Sequence[Tensor],
    source: Tensor,
    keys: Tensor,
    logits: Tensor,
    lse: Tensor,
    delta: Tensor,
    factor: Tensor,
    wanted: bool,
    learned: bool,
) -> tuple[list[Tensor], Tensor]:
    """See :func:`graphs.ops.attend_op.attend_back`."""
    if not _taken(source, *grads):
        return plain_attend.attend_back(grads, source, keys, logits, lse, delta, factor, wanted, learned)
    total, slope = attend_backward(grads, source, keys, logits, lse, delta, factor, wanted, learned)
    return [total] if wanted else [], slope


def _taken(*tensors: Tensor) -> bool:
    return tensors[0].shape[-1] <= launch.WIDEST and {one.dtype for one in tensors} <= set(launch.DTYPES)
