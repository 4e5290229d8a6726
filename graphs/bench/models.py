"""The networks that are timed: one wiring, written as one writes it and compiled, on the same blocks."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from graphs import compiler, families
from graphs.errors import CompileError
from graphs.model import CompiledModel
from graphs.plan import Plan, lower, steps_of
from graphs.topology import Topology


@dataclass(frozen=True)
class Shape:
    """``depth`` blocks on hidden states of ``rows`` x ``dim`` (T x d)."""

    depth: int = 24
    rows: int = 4096
    dim: int = 256
    dtype: torch.dtype = torch.float32
    device: str = "cpu"


class Opaque(torch.autograd.Function):
    """A block that copies and, as a norm does, keeps its input: 2 Td forward and 2 back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.clone()


class Nothing(nn.Module):
    """The identity as a block: what is timed and counted is the wiring."""

    def forward(self, x: Tensor) -> Tensor:
        return Opaque.apply(x)  # type: ignore[no-any-return, no-untyped-call]


def mlp(dim: int) -> nn.Module:
    """LN-Linear(d, 2d)-GELU-Linear(2d, d)."""
    last = nn.Linear(2 * dim, dim)
    nn.init.normal_(last.weight, std=0.3 / dim**0.5)
    return nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), last)


class Residual(nn.Module):
    """``x + f(x)``, what all others are compared with."""

    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x


class EagerSum(nn.Module):
    """A dense average as one writes it: ``sum(w * x for ...)`` after every block."""

    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.weights = nn.ParameterList(nn.Parameter(torch.zeros(i + 2)) for i in range(len(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        history = [x]
        for block, weight in zip(self.blocks, self.weights, strict=True):
            history.append(block(x))
            x = history[0] * weight[0]
            for source, one in zip(history[1:], weight[1:], strict=True):
                x = x + source * one
        return x


class Peer(nn.Module):
    """The PyPI package ``hyper-connections``, its dynamic part frozen at zero."""

    def __init__(self, blocks: list[nn.Module], dim: int, streams: int) -> None:
        from hyper_connections import (  # type: ignore[import-not-found, unused-ignore]
            get_init_and_expand_reduce_stream_functions,
        )

        super().__init__()
        init, self.expand, self.reduce = get_init_and_expand_reduce_stream_functions(streams, dim=dim)
        self.layers = nn.ModuleList(init(branch=block, layer_index=i) for i, block in enumerate(blocks))
        self.blocks = nn.ModuleList(blocks)
        for name, parameter in self.layers.named_parameters():
            if "dynamic_" in name or "norm.gamma" in name:
                parameter.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.expand(x[None])
        for layer in self.layers:
            x = layer(x)
        return self.reduce(x)[0]  # type: ignore[no-any-return]


KINDS: dict[str, Callable[[int], Topology]] = {
    "dense": lambda depth: families.dense(depth, inner=False),
    "ancre": lambda depth: families.ancre(depth, inner=False, temperature=1.0),
    "attnres": families.attnres,
    "hyper": lambda depth: families.hyper(depth, streams=4),
    "hyper-dynamic": lambda depth: families.hyper(depth, streams=4, dynamic=True),
    "mhc": lambda depth: families.mhc(depth, streams=4),
}


def variants(kind: str | Topology, shape: Shape, blocks: str = "mlp") -> dict[str, nn.Module]:
    """By name: the plain residual network, and the wiring by each engine, all on the same blocks and weights.

    ``kind`` is one of :data:`KINDS` or a topology of the shape's depth, ``blocks`` are ``"mlp"`` or ``"identity"``. The
    models are in fp32 on the CPU. CompileError for another kind.
    """
    if isinstance(kind, str) and kind not in KINDS:
        raise CompileError(f"there is no benchmark {kind!r}; there are {', '.join(KINDS)}")
    torch.manual_seed(0)
    made = [mlp(shape.dim) if blocks == "mlp" else Nothing() for _ in range(shape.depth)]
    topology = KINDS[kind](shape.depth) if isinstance(kind, str) else kind
    models: dict[str, nn.Module] = {"plain": Residual(made)}
    reference = models["reference"] = compiler.compile(topology, made, dim=shape.dim)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for parameter in reference.weights.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    if kind == "dense":
        models["eager sum"] = _eager_sum(made, reference)
        as_written = Plan(topology, steps_of(topology), topology)  # no pass has grouped its consumers
        models["fused ungrouped"] = CompiledModel(as_written, made, shape.dim, -1, "fused")
    if kind == "hyper" and importlib.util.find_spec("hyper_connections") is not None:
        models["hyper-connections"] = _peer(made, reference, shape.dim)
    models["fused"] = CompiledModel(lower(topology), made, shape.dim, -1, "fused")
    for model in models.values():
        if isinstance(model, CompiledModel):
            model.weights.load_state_dict(reference.weights.state_dict())
    return models


def _eager_sum(blocks: list[nn.Module], like: CompiledModel) -> EagerSum:
    model = EagerSum(blocks)
    with torch.no_grad():
        for i, parameter in enumerate(model.weights, start=1):
            parameter.copy_(getattr(like.weights, f"average{i}").flatten())
    return model


def _peer(blocks: list[nn.Module], like: CompiledModel, dim: int) -> Peer:
    """Its alpha is source first, block input and then streams; its beta is our written column."""
    model = Peer(blocks, dim, 4)
    with torch.no_grad():
        for k, layer in enumerate(model.layers, start=1):
            assert isinstance(layer.static_alpha, Tensor)
            assert isinstance(layer.static_beta, Tensor)
            layer.static_alpha.copy_(getattr(like.weights, f"width{k}").t())
            layer.static_beta.copy_(getattr(like.weights, f"depth{k}").flatten())
    return model
