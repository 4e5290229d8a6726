"""What fused mixes cost on a GPU: one command, values first, then figures against what a copy reaches here.

    PYTHONPATH=. python experiments/bench/mix_gpu.py [--small] [--only dense hyper ...] [--rounds 7] [--no-record]

Needs torch, triton, numpy and networkx. In bf16 at T x d = 16384 x 2048 with 48 sub-layers: bandwidth of a copy; every
kernel by itself; all mixes of a dense average, and of four streams (hyper-connections static and dynamic, mHC), forward
and backward, without the copying blocks between them; whole training steps of 24 transformer blocks. Beside them runs
a whole-graph torch.compile of what one would write. Variants take turns in every round; figures are medians by CUDA
events. Every kernel is compared with fp64 first, on slices of the very shape, and small models with the reference;
where one differs nothing is timed. A section that fails prints why, and the others run; so does one without time left.

It is over 400 lines because it is one command for a machine that is lent for minutes: its sections share the clock, the
time limit and the record, and nothing else uses them.

Rows are appended to ``experiments/results/<date>-mix-gpu.csv``. ``--small`` is the same path in small shapes, in
Triton's interpreter where there is no GPU: its times mean nothing and are not recorded.
"""

import argparse
import csv
import datetime
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

CUDA = torch.cuda.is_available()
if not CUDA:
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported

import mix_gpu_rows  # noqa: E402
import triton  # noqa: E402
from torch import Tensor, nn  # noqa: E402

import graphs  # noqa: E402
from graphs import families  # noqa: E402
from graphs.bench.measure import traffic_of  # noqa: E402
from graphs.bench.models import KINDS, EagerSum, Nothing, Residual, Shape  # noqa: E402
from graphs.model import CompiledModel  # noqa: E402
from graphs.ops import kernels, seam_run  # noqa: E402
from graphs.ops.triton import engine  # noqa: E402
from graphs.plan import Plan, lower, steps_of  # noqa: E402

ROOT = Path(__file__).parents[2]
DEVICE = "cuda" if CUDA else "cpu"
LIMIT = 470.0  # seconds of the whole run
COLUMNS = (
    "section",
    "name",
    "ms",
    "least",
    "most",
    "bound_ms",
    "target_ms",
    "of_copy",
    "ratio",
    "peak_gb",
    "met",
    "note",
)
# At the full shape on an H200; the bounds are traffic at 4.3 TB/s (40.5, 15 and 18.7 ms).
TARGETS = {"dense ungrouped": 45.0, "dense grouped": 25.0, "hyper": 28.0, "hyper-dynamic": 28.0, "mhc": 28.0,
           "hyper-dynamic normed": 28.0, "mhc normed": 28.0}  # fmt: skip
# Td a block, 5 n + 5: the plan counts the two mixes of a seam one by one. A norm of the block's input adds none.
SEAMS = {"hyper-dynamic": 25, "mhc": 25, "hyper-dynamic normed": 25, "mhc normed": 25}
NORMED: dict[str, Callable[[int], graphs.Topology]] = {
    "hyper-dynamic normed": lambda depth: families.hyper(depth, streams=4, dynamic=True, pre_norm=True),
    "mhc normed": lambda depth: families.mhc(depth, streams=4, pre_norm=True),
}
SHARE = 0.8  # of the copy's bandwidth, each kernel
STEPS = {"ancre": (1.05, 1.10), "dense": (1.05, 1.10), "hyper": (1.06, 1.25), "hyper-dynamic": (1.06, 1.25)}
Td = float  # one pass over one hidden state


@dataclass
class Run:
    """The shapes of this run, what a copy reaches, and the rows so far."""

    tokens: int
    dim: int
    depth: int
    rounds: int
    small: bool
    began: float = field(default_factory=time.monotonic)
    bandwidth: float = float("nan")  # bytes a second, of a copy
    rows: list[dict[str, Any]] = field(default_factory=list)  # not recorded yet

    @property
    def td(self) -> int:
        return self.tokens * self.dim * 2

    @property
    def left(self) -> float:
        return LIMIT - (time.monotonic() - self.began)

    def state(self, seed: int = 0) -> Tensor:
        generator = torch.Generator(DEVICE).manual_seed(seed)
        return torch.randn(self.tokens, self.dim, generator=generator, device=DEVICE, dtype=torch.bfloat16)

    def bound(self, passes: Td) -> float:
        """Milliseconds."""
        return 1e3 * passes * self.td / self.bandwidth

    def add(self, section: str, name: str, **values: Any) -> None:
        row = {"section": section, "name": name, **values}
        self.rows.append(row)
        print("  ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{value}" if key in ("section", "name")
                        else f"{key} {value}" for key, value in row.items()), flush=True)  # fmt: skip


def clock(call: Callable[[], Any], repeat: int = 1) -> float:
    """Milliseconds of one call, on the GPU's own clock where there is one."""
    if not CUDA:
        start = time.perf_counter()
        for _ in range(repeat):
            call()
        return 1e3 * (time.perf_counter() - start) / repeat
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    before.record()
    for _ in range(repeat):
        call()
    after.record()
    torch.cuda.synchronize()
    return float(before.elapsed_time(after)) / repeat


def rounds(run: Run, calls: dict[str, Callable[[], Any]], repeat: int = 1) -> dict[str, list[float]]:
    """Every call once a round, in an order that turns; the first two rounds warm up."""
    names = list(calls)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(run.rounds + 2):
        at = turn % len(names)
        for name in names[at:] + names[:at]:
            took = clock(calls[name], repeat)
            if turn > 1:
                times[name].append(took)
    return times


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """TimeoutError after so long: compilers of whole graphs can take many minutes."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"not done in {seconds:.0f} s")

    old = signal.signal(signal.SIGALRM, stop)
    signal.alarm(max(1, int(seconds)))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


def compare(what: str, got: Tensor, true: Tensor, scale: Tensor, rounding: float, terms: int) -> None:
    """Elementwise: one rounding of the result, and those of an fp32 sum of terms whose sizes add to ``scale``."""
    budget = rounding * true.abs() + (terms + 8) * 2**-23 * scale + 1e-30
    worst = ((got.double() - true).abs() / budget).max().item()
    if not worst <= 1:
        raise SystemExit(f"{what} is off by {worst:.2g} times what rounding explains: nothing is timed")


def check_kernels(run: Run) -> None:
    """Every kind of weight on the shape that is timed; outputs on slices of rows, products in full."""
    rounding = 2**-8 if CUDA else 2**-7  # the interpreter cuts off
    t, d = run.tokens, run.dim
    pick = sorted({row % t for row in (0, 1, 2, t // 2, t // 2 + 1, -2, -1)})
    for kind, k, m in (("static", 9, 1), ("static", 24, 7), ("static", 5, 5), ("token", 5, 5), ("channel", 3, 2)):
        shape = {"static": (1, m, k, 1), "token": (t, m, k, 1), "channel": (1, m, k, d)}[kind]
        weight = torch.randn(shape, device=DEVICE)
        sources, grads = [run.state(j) for j in range(k)], [run.state(100 + i) for i in range(m)]
        x, g = (torch.stack([one[pick] for one in each]).double() for each in (sources, grads))
        w = weight.double().expand(t, m, k, d)[pick] if kind != "token" else weight[pick].double().expand(-1, m, k, d)
        for i, out in enumerate(engine.mix(sources, weight)):
            terms = w[:, i].transpose(0, 1) * x
            compare(f"mix {kind} {k} to {m}", out[pick], terms.sum(0), terms.abs().sum(0), rounding, k)
        totals, products = engine.gather(grads, sources, weight, [True] * k, torch.bfloat16)
        for j, total in enumerate(totals):
            terms = w[:, :, j].transpose(0, 1) * g
            compare(f"gather {kind} {m} to {k}", total[pick], terms.sum(0), terms.abs().sum(0), rounding, m)
        axes = [axis for axis, size in ((0, shape[0]), (1, shape[3])) if size == 1]
        for i, j in {(0, 0), (m - 1, k - 1)}:
            product = grads[i].double() * sources[j].double()
            true, scale = (one.sum(axes, keepdim=True) for one in (product, product.abs()))
            compare(f"products {kind}", products[:, i, j], true, scale, 2**-23, 64)
    for edges in (1, 3, 24, 48, 65):
        grads, source, weight = [run.state(i) for i in range(edges)], run.state(99), torch.randn(1, edges, 1, 1)
        (total,), products = engine.gather(grads, [source], weight.to(DEVICE), [True], torch.bfloat16)
        terms = weight.to(DEVICE).double().view(-1, 1, 1) * torch.stack([grad[pick].double() for grad in grads])
        compare(f"gather {edges}", total[pick], terms.sum(0), terms.abs().sum(0), rounding, edges)
        product = grads[-1].double() * source.double()
        compare(f"products {edges}", products[0, -1, 0], product.sum(), product.abs().sum(), 2**-23, 64)
    print(f"kernels agree with fp64 at {t} x {d}", flush=True)
    mix_gpu_rows.check(run, compare, DEVICE, rounding)


def check_models() -> None:
    """Values and all gradients of small fp32 models against the reference in fp64."""
    made: dict[str, Any] = {
        **{name: (make(6), 16) for name, make in (KINDS | NORMED).items()},
        "layerscale": (families.layerscale(4), 16),
        "mudd": (families.mudd(3), 16),
        # Rows that are longer than a tile, as those that are timed.
        **{f"{name}, long rows": ((KINDS | NORMED)[name](3), 96) for name in SEAMS},
    }
    for name, (topology, dim) in made.items():
        torch.manual_seed(0)
        ports = {block.number: len(block.ports) for block in topology.blocks}
        blocks = [Ports(dim, ports.get(n, 1)) for n in range(1, topology.depth + 1)]
        models = [graphs.compile(topology, blocks, dim=dim, impl=impl).to(DEVICE) for impl in ("fused", "reference")]
        with torch.no_grad():
            for parameter in models[0].weights.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        models[1].weights.load_state_dict(models[0].weights.state_dict())
        found = []
        for model, dtype in zip(models, (torch.float32, torch.float64), strict=True):
            generator = torch.Generator().manual_seed(1)
            x = torch.randn(2, 19, dim, generator=generator).to(DEVICE, dtype).requires_grad_()
            out = model.to(dtype)(x)
            leaves = [x, *model.parameters()]
            found.append([out, *torch.autograd.grad(out.pow(2).sum(), leaves, materialize_grads=True)])
        largest = max(true.norm().item() for true in found[1])
        for place, (one, true) in enumerate(zip(*found, strict=True)):
            error = (one.double() - true).norm().item() / max(true.norm().item(), 1e-3 * largest)
            if not error < 1e-4:
                raise SystemExit(f"{name}: result {place} is off by {error:.1e} of its norm: nothing is timed")
    print(f"models agree with the reference: {', '.join(made)}", flush=True)


class Ports(nn.Module):
    """A small block of any number of ports."""

    def __init__(self, dim: int, ports: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(dim, dim) for _ in range(ports))

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.tanh(sum(layer(x) for layer, x in zip(self.maps, inputs, strict=True)))  # type: ignore[arg-type]


def copy(run: Run) -> None:
    source = torch.ones(16, run.tokens, run.dim, dtype=torch.bfloat16, device=DEVICE)
    target = torch.empty_like(source)
    times = rounds(run, {"copy": lambda: target.copy_(source)}, 3)["copy"]
    run.bandwidth = 2 * source.nbytes / (statistics.median(times) / 1e3)
    run.add("copy", "16 states", ms=statistics.median(times), note=f"{run.bandwidth / 1e12:.3g} TB/s")


def kernel(run: Run) -> None:
    """Each kernel by itself: its traffic over its time."""
    many = [run.state(j) for j in range(run.depth + 1)]
    x, t, d = many[0], run.tokens, run.dim

    def weight(*shape: int) -> Tensor:
        return torch.randn(shape, device=DEVICE)

    calls: dict[str, tuple[Td, Callable[[], Any]]] = {}
    for k in sorted({2, 5, 9, 16, 24, 32, run.depth}):
        if k <= run.depth:
            w = weight(1, 1, k, 1)
            calls[f"mix {k} to 1"] = k + 1, lambda k=k, w=w: engine.mix(many[:k], w)
            back, wanted = w.view(1, k, 1, 1), [True]
            calls[f"gather {k}"] = (
                k + 2,
                lambda k=k, w=back, wanted=wanted: engine.gather(many[:k], [many[-1]], w, wanted, x.dtype),
            )
    for k, m in ((5, 5), (24, 7)):
        if k <= run.depth:
            w = weight(1, m, k, 1)
            calls[f"mix {k} to {m}"] = k + m, lambda k=k, w=w: engine.mix(many[:k], w)
            times = -(-k // max(1, 96 // m))  # launches, each of which reads the gradients
            calls[f"spread {m} to {k}"] = (
                times * m + 2 * k,
                lambda k=k, m=m, w=w: engine.gather(many[-m:], many[:k], w, [True] * k, x.dtype),
            )
    if run.depth >= 5:
        for name, w in (("token", weight(t, 5, 5, 1)), ("channel", weight(1, 5, 5, d))):
            calls[f"mix 5 to 5 per {name}"] = 10, lambda w=w: engine.mix(many[:5], w)
            calls[f"spread 5 to 5 per {name}"] = (
                15,
                lambda w=w: engine.gather(many[-5:], many[:5], w, [True] * 5, x.dtype),
            )
    calls |= mix_gpu_rows.calls(run, many, DEVICE)
    times = rounds(run, {name: call for name, (_, call) in calls.items()}, 1 if run.small else 10)
    for name, (passes, _) in calls.items():
        took = statistics.median(times[name])
        share = run.bound(passes) / took
        met = share >= SHARE
        run.add(
            "kernel",
            name,
            ms=took,
            bound_ms=run.bound(passes),
            of_copy=share,
            target_ms=run.bound(passes) / SHARE,
            met=met,
        )


@torch.library.custom_op("mixbench::copied", mutates_args=())
def copied(x: Tensor) -> Tensor:
    """A block that copies, which a compiler of whole graphs cannot look into."""
    return x.clone()


copied.register_fake(torch.empty_like)
copied.register_autograd(lambda ctx, grad: copied(grad), setup_context=lambda ctx, inputs, output: None)


class Copied(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = copied(x)
        return result


def trained(model: nn.Module, x: Tensor, grad: Tensor) -> Callable[[], None]:
    def step() -> None:
        model.zero_grad(set_to_none=True)
        x.grad = None
        model(x).backward(grad)

    return step


def compiled(
    run: Run, name: str, model: nn.Module, x: Tensor, grad: Tensor, seconds: float
) -> Callable[[], None] | None:
    """A step of a whole-graph torch.compile, compiled in at most so long; without it a row says why not."""
    began = time.monotonic()
    try:
        with at_most(min(seconds, run.left - 120)):
            torch._dynamo.reset()
            step = trained(torch.compile(model, fullgraph=True, backend="inductor" if CUDA else "aot_eager"), x, grad)  # type: ignore[arg-type]
            step()
    except Exception as error:
        run.add("compile", name, note=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        return None
    run.add("compile", name, note=f"{time.monotonic() - began:.0f} s to compile")
    return step


def wiring(
    run: Run, section: str, models: dict[str, nn.Module], sum_of: tuple[str, nn.Module] | None, seconds: float
) -> None:
    """Steps of networks whose blocks copy, without the time of the copies."""
    x, grad = run.state().requires_grad_(), run.state(1)
    models = {name: model.to(DEVICE, torch.bfloat16) for name, model in models.items()}
    calls = {"blocks alone": trained(nn.Sequential(*(Nothing() for _ in range(run.depth))), x, grad)}
    calls |= {name: trained(model, x, grad) for name, model in models.items()}
    if sum_of is not None:
        step = compiled(run, sum_of[0], sum_of[1].to(DEVICE, torch.bfloat16), x, grad, seconds)
        if step is not None:
            calls[sum_of[0]] = step
    times = rounds(run, calls)
    alone = statistics.median(times.pop("blocks alone"))
    run.add(section, "blocks alone", ms=alone, note="taken off the others")
    for name, each in times.items():
        passes = traffic_of(models[name], Shape(run.depth)) if name in models else None
        passes = SEAMS[name] * run.depth if name in SEAMS else passes
        took, target = statistics.median(each) - alone, TARGETS.get(name)
        row: dict[str, Any] = {"ms": took, "least": min(each) - alone, "most": max(each) - alone}
        if passes is not None:
            row |= {"bound_ms": run.bound(passes), "of_copy": run.bound(passes) / took, "note": f"{passes:.0f} Td"}
        if target is not None and not run.small:
            row |= {"target_ms": target, "met": took <= target}
        run.add(section, name, **row)


def dense(run: Run) -> None:
    topology = KINDS["dense"](run.depth)
    blocks = [Nothing() for _ in range(run.depth)]
    models: dict[str, nn.Module] = {
        "dense ungrouped": CompiledModel(Plan(topology, steps_of(topology), topology), blocks, run.dim, -1, "fused"),
        "dense grouped": CompiledModel(lower(topology), blocks, run.dim, -1, "fused"),
    }
    eager = EagerSum([Copied() for _ in range(run.depth)])
    with torch.no_grad():
        for i, parameter in enumerate(eager.weights):
            parameter.fill_(1 / (i + 2))
    wiring(run, "dense", models, ("dense, torch.compile of the sum", eager), 150)


def hyper(run: Run) -> None:
    made: dict[str, nn.Module] = {}
    for name in ("hyper", *SEAMS):
        made[name] = graphs.compile(
            (KINDS | NORMED)[name](run.depth), [Nothing() for _ in range(run.depth)], dim=run.dim, impl="fused"
        )
    whole = graphs.compile(KINDS["hyper"](run.depth), [Copied() for _ in range(run.depth)], dim=run.dim)
    wiring(run, "hyper", made, ("hyper, torch.compile of the reference", whole), 60)


def attention(run: Run) -> None:
    blocks = [Nothing() for _ in range(run.depth)]
    model = graphs.compile(KINDS["attnres"](run.depth), blocks, dim=run.dim, impl="fused")
    wiring(run, "attention", {"attnres": model}, None, 0)


def peak(call: Callable[[], Any]) -> float:
    """GB at the peak of one step."""
    if not CUDA:
        return float("nan")
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() / 1e9


def forget(x: Tensor, blocks: list[nn.Module]) -> None:
    """Without the gradients of the step before."""
    x.grad = None
    for block in blocks:
        block.zero_grad(set_to_none=True)


class Attention(nn.Module):
    def __init__(self, dim: int, head: int) -> None:
        super().__init__()
        self.norm, self.head = nn.RMSNorm(dim, eps=1e-6), head
        self.into, self.out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.into(self.norm(x)).unflatten(-1, (3, -1, self.head)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
        result: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return result


class Feed(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(dim, eps=1e-6)
        self.into, self.out = nn.Linear(dim, 4 * dim, bias=False), nn.Linear(4 * dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.out(nn.functional.gelu(self.into(self.norm(x)), approximate="tanh"))
        return result


def steps(run: Run) -> None:
    """Forward and backward of whole transformers, plain and wired, in eager mode and with compiled blocks."""
    length = min(2048, run.tokens)
    torch._dynamo.config.cache_size_limit = 64  # two kinds of blocks, but many inputs
    for mode in ("eager", "blocks compiled"):
        if run.left < 45:
            run.add("step", mode, note="no time left")
            continue
        torch.manual_seed(0)
        blocks: list[nn.Module] = [
            Attention(run.dim, min(128, run.dim // 2)) if i % 2 == 0 else Feed(run.dim) for i in range(run.depth)
        ]
        for block in blocks:
            block.to(DEVICE, torch.bfloat16)
            if mode != "eager":
                block.compile(backend="inductor" if CUDA else "aot_eager")
        models: dict[str, nn.Module] = {"plain": Residual(list(blocks))}
        for name in STEPS:
            models[name] = graphs.compile(KINDS[name](run.depth), blocks, dim=run.dim, impl="fused").to(DEVICE)
        x = run.state().view(-1, length, run.dim).requires_grad_()
        grad = run.state(1).view(x.shape)
        calls = {name: trained(model, x, grad) for name, model in models.items()}
        peaks = {}
        with at_most(run.left - 15):
            for name, call in calls.items():
                call()
                forget(x, blocks)
                peaks[name] = peak(call)
                forget(x, blocks)
            times = rounds(run, calls)
        plain = statistics.median(times["plain"])
        for name, each in times.items():
            took = statistics.median(each)
            row: dict[str, Any] = {"ms": took, "least": min(each), "most": max(each), "ratio": took / plain}
            row |= {"peak_gb": peaks[name], "note": f"{mode}; memory {peaks[name] / peaks['plain']:.3f} x plain"}
            if name in STEPS and not run.small:
                slower, larger = STEPS[name]
                row |= {
                    "target_ms": slower * plain,
                    "met": took <= slower * plain and peaks[name] <= larger * peaks["plain"],
                }
            run.add("step", name, **row)
        del models, calls, blocks


SECTIONS = {"kernel": kernel, "dense": dense, "hyper": hyper, "attention": attention, "step": steps}


def interpreted() -> None:
    """The same path without a GPU: the kernels interpreted, for every device."""
    from triton.language import tensor
    from triton.runtime import interpreter

    original: Any = interpreter._patch_lang_tensor

    def patched(*args: Any) -> None:
        original(*args)
        tensor.__index__ = lambda self: self.handle.data.item()  # NumPy 2.4 refuses int() of Triton 3.6's arrays

    interpreter._patch_lang_tensor = patched
    kernels.engine = lambda device: engine  # type: ignore[assignment]
    seam_run.kernels = lambda device: True  # type: ignore[assignment]


def record(run: Run) -> Path:
    now = datetime.datetime.now(datetime.UTC)
    asked = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        commit = ""
    about = {
        "date": now.isoformat(timespec="seconds"),
        "commit": commit or os.environ.get("COMMIT", "unknown"),
        "device": torch.cuda.get_device_name() if CUDA else platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "python": platform.python_version(),
        "shape": f"{run.tokens}x{run.dim}x{run.depth}",
        "rounds": run.rounds,
    }
    folder = Path(os.environ.get("OUT") or ROOT / "experiments" / "results")
    path = folder / f"{now.date()}-mix-gpu.csv"
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, [*about, *COLUMNS])
        if new:
            writer.writeheader()
        for row in run.rows:
            writer.writerow(about | {k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()})
    run.rows.clear()
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--no-record", action="store_true")
    given = parser.parse_args()
    if not CUDA and not given.small:
        raise SystemExit("torch finds no GPU here; --small runs the same path in Triton's interpreter")
    if not CUDA:
        interpreted()
    run = Run(33, 16, 5, given.rounds or 1, True) if given.small else Run(16384, 2048, 48, given.rounds or 7, False)
    print(f"torch {torch.__version__}, triton {triton.__version__}, {torch.cuda.get_device_name() if CUDA else 'CPU'}")
    check_kernels(run)
    check_models()
    failed = []
    for name, section in {"copy": copy, **{name: SECTIONS[name] for name in given.only}}.items():
        if run.left < 30:
            run.add(name, "all", note="no time left")
            continue
        try:
            section(run)
        except Exception:
            traceback.print_exc()
            failed.append(name)
            run.add(name, "all", note="failed: " + traceback.format_exc().strip().splitlines()[-1])
        if CUDA:
            torch.cuda.empty_cache()
        if not given.no_record and not given.small:
            print(f"appended to {record(run)}", flush=True)
    print(f"{LIMIT - run.left:.0f} s in all")
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
