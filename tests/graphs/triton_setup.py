"""Imported before ``graphs.ops.triton``: the interpreter where there is no GPU, samples, and budgets of rounding."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
if not CUDA:
    if "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("no GPU, and triton was imported without its interpreter", allow_module_level=True)
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton and the kernels are imported
pytest.importorskip("triton", reason="the Triton kernels need triton, which is for Linux and comes with CUDA builds")

import triton.language as tl  # noqa: E402
from triton.runtime import interpreter  # noqa: E402

EPS = {torch.float32: 2**-24, torch.bfloat16: 2**-8, torch.float16: 2**-11}
DTYPES = tuple(EPS)
FP32 = EPS[torch.float32]
if not CUDA:
    EPS[torch.bfloat16] = 2**-7  # the interpreter cuts digits off where a GPU rounds to the nearest


def _loops_over_numbers() -> None:
    """Loops with bounds known at run time: NumPy 2.4 refuses int() of its one-element arrays, which Triton 3.6 uses."""
    original: Any = interpreter._patch_lang_tensor

    def patched(*args: Any) -> None:
        original(*args)
        tl.tensor.__index__ = lambda self: self.handle.data.item()

    interpreter._patch_lang_tensor = patched


if not CUDA:
    _loops_over_numbers()


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fresh memory holds NaN: an element that is not written shows, and one that is read as well."""
    for name in ("empty", "empty_like"):
        real = getattr(torch, name)

        def nan(*size: Any, real: Any = real, **kw: Any) -> Tensor:
            made: Tensor = real(*size, **kw)
            return made.fill_(float("nan"))

        monkeypatch.setattr(torch, name, nan)
    return


def samples(
    seed: int, count: int, shape: tuple[int, ...], dtypes: Any = (torch.float32,), layout: str = "plain"
) -> list[Tensor]:
    """``count`` tensors; their dtypes take turns, and so do two layouts that are not contiguous."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for j in range(count):
        state = torch.randn(shape, generator=generator).to(dtypes[j % len(dtypes)]).to(DEVICE)
        if layout == "transposed":
            state = state.t().contiguous().t()
        elif layout == "strided":
            state = torch.stack([state, torch.full_like(state, torch.nan)], dim=-1)[..., 0]
        elif layout == "offset":
            state = torch.cat([state.new_full((1,), torch.nan), state.reshape(-1)])[1:].view(shape)
        made.append(state)
    return made


def numbers(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def exact(tensors: Any) -> Tensor:
    return torch.stack([tensor.double() for tensor in tensors])


def within(got: Tensor, true: Tensor, budget: Tensor) -> None:
    """Every element within its budget and one rounding to its own dtype."""
    assert got.shape == true.shape
    budget = budget + EPS[got.dtype] * true.abs().clamp(min=torch.finfo(got.dtype).tiny)
    assert torch.isfinite(got).all()
    assert ((got.double() - true).abs() <= budget).all(), ((got.double() - true).abs() / budget).max()
