"""Of ``mix_gpu.py``: the kernels whose programs hold whole rows, a mix with its norm and attention over depth.

``check`` compares them with fp64 before anything is timed; ``calls`` are what the section of single kernels times.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from graphs.ops.triton import engine

Compare = Callable[[str, Tensor, Tensor, Tensor, float, int], None]
EPS = 1e-6  # what the mean square is raised by


def check(run: Any, compare: Compare, device: str, rounding: float) -> None:
    """On slices of rows of the shape that is timed; sums over tokens in full."""
    t, d = run.tokens, run.dim
    pick = sorted({row % t for row in (0, 1, 2, t // 2, -2, -1)})
    for k, m in ((5, 5), (run.depth, 1)):
        _norm(run, compare, k, m, pick, device, rounding)
    for k in (2, min(9, run.depth), run.depth + 1):
        _attention(run, compare, k, pick, device, rounding)
    print(f"norms and attention agree with fp64 at {t} x {d}", flush=True)


def _norm(run: Any, compare: Compare, k: int, m: int, pick: list[int], device: str, rounding: float) -> None:
    weight, gain = torch.randn(1, m, k, 1, device=device), torch.randn(run.dim, device=device)
    sources, grads = [run.state(j) for j in range(k)], [run.state(100 + i) for i in range(m)]
    outs, factors, _ = engine.normed(sources, weight, gain, False)
    backs, slope = engine.norm_back(grads, sources, weight, gain, factors)
    learned, size = torch.zeros(run.dim, dtype=torch.float64, device=device), torch.zeros_like(gain).double()
    for i in range(m):
        w = weight[0, i].double()[:, :, None]
        x = sum(w[j] * source.double() for j, source in enumerate(sources))
        loose = sum(w[j].abs() * source.double().abs() for j, source in enumerate(sources))
        r = (x.square().mean(-1, keepdim=True) + EPS).rsqrt()
        near = 1 + (loose * r).square().mean(-1, keepdim=True)
        unit, pull = x * r, grads[i].double() * gain.double()
        compare(f"mix {k} to {m} and norm", outs[i][pick], (unit * gain.double())[pick],
                (loose * r * near * gain.double().abs())[pick], rounding, k + 16)  # fmt: skip
        back = (pull - unit * (pull * unit).mean(-1, keepdim=True)) * r
        most = (pull.abs() + loose * r * (pull.abs() * loose * r).mean(-1, keepdim=True)) * r * near
        compare(f"back through the norm of {k} to {m}", backs[i][pick], back[pick], most[pick], rounding, k + 32)
        learned += (grads[i].double() * unit).sum(0)
        size += (grads[i].double().abs() * loose * r * near).sum(0)
    compare(f"gain of {k} to {m}", slope, learned, size, 2**-23, k + 64)


def _attention(run: Any, compare: Compare, k: int, pick: list[int], device: str, rounding: float) -> None:
    sources = [run.state(j) for j in range(k)]
    keys, grads = torch.randn(3, run.dim, device=device) / run.dim**0.5, [run.state(100 + c) for c in range(3)]
    factors = [engine.scales(source) for source in sources]
    seen = [engine.attend(sources, factors, key) for key in keys]
    delta = torch.stack([engine.attend_delta(grad, one[0]) for grad, one in zip(grads, seen, strict=True)], -1)
    lse, logits = torch.stack([one[2] for one in seen], -1), torch.stack([one[1][:, 0] for one in seen], -1)
    (total,), slope = engine.attend_back(grads, sources[0], keys, logits, lse, delta, factors[0], True, True)
    x = torch.stack([source[pick].double() for source in sources])
    r = (x.square().mean(-1, keepdim=True) + EPS).rsqrt()
    for key, (out, _, _) in zip(keys, seen, strict=True):
        share = torch.softmax((x * r * key.double()).sum(-1), 0)[..., None]
        width = 1 + (x.abs() * r * key.double().abs()).sum(-1).amax()
        compare(f"attention to {k}", out[pick], (share * x).sum(0), (share * x.abs()).sum(0) * width, rounding, 64)
    # One step back of the first source, from what the kernels gave: delta has the output's rounding in it.
    first, factor = sources[0].double(), factors[0].double()[:, None]
    share = torch.exp(logits.double() - lse.double())
    dots = torch.stack([(grad.double() * first).sum(-1) for grad in grads], -1)
    most = torch.stack([(grad.double() * first).abs().sum(-1) for grad in grads], -1) + delta.double().abs()
    pulls, sizes = share * (dots - delta.double()) * factor, share * most * factor * (1 + logits.double().abs())
    along = (pulls * logits.double()).sum(-1, keepdim=True) * factor / run.dim
    true = sum(share[:, c : c + 1] * grad.double() for c, grad in enumerate(grads)) + pulls @ keys.double()
    scale = sum(share[:, c : c + 1] * grad.double().abs() for c, grad in enumerate(grads))
    scale = scale + sizes @ keys.double().abs()
    scale = scale + first.abs() * (sizes * logits.double().abs()).sum(-1, keepdim=True) * factor / run.dim
    compare(f"back through attention to {k}", total[pick], (true - first * along)[pick], scale[pick], rounding, 64)
    compare(f"keys of attention to {k}", slope, pulls.t() @ first, sizes.t() @ first.abs(), 2**-23, 64)


def calls(run: Any, many: list[Tensor], device: str) -> dict[str, tuple[float, Callable[[], Any]]]:
    """Name: (Td that it moves, the call)."""
    x, t, d = many[0], run.tokens, run.dim
    gain, made = torch.randn(d, device=device), {}
    for k, m in ((5, 5), (run.depth, 1)):
        if k <= run.depth:
            weight = torch.randn(1, m, k, 1, device=device)
            factors = torch.rand(m, t, device=device)
            made[f"mix {k} to {m} and norm"] = (
                k + m,
                lambda k=k, w=weight: engine.normed(many[:k], w, gain, False),
            )
            made[f"back through the norm of {k} to {m}"] = (
                k + 2 * m,
                lambda k=k, m=m, w=weight, f=factors: engine.norm_back(many[-m:], many[:k], w, gain, f),
            )
    made["scales"] = 1.0, lambda: engine.scales(x)
    made["attention, gradient by output"] = 2.0, lambda: engine.attend_delta(x, many[1])
    for k in sorted({2, min(16, run.depth), run.depth}):
        factors, key = [torch.rand(t, device=device)] * k, torch.randn(d, device=device)
        small = [torch.rand(t, k, device=device) for _ in range(3)]
        keys = torch.randn(k, d, device=device)
        made[f"attention to {k}"] = k + 1, lambda k=k, f=factors, key=key: engine.attend(many[:k], f, key)
        made[f"back through {k} attentions"] = (
            k + 2 + -(-k // 32),
            lambda k=k, keys=keys, s=small, f=factors: engine.attend_back(
                many[:k], many[-1], keys, *s, f[0], True, True
            ),
        )
    return made
