"""Imported before ``graphs.ops.triton``: the interpreter on the CPU where there is no GPU, and what it needs."""

import os
from typing import Any

import torch

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
if not CUDA:
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton and the kernels are imported

import triton.language as tl  # noqa: E402
from triton.runtime import interpreter  # noqa: E402


def _loops_over_numbers() -> None:
    """Loops with bounds known at run time: NumPy 2.4 refuses int() of its one-element arrays, which Triton 3.6 uses."""
    original: Any = interpreter._patch_lang_tensor

    def patched(*args: Any) -> None:
        original(*args)
        tl.tensor.__index__ = lambda self: self.handle.data.item()

    interpreter._patch_lang_tensor = patched


if not CUDA:
    _loops_over_numbers()
