"""What a learned dense average costs on this CPU: whole training steps, alternated, after values are checked.

    python experiments/bench/mix_cpu.py [--depths 24 48] [--rounds 7] [--threads N] [--no-record]

Blocks are LN-Linear(d, 2d)-GELU-Linear(2d, d) at T x d = 4096 x 256 in fp32, wired as a plain residual network and as
``dense(depth, inner=False)``: by an eager sum, by the reference, and by the fused engine, as written and with the
groups of the compiler's passes where this version has them. One round runs every variant once, in an order that
turns; the figures are ratios of medians.
Beside them stand counted figures: traffic of the wiring in Td per edge (bytes into and out of every aten kernel, the
blocks subtracted) and what the wiring keeps for the backward pass in Td per block (saved tensors, memory counted
once). A row per variant is appended to ``experiments/results/<date>-mix-cpu.csv``.
"""

import argparse
import csv
import datetime
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import graphs  # noqa: E402
from graphs import families  # noqa: E402
from graphs.ops import kernels  # noqa: E402
from graphs.plan import Plan, steps_of  # noqa: E402

RESULTS = ROOT / "experiments" / "results"
TARGETS = {24: (1.25, 1.5), 48: (1.15, 1.7)}  # at most x plain residual, at least x faster than the eager sum


class Residual(nn.Module):
    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x


class EagerSum(nn.Module):
    """``sum(w * x for ...)`` as one writes it."""

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


class Opaque(torch.autograd.Function):
    """A block that copies and, like LN, keeps its input: 2 Td forward and 2 back, which are subtracted."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.clone()


class Nothing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Opaque.apply(x)


VIEWS = {"view", "expand", "t", "select", "slice", "unbind", "detach", "alias", "as_strided", "_unsafe_view"}
VIEWS |= {"transpose", "reshape", "unsqueeze", "squeeze", "empty", "new_empty", "_reshape_alias", "split", "permute"}


@dataclass
class Counter(TorchDispatchMode):
    """Elements of every large tensor into and out of the kernels; views and allocations are free."""

    large: int
    elements: int = 0
    by_name: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = func._schema.name.partition("::")[2]
        if name.split(".")[0] not in VIEWS:
            inplace = name.endswith("_") or "out" in kwargs
            reads = list(args) + [value for key, value in kwargs.items() if key != "out"]
            if name == "copy_" or name in ("zero_", "fill_"):
                reads = reads[1:]
            outs = [kwargs["out"]] if "out" in kwargs else [args[0]] if inplace else [result]
            moved = sum(self._size(tensor) for tensor in _tensors(reads)) + sum(map(self._size, _tensors(outs)))
            self.elements += moved
            self.by_name[name] = self.by_name.get(name, 0) + moved
        return result

    def _size(self, tensor: Tensor) -> int:
        """Elements in memory: an axis of stride zero is one."""
        size = 1
        for length, stride in zip(tensor.shape, tensor.stride(), strict=True):
            size *= length if stride else 1
        return size if size >= self.large else 0


def _tensors(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, (list, tuple)):
        return [tensor for value in values for tensor in _tensors(value)]
    return []


def block(dim: int) -> nn.Module:
    return nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))


def variants(depth: int, dim: int, make: Callable[[], nn.Module]) -> dict[str, nn.Module]:
    """All on the same blocks; the averages have the same weights, near those of a residual network."""
    torch.manual_seed(0)
    blocks = [make() for _ in range(depth)]
    for linear in (one[3] for one in blocks if isinstance(one, nn.Sequential)):
        nn.init.normal_(linear.weight, std=0.3 / dim**0.5)
    topology = families.dense(depth, inner=False)
    models: dict[str, nn.Module] = {"plain": Residual(blocks), "eager sum": EagerSum(blocks)}
    models["reference"] = graphs.compile(topology, blocks, dim=dim)
    plain = Plan(topology, steps_of(topology), topology)  # as written: no pass has grouped its consumers
    models["fused"] = graphs.CompiledModel(plain, blocks, dim, -1, "fused")
    grouped = graphs.compile(topology, blocks, dim=dim, impl="fused")
    if any(len(mix.writes) > 1 for mix in grouped.plan.mixes):
        models["fused grouped"] = grouped
    generator = torch.Generator().manual_seed(1)
    rows = [1 + 0.1 * torch.randn(i + 2, generator=generator) for i in range(depth)]
    with torch.no_grad():
        for model in models.values():
            if isinstance(model, EagerSum):
                for parameter, row in zip(model.weights, rows, strict=True):
                    parameter.copy_(row)
            elif isinstance(model, graphs.CompiledModel):
                for i, row in enumerate(rows, start=1):
                    getattr(model.weights, f"average{i}").copy_(row[None])
    return models


def step(model: nn.Module, x: Tensor) -> Tensor:
    out = model(x)
    out.backward(x.detach())
    return out.detach()


def weight_grads(model: nn.Module) -> list[Tensor]:
    if isinstance(model, EagerSum):
        return [parameter.grad.flatten() for parameter in model.weights if parameter.grad is not None]
    depth = len(model.blocks)
    return [getattr(model.weights, f"average{i}").grad.flatten() for i in range(1, depth + 1)]


def check(depth: int, dim: int) -> None:
    """Values and every gradient against the eager sum, in fp64 on 64 rows: RuntimeError where they differ."""
    models = variants(depth, dim, lambda: block(dim))
    x = torch.randn(64, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_()
    expected = None
    for name in [name for name in models if name != "plain"]:
        model = models[name].double()
        model.zero_grad(set_to_none=True)
        x.grad = None
        out = step(model, x)
        got = [out, x.grad.clone(), *(p.grad.clone() for p in model.blocks.parameters()), *weight_grads(model)]
        expected = expected or got
        for i, (one, other) in enumerate(zip(got, expected, strict=True)):
            error = ((one - other).norm() / other.norm()).item()
            if not error < 1e-9:
                raise RuntimeError(f"{name}: tensor {i} differs from the eager sum by {error:.1e}; nothing is timed")


def counted(depth: int, rows: int, dim: int) -> dict[str, tuple[float, float]]:
    """Td per edge and Td kept per block, by variant, with blocks that cost nothing and keep their input."""
    result = {}
    edges = depth * (depth + 3) // 2
    for name, model in variants(depth, dim, Nothing).items():
        x = torch.ones(rows, dim, requires_grad=True)
        kept: dict[int, int] = {}

        def pack(tensor: Tensor, kept: dict[int, int] = kept) -> Tensor:
            if tensor.numel() >= rows * dim and 0 not in tensor.stride():
                kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // 4
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            out = model(x)
        del out
        # As operators, the kernels are seen by the counter; in eager mode they are called past the dispatcher.
        with mock.patch.object(kernels, "_eager", return_value=False), Counter(rows * dim) as counter:
            step(model, x)
        td = rows * dim
        per = depth if name == "plain" else edges  # of the plain residual: Td per block
        result[name] = (counter.elements / td - 4 * depth) / per, sum(kept.values()) / td / depth
    return result


def timed(models: dict[str, nn.Module], x: Tensor, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Wall and processor seconds of each step. On a busy machine with one thread the second is the steadier."""
    names = list(models)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for turn in range(rounds + 1):  # the first warms up
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            model = models[name]
            model.zero_grad(set_to_none=True)
            x.grad = None
            wall, processor = time.perf_counter(), time.process_time()
            step(model, x)
            if turn:
                times[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return times


def commit() -> str:
    asked = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", type=int, nargs="+", default=[24, 48])
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--no-record", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    records = []
    for depth in given.depths:
        check(depth, given.dim)
        models = variants(depth, given.dim, lambda: block(given.dim))
        x = torch.randn(given.rows, given.dim, generator=torch.Generator().manual_seed(2)).requires_grad_()
        counts = counted(depth, given.rows, given.dim)
        times = timed(models, x, given.rounds)
        median = {name: statistics.median(wall for wall, _ in values) for name, values in times.items()}
        busy = {name: statistics.median(processor for _, processor in values) for name, values in times.items()}
        print(f"{depth} blocks, {given.rows} x {given.dim}, {given.threads} threads, values and gradients checked")
        heads = ("wall s", "x plain", "sum / it", "cpu s", "x plain", "sum / it", "Td/edge", "kept/block")
        print(f"{'variant':<14}" + "".join(f"{head:>11}" for head in heads))
        for name, seconds in median.items():
            traffic, kept = counts[name]
            ratio, faster = seconds / median["plain"], median["eager sum"] / seconds
            cpu, cpu_ratio, cpu_faster = busy[name], busy[name] / busy["plain"], busy["eager sum"] / busy[name]
            figures = (seconds, ratio, faster, cpu, cpu_ratio, cpu_faster, traffic, kept)
            print(f"{name:<14}" + "".join(f"{figure:>11.3f}" for figure in figures))
            records.append(
                {
                    "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                    "commit": commit(),
                    "device": platform.processor() or platform.machine(),
                    "threads": given.threads,
                    "torch": torch.__version__,
                    "python": platform.python_version(),
                    "depth": depth,
                    "rows": given.rows,
                    "dim": given.dim,
                    "variant": name,
                    "rounds": given.rounds,
                    "median_s": f"{seconds:.4f}",
                    "min_s": f"{min(times[name])[0]:.4f}",
                    "max_s": f"{max(times[name])[0]:.4f}",
                    "x_plain": f"{ratio:.4f}",
                    "eager_sum_over_it": f"{faster:.4f}",
                    "cpu_median_s": f"{cpu:.4f}",
                    "cpu_x_plain": f"{cpu_ratio:.4f}",
                    "cpu_eager_sum_over_it": f"{cpu_faster:.4f}",
                    "td_per_edge": "" if name == "plain" else f"{traffic:.4f}",
                    "kept_td_per_block": f"{kept:.4f}",
                }
            )
        if depth in TARGETS and (given.rows, given.dim) == (4096, 256):
            print(
                "targets of fused: at most {} x plain, at least {} x faster than the eager sum".format(*TARGETS[depth])
            )
    if not given.no_record:
        path = RESULTS / f"{datetime.date.today()}-mix-cpu.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, records[0])
            if new:
                writer.writeheader()
            writer.writerows(records)
        print(f"appended to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
