"""Every kernel compiles for an H200, without one: what runs in the interpreter alone would not show here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton_setup")
PROGRAM = Path(__file__).parents[1] / "triton_offline.py"
pytestmark = pytest.mark.slow  # a minute: about 60 kernels


@pytest.fixture(scope="module")
def kernels():
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    env["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[3]), *sys.path])
    done = subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    return [(case["case"], kernel) for case in cases for kernel in case["kernels"]]


def test_every_kernel_compiles(kernels):
    from graphs.ops.triton import attend_kernels
    from graphs.ops.triton import kernels as others

    names = {name for module in (attend_kernels, others) for name in vars(module) if name.endswith("_kernel")}
    assert {kernel["kernel"] for _, kernel in kernels} == names


def test_registers_do_not_spill(kernels):
    assert [(case, kernel) for case, kernel in kernels if kernel["spilled"] > 64] == []


def test_sources_are_loaded_16_bytes_at_a_time(kernels):
    narrow = {"channels_kernel", "keys_kernel"}  # each lane keeps sums of each of its channels: few channels
    slow = [case for case, kernel in kernels if not (kernel["loads of 16 bytes"] or kernel["kernel"] in narrow)]
    assert slow == ["one channel"] * 2


def test_no_program_waits_between_sources(kernels):
    assert {kernel["barriers"] for case, kernel in kernels if case in ("mix 48 to 1", "mix 9 to 9")} == {0}
    assert max(kernel["barriers"] for case, kernel in kernels if case in ("gather 48", "gather 5")) <= 1
