"""Run as a program, without the interpreter: compiles what the functions launch for an H200, without a GPU.

The functions get meta tensors of a benchmark's shape; every launch becomes a compilation with the arguments it had.
Prints a line of JSON for each kernel: registers, spilled bytes, shared memory, and what its loads look like.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
LINES: list[dict[str, Any]] = []


class Card:
    """Answers what the compiler asks of a driver."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int = 0) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("meta")


class Compiled:
    """Stands where a kernel stands; a launch compiles it and looks at the result."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        def launch(*args: Any, **options: Any) -> None:
            made = self.kernel.warmup(*args, grid=grid, **options)
            LINES[-1].setdefault("kernels", []).append(measured(self.kernel.fn.__name__, made, grid, options))

        return launch


def measured(name: str, made: Any, grid: Any, options: dict[str, Any]) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        command = [TOOLS / "cuobjdump", "--dump-resource-usage", file.name]
        usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    number = {key: int(value) for key, value in re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", usage)}
    ptx = made.asm["ptx"]
    wide = len(re.findall(r"ld\.global[.\w:]*\.v4\.b32", ptx))
    return {
        "kernel": name,
        "grid": grid[0],
        "warps": options["num_warps"],
        "registers": number["REG"],
        "spilled": spilled(made.asm["ptx"]) if number["STACK"] + number["LOCAL"] else 0,
        "shared": made.metadata.shared,
        "loads of 16 bytes": wide,
        "shuffles": len(re.findall(r"shfl\.sync", ptx)),
        "barriers": len(re.findall(r"bar\.sync", ptx)),
    }


def spilled(ptx: str) -> int:
    """Bytes of spill stores, by the assembler's own report: a stack frame may have other reasons."""
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        command = [TOOLS / "ptxas", "-v", "--gpu-name=sm_90a", file.name, "-o", "/dev/null"]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return sum(int(count) for count in re.findall(r"(\d+) bytes spill stores", report))


def main(only: str) -> None:
    driver.set_active(Card())
    from graphs.ops import triton as ops
    from graphs.ops.triton import attend_kernels, kernels

    for module in (kernels, attend_kernels):
        for name, kernel in list(vars(module).items()):
            if name.endswith("_kernel"):
                setattr(module, name, Compiled(kernel))
    for name, call in cases(ops).items():
        if re.search(only, name):
            LINES.append({"case": name})
            call()
            print(json.dumps(LINES[-1]), flush=True)


def cases(ops: Any) -> dict[str, Callable[[], Any]]:
    from graphs.ops.triton import engine

    def x(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    def weight(*shape: int) -> torch.Tensor:
        return x(*shape, dtype=torch.float32)

    t, d = 16384, 2048
    state, gain = x(t, d), x(d)
    found: dict[str, Callable[[], Any]] = {}
    for k, m in [(1, 1), (2, 1), (5, 5), (9, 9), (48, 1), (64, 1), (32, 8), (64, 8)]:
        found[f"mix {k} to {m}"] = lambda k=k, m=m: ops.mix([state] * k, weight(m, k))
    found["mix 65 to 1"] = lambda: ops.mix([state] * 65, weight(1, 65))
    found["mix 5 to 5 per token"] = lambda: ops.mix([state] * 5, weight(t, 5, 5))
    found["mix 5 to 5 per channel"] = lambda: ops.mix([state] * 5, weight(5, 5, d), channels=True)
    found["mix 5 to 5 fp32"] = lambda: ops.mix([x(t, d, dtype=torch.float32)] * 5, weight(5, 5))
    found["mix 48 to 1 normed, its sum kept"] = lambda: engine.normed([state] * 48, weight(1, 1, 48, 1), gain, True)
    for k, m in [(5, 5), (9, 9), (48, 1)]:
        found[f"mix {k} to {m} normed"] = lambda k=k, m=m: ops.mix([state] * k, weight(m, k), gain)
    found["mix 5 to 5 per token normed"] = lambda: ops.mix([state] * 5, weight(t, 5, 5), gain)
    found["mix 5 to 5 normed 8192"] = lambda: ops.mix([x(t, 8192)] * 5, weight(5, 5), x(8192))
    for n in (1, 5, 24, 48, 64):
        found[f"gather {n}"] = lambda n=n: ops.gather([state] * n, state, weight(n), state.dtype)
    found["gather 48 without a source"] = lambda: ops.gather([state] * 48, None, weight(48))
    found["gather 5 per token"] = lambda: ops.gather([state] * 5, state, weight(t, 5))
    found["gather 48 per token"] = lambda: ops.gather([state] * 48, state, weight(t, 48))
    for n in (2, 3, 5, 9):
        found[f"spread {n} to {n}"] = lambda n=n: ops.spread([state] * n, [state] * n, weight(n, n))
    found["spread 5 to 5 fp32"] = lambda: ops.spread(
        [x(t, d, dtype=torch.float32)] * 5, [x(t, d, dtype=torch.float32)] * 5, weight(5, 5)
    )
    for n in (5, 9):
        found[f"spread {n} to {n} per token"] = lambda n=n: ops.spread([state] * n, [state] * n, weight(t, n, n))
        found[f"spread {n} to {n} per channel"] = lambda n=n: ops.spread(
            [state] * n, [state] * n, weight(n, n, d), channels=True
        )
    for n, shape in {"": (1, 5, 6, 1), " per token": (t, 5, 6, 1), " per channel": (1, 5, 6, d)}.items():
        found[f"spread of columns of all kinds{n}"] = lambda shape=shape: engine.gather(
            [state] * 5, [state, None] * 3, weight(*shape), [True, True, False] * 2, state.dtype
        )
    found["gather products alone"] = lambda: engine.gather([state] * 24, [state], weight(1, 24, 1, 1), [False])
    found["gather 20 per channel"] = lambda: engine.gather([state] * 20, [state], weight(1, 20, 1, d), [True])
    for k, m in [(5, 5), (48, 1)]:
        found[f"norm {k} to {m}"] = lambda k=k, m=m: ops.norm_backward(
            x(m, t, d), [state] * k, weight(m, k), gain, weight(m, t)
        )
    found["norm from 5"] = lambda: ops.norm_backward_from(x(5, t, d), weight(5, t, d), gain, weight(5, t))
    for k in (2, 9, 48):
        found[f"attend {k}"] = lambda k=k: ops.attend([state] * k, [weight(t)] * k, gain)
        found[f"attend backward {k}"] = lambda k=k: ops.attend_backward(
            [state] * k, state, weight(k, d), weight(t, k), weight(t, k), weight(t, k), weight(t)
        )
    found["attend 65"] = lambda: ops.attend([state] * 65, [weight(t)] * 65, gain)
    found["attend scales"] = lambda: ops.scales(state)
    found["attend delta"] = lambda: ops.attend_delta(state, state)
    found["one channel"] = lambda: (
        ops.mix([x(7, 1)], weight(7, 1, 1)),
        ops.gather([x(7, 1)], x(7, 1), weight(7, 1)),
        ops.spread([x(7, 1)], [x(7, 1)], weight(1, 1, 1), channels=True),
    )
    return found


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
