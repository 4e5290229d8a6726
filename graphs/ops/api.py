"""The public operator: checks its arguments and hands them to the engine that was named."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from graphs.errors import CompileError, TopologyError
from graphs.ops import gather, reference
from graphs.weights import SCALAR, Grain, Matrix

Engine = Callable[[Sequence[Tensor], "Tensor | Matrix", Grain, Tensor | None], tuple[Tensor, ...]]


def transformed() -> bool:
    """Whether a transform of torch.func is at work: these use the reference, whose operations they know."""
    return bool(torch._C._are_functorch_transforms_active())


def fused(
    sources: Sequence[Tensor], weight: Tensor | Matrix, grain: Grain = SCALAR, norm: Tensor | None = None
) -> tuple[Tensor, ...]:
    """One pass over the sources forward, and one over them and the output gradients backward.

    Rows of numbers, entries that mix channels, and torch.func run the reference.
    """
    if not isinstance(weight, Tensor) or grain.full or transformed():
        return reference.mix(sources, weight, grain, norm)
    full = in_full(weight, grain, sources[0].shape[-1])
    return gather.mix([gather.Share(source) for source in sources], full, gain=norm)


def in_full(weight: Tensor, grain: Grain, dim: int) -> Tensor:
    """A weight (..., m, k) or (..., m, k, parts) with the four axes of the kernels: (R, m, k, C)."""
    if grain == SCALAR:
        weight = weight.unsqueeze(-1)
    elif weight.shape[-1] != dim:
        weight = weight.repeat_interleave(dim // weight.shape[-1], dim=-1)
    return weight.reshape(-1, *weight.shape[-3:])


ENGINES: Mapping[str, Engine] = MappingProxyType({"reference": reference.mix, "fused": fused})


def check_engine(impl: str) -> str:
    """Return ``impl`` if this version has it; CompileError names those it has."""
    if impl not in ENGINES:
        raise CompileError(f"impl={impl!r} is not in this version; it has {', '.join(map(repr, ENGINES))}")
    return impl


def mix(
    sources: Sequence[Tensor],
    weight: Tensor | Matrix,
    *,
    grain: Grain = SCALAR,
    norm: Tensor | None = None,
    impl: str = "reference",
) -> tuple[Tensor, ...]:
    """Mix k tensors of one shape ``(..., d)`` into m: ``out[i] = sum_j weight[i, j] * sources[j]``.

    ``weight`` is a tensor of shape ``(m, k)``, one of shape ``(..., m, k)`` whose leading axes are those of the
    sources without the last (per token), or rows of plain numbers, which are fixed: zeros then cost nothing and
    ones no multiplication. With a finer ``grain`` the tensor has its entries' axes last: ``(parts,)`` factors for
    equal runs of channels, or ``(parts, parts)`` matrices, destination first, that mix those runs. 16-bit sources
    are accumulated in fp32; the outputs have the sources' promoted dtype. ``norm`` is the gain (d,) of an RMSNorm of
    each output over the channels. Raises CompileError for an empty list, sources of different shapes, or a weight or
    gain that does not fit.
    """
    engine = ENGINES[check_engine(impl)]
    if not sources:
        raise CompileError("mix needs at least one source; the list is empty")
    shape = sources[0].shape
    for j, source in enumerate(sources):
        if source.shape != shape:
            raise CompileError(f"source {j} has shape {tuple(source.shape)}, source 0 has {tuple(shape)}")
        if not source.is_floating_point():
            raise CompileError(f"source {j} has dtype {source.dtype}; floating point was expected")
    if norm is not None and norm.shape != shape[-1:]:
        raise CompileError(
            f"the norm's gain has shape {tuple(norm.shape)}; the sources have {tuple(shape[-1:])} channels"
        )
    if not isinstance(weight, Tensor):
        columns = len(weight[0]) if weight and all(len(row) == len(weight[0]) for row in weight) else None
        if columns != len(sources):
            raise CompileError(
                f"{len(sources)} sources need a weight with {len(sources)} columns; got {len(weight)} rows"
            )
        return engine(sources, weight, grain, norm)
    if weight.is_complex():
        raise CompileError(f"the weight has dtype {weight.dtype}; real numbers were expected")
    axes = 2 + (0 if grain == SCALAR else 2 if grain.full else 1)
    entry = () if grain == SCALAR else (_parts(grain, shape),) * (axes - 2)
    given = tuple(weight.shape)
    fits = len(given) >= axes and given[1 - axes] == len(sources) and given[len(given) - axes + 2 :] == entry
    if not fits:
        more = f" and entries of shape {entry}" if entry else ""
        raise CompileError(f"{len(sources)} sources need a weight with {len(sources)} columns{more}; got {given}")
    leading = torch.Size(weight.shape[:-axes])
    if weight.ndim > axes and leading != shape[:-1]:
        raise CompileError(
            f"a weight per token has the leading shape {tuple(shape[:-1])} of its sources; got {tuple(leading)}"
        )
    return engine(sources, weight, grain, norm)


def _parts(grain: Grain, shape: torch.Size) -> int:
    if not shape:
        raise CompileError(f"sources of shape () have no channels, which a {grain} weight looks at")
    try:
        return grain.width(shape[-1])
    except TopologyError as error:
        raise CompileError(f"sources of shape {tuple(shape)}: {error}") from error
