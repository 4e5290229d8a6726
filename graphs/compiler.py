"""Compile a topology and the user's blocks into a model."""

from collections.abc import Sequence

import torch
from torch import nn

from graphs.errors import CompileError
from graphs.model import CompiledModel
from graphs.ops.api import check_engine
from graphs.plan import lower
from graphs.topology import Topology


def compile(  # noqa: A001 (the contract's name)
    topology: Topology,
    blocks: Sequence[nn.Module],
    dim: int,
    *,
    channel_axis: int = -1,
    impl: str = "reference",
    generator: torch.Generator | None = None,
    recompute: bool | int = False,
) -> CompiledModel:
    """An ``nn.Module`` from ``x0`` to the output value, wired as ``topology`` says.

    ``blocks`` are exactly ``topology.depth`` modules, used as they are: not copied, not re-initialised, also those
    the topology prunes. ``dim`` is the number of channels and ``channel_axis`` where they are in a hidden state.
    New parameters have torch's default dtype; the few that start at random are drawn from ``generator`` (a CPU
    generator; torch's own without it). Raises CompileError before any compute.

    ``recompute`` saves memory where streams join the blocks by weights per token (dynamic hyper-connections, mHC) and
    ``impl`` is "fused": of so many blocks in a row the backward pass keeps one state, beside each block's output, and
    works the others out again. True chooses about ``sqrt(n L / (n + 2))`` for n streams and L blocks, which needs
    least. It changes no value, and has no effect under torch.compile, torch.export and torch.func.
    """
    if not isinstance(topology, Topology):
        raise CompileError(f"a graphs.Topology was expected, not {type(topology).__name__}")
    blocks = list(blocks)
    if len(blocks) != topology.depth:
        raise CompileError(f"the topology has {topology.depth} blocks, but {len(blocks)} modules were given")
    for number, block in enumerate(blocks, start=1):
        if not isinstance(block, nn.Module):
            raise CompileError(f"block {number} is {type(block).__name__}; an nn.Module was expected")
    if isinstance(dim, bool) or not isinstance(dim, int) or dim < 1:
        raise CompileError(f"dim is {dim!r}; the number of channels is a whole number of at least 1")
    if isinstance(channel_axis, bool) or not isinstance(channel_axis, int):
        raise CompileError(f"channel_axis is {channel_axis!r}; an axis is a whole number, -1 for the last")
    if not isinstance(recompute, bool | int) or recompute < 0:
        raise CompileError(f"recompute is {recompute!r}; True, False or how many blocks keep one state was expected")
    if recompute and check_engine(impl) != "fused":
        raise CompileError(f"recompute={recompute!r} is an option of impl='fused'; impl is {impl!r}")
    return CompiledModel(lower(topology), blocks, dim, channel_axis, check_engine(impl), generator, recompute)
