"""Comparing, counting and timing. Nothing is timed before its values and gradients were found right."""

import math
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from graphs.bench.models import EagerSum, Shape, variants
from graphs.cost import BlockCost, ModelCost, price
from graphs.errors import CompileError
from graphs.model import CompiledModel
from graphs.ops import kernels
from graphs.topology import Topology

ROWS_CHECKED = 64
TOLERANCE = 1e-9  # fp64, norm of the difference by the norm
PEER_TOLERANCE = 1e-5  # of other people's packages, in fp32
VIEWS = {
    "view",
    "expand",
    "t",
    "select",
    "slice",
    "unbind",
    "detach",
    "alias",
    "as_strided",
    "_unsafe_view",
    "transpose",
}
VIEWS |= {"reshape", "unsqueeze", "squeeze", "_reshape_alias", "split", "split_with_sizes", "permute", "diagonal"}
VIEWS |= {"empty", "new_empty", "empty_like", "empty_strided"}


Also = Callable[[dict[str, nn.Module]], None] | None


@dataclass(frozen=True)
class Figures:
    """One variant. Seconds are medians of whole training steps; Td is one pass over one hidden state.

    ``traffic`` is what the wiring moved, counted (bytes into and out of every kernel, blocks left out), ``bound`` what
    the plan says it has to, ``kept`` what it keeps for the backward pass; all three of the whole network.
    ``bound_seconds`` is the bound at the bandwidth that a copy reaches here.
    """

    name: str
    seconds: float
    least: float
    most: float
    busy: float
    ratio: float
    traffic: float
    bound: float | None
    bound_seconds: float | None
    kept: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def measured(
    kind: str | Topology, shape: Shape, *, rounds: int = 7, blocks: str = "mlp", progress: Any = None, also: Also = None
) -> list[Figures]:
    """Compare, count and time every variant of ``kind``; CompileError where one differs from the reference.

    One round runs every variant once, in an order that turns; ``ratio`` is to the plain residual network's median.
    ``also(models)`` may add others to what is timed. ``progress(turn, rounds, name)`` is called before each step.
    """
    check(kind, shape, blocks)
    counts = counted(kind, shape)
    models = {name: model.to(shape.device, shape.dtype) for name, model in variants(kind, shape, blocks).items()}
    if also is not None:
        also(models)
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(shape.rows, shape.dim, generator=generator).to(shape.device, shape.dtype).requires_grad_()
    times = timed(models, x, rounds, progress)
    each = seconds_per_td(x.detach())
    plain = statistics.median(wall for wall, _ in times["plain"])
    figures = []
    for name, pairs in times.items():
        walls = [wall for wall, _ in pairs]
        traffic, kept = counts.get(name, (math.nan, math.nan))
        bound = traffic_of(models[name], shape)
        figures.append(
            Figures(
                name,
                statistics.median(walls),
                min(walls),
                max(walls),
                statistics.median(busy for _, busy in pairs),
                statistics.median(walls) / plain,
                traffic,
                bound,
                None if bound is None else bound * each,
                kept,
            )
        )
    return figures


def step(model: nn.Module, x: Tensor) -> Tensor:
    """One forward and backward pass."""
    out: Tensor = model(x)
    out.backward(x.detach())  # type: ignore[no-untyped-call]
    return out.detach()


def check(kind: str | Topology, shape: Shape, blocks: str = "mlp") -> None:
    """Values and gradients of every variant against the reference on a few rows, in fp64 (peers: fp32)."""
    expected: dict[str, Tensor] = {}
    models = variants(kind, shape, blocks)
    for name in ("reference", *(name for name in models if name not in ("plain", "reference"))):
        peer = name == "hyper-connections"
        model = models[name].to(shape.device, torch.float32 if peer else torch.float64)
        got = _results(model, shape, torch.float32 if peer else torch.float64)
        expected = expected or got
        # What is zero but for rounding is compared with the largest of its kind.
        largest = max(value.norm().item() for value in expected.values())
        for what in sorted(got.keys() & expected.keys()):
            size = max(expected[what].norm().item(), 1e-6 * largest) or 1.0
            error = (got[what].double() - expected[what]).norm().item() / size
            if not error < (PEER_TOLERANCE if peer else TOLERANCE):
                raise CompileError(f"{name}: {what} differs from the reference by {error:.1e}; nothing is timed")


def _results(model: nn.Module, shape: Shape, dtype: torch.dtype) -> dict[str, Tensor]:
    torch.manual_seed(4)  # weights that are drawn are drawn alike
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(ROWS_CHECKED, shape.dim, dtype=torch.float64, generator=generator).to(shape.device, dtype)
    x.requires_grad_()
    model.zero_grad(set_to_none=True)
    found = {"the output": step(model, x)}
    assert x.grad is not None
    found["the gradient of x0"] = x.grad.clone()
    named: Iterable[tuple[str, Tensor]] = ()
    if isinstance(model, CompiledModel):
        named = model.weights.named_parameters()
    elif isinstance(model, EagerSum):
        named = ((f"average{i}", weight) for i, weight in enumerate(model.weights, start=1))
    for prefix, parameters in (("weights", named), ("blocks", nn.Module.named_parameters(_blocks(model)))):
        for name, parameter in parameters:
            if parameter.grad is not None:
                found[f"the gradient of {prefix}.{name}"] = parameter.grad.flatten().clone()
    model.zero_grad(set_to_none=True)
    return found


@dataclass
class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Elements of every large tensor into and out of the kernels; views and allocations are free."""

    large: int
    elements: int = 0
    by_name: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = func._schema.name.partition("::")[2]
        if name not in VIEWS:
            outs = [kwargs["out"]] if "out" in kwargs else [args[0]] if name.endswith("_") else [result]
            reads = [*args, *(value for key, value in kwargs.items() if key != "out")]
            if name in ("copy_", "zero_", "fill_"):
                reads = reads[1:]
            moved = sum(map(self._size, [*_tensors(reads), *_tensors(outs)]))
            self.elements += moved
            self.by_name[name] = self.by_name.get(name, 0) + moved
        return result

    def _size(self, tensor: Tensor) -> int:
        """Elements in memory: an axis of stride zero is one."""
        size = 1
        for length, stride in zip(tensor.shape, tensor.stride(), strict=True):
            size *= length if stride else 1
        return size if size >= self.large else 0


def _blocks(model: nn.Module) -> nn.ModuleList:
    assert isinstance(model.blocks, nn.ModuleList)
    return model.blocks


def _tensors(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, list | tuple):
        return [tensor for value in values for tensor in _tensors(value)]
    return []


def counted(kind: str | Topology, shape: Shape) -> dict[str, tuple[float, float]]:
    """Td moved and Td kept by the wiring of each variant, with blocks that cost nothing and keep their input."""
    rows = min(shape.rows, 512)
    td = rows * shape.dim
    result = {}
    for name, model in variants(kind, shape, "identity").items():
        x = torch.ones(rows, shape.dim, requires_grad=True)
        kept: dict[int, int] = {}

        def pack(tensor: Tensor, kept: dict[int, int] = kept) -> Tensor:
            if tensor.numel() >= td and 0 not in tensor.stride():
                kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            out = model(x)
        del out
        # As operators the kernels are seen by the counter; in eager mode they are called past the dispatcher.
        with mock.patch.object(kernels, "eager", return_value=False), Counter(td) as counter:
            step(model, x)
        result[name] = counter.elements / td - 4 * len(_blocks(model)), sum(kept.values()) / td
    return result


def timed(
    models: dict[str, nn.Module], x: Tensor, rounds: int, progress: Any = None
) -> dict[str, list[tuple[float, float]]]:
    """Wall and processor seconds of each step. On a busy machine the second is the steadier."""
    names = list(models)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for turn in range(rounds + 1):  # the first warms up
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            if progress is not None:
                progress(turn, rounds, name)
            models[name].zero_grad(set_to_none=True)
            x.grad = None
            _wait(x)
            wall, processor = time.perf_counter(), time.process_time()
            step(models[name], x)
            _wait(x)
            if turn:
                times[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return times


def seconds_per_td(like: Tensor, copies: int = 16) -> float:
    """What moving one hidden state one way takes in a copy of many of them: half of a copy's time."""
    source = torch.empty(copies, *like.shape, dtype=like.dtype, device=like.device).fill_(1)
    target = torch.empty_like(source)
    times = []
    for _ in range(5):
        _wait(like)
        start = time.perf_counter()
        target.copy_(source)
        _wait(like)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:]) / (2 * copies)


def _wait(x: Tensor) -> None:
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)


def traffic_of(model: nn.Module, shape: Shape) -> float | None:
    """What the wiring has to move in a training step, in Td, by its plan; None where there is no plan."""
    if isinstance(model, CompiledModel):
        none = ModelCost(1, shape.dim, (BlockCost(0, 0),) * shape.depth)
        return float(price(model.plan, none).traffic)
    return 6.0 * shape.depth if type(model).__name__ == "Residual" else None
