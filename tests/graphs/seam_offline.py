"""Run as a program: compiles the seam kernels for an H200, on a machine that has none.

Prints for each kernel its name, kind, streams, registers, bytes spilled and bytes of shared memory.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

sys.path.insert(0, str(Path(__file__).parents[2]))
from graphs.ops.triton import seam_launch
from graphs.ops.triton.seam_backward import seam_backward, seam_backward_rows, seam_maps
from graphs.ops.triton.seam_forward import seam_forward
from graphs.ops.triton.seam_launch import Kind

PTXAS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
STATES = {"y", "g", "block_input", "streams", "grad_input", "grad_streams", "to_y", "to_g"}
NUMBERS = {"per_token", "T", "CHUNK", "GROUPS"}


def compiled(kernel, kind, dim=2048, dtype=torch.bfloat16):
    short = {torch.bfloat16: "*bf16", torch.float32: "*fp32"}[dtype]
    constants = seam_launch._constants(kind, torch.empty(1, dtype=dtype)) | {"D": dim, "ITERATIONS": kind.iterations}
    if kernel is seam_backward_rows:
        assert seam_launch.in_rows(kind, dim)
        constants["BD"] = dim
    constants = {name: value for name, value in constants.items() if name in kernel.arg_names}
    signature, aligned = {}, {}
    for i, name in enumerate(kernel.arg_names):
        signature[name] = "constexpr" if name in constants else "i32" if name in NUMBERS else "*fp32"
        if name in STATES:
            signature[name] = short
        if signature[name].startswith("*"):
            aligned[i,] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constants, aligned)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": seam_launch.WARPS})
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "kernel.ptx"
        text.write_text(made.asm["ptx"])
        command = [PTXAS, "-v", "--gpu-name", "sm_90a", text, "-o", os.devnull]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    registers = re.search(r"Used (\d+) registers", said)[1]
    spilled = re.search(r"(\d+) bytes spill stores", said)[1]
    print(kernel.fn.__name__, kind.name, kind.streams, registers, spilled, made.metadata.shared, flush=True)


if __name__ == "__main__":
    for streams in (4, 8):
        for kind in (Kind("mhc", streams, False, 20), Kind("tanh", streams, True)):
            for kernel in (seam_forward, seam_backward, seam_maps):
                compiled(kernel, kind)
            for kernel in (seam_forward, seam_backward):
                compiled(kernel, kind._replace(normed=True))
            if streams == 4:
                longest = max(2**i for i in range(4, 10) if seam_launch.in_rows(kind, 2**i))
                compiled(seam_backward_rows, kind._replace(normed=True), longest)
