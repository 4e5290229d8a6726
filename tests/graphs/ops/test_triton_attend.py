"""Attention over depth against its definition in fp64."""

import pytest
import torch
from triton_setup import DTYPES, FP32, exact, numbers, poisoned, samples, within

from graphs.ops import triton as ops
from graphs.ops.triton import launch
from graphs.rule_tensors import MIN_NORM

__all__ = ["poisoned"]


def defined(sources, query, gain):
    """Plain torch: the output, and the probabilities (tokens, k)."""
    unit = sources * (sources.square().mean(-1, keepdim=True) + MIN_NORM).rsqrt()
    probs = torch.softmax(torch.einsum("ktd,d->tk", unit, query * gain), dim=-1)
    return torch.einsum("tk,ktd->td", probs, sources), probs


def loose(sources, query, gain):
    """How far a probability can be off, relative: twice the rounding of a logit's terms."""
    unit = sources * (sources.square().mean(-1, keepdim=True) + MIN_NORM).rsqrt()
    return 100 * FP32 * (1 + torch.einsum("ktd,d->tk", unit.abs(), (query * gain).abs()).amax(-1, keepdim=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("k", "rows", "dim"), [(1, 1, 8), (5, 37, 72), (3, 123, 256), (10, 7, 1000), (65, 3, 24), (130, 2, 8)]
)
def test_attend(poisoned, k, rows, dim, dtype):
    states, gain = samples(0, k, (rows, dim), (dtype,)), numbers(2, dim)
    query = numbers(1, dim) * (30 if k == 5 else 1)  # steep: the largest logit changes on the way
    got = ops.attend(states, [ops.scales(state) for state in states], query * gain)
    x, q, g = exact(states), query.double(), gain.double()
    out, probs = defined(x, q, g)
    off = loose(x, q, g)
    assert got.out.dtype == dtype
    within(got.out, out, off * torch.einsum("tk,ktd->td", probs, x.abs()))
    within(torch.exp(got.logits - got.lse[:, None]), probs, 2 * off * probs + 1e-37)


@pytest.mark.parametrize(
    ("consumers", "rows", "dim", "dtype"),
    [(*shape, dtype) for shape in ((1, 1, 8), (3, 37, 72), (2, 37, 256)) for dtype in DTYPES]
    + [(65, 2, 8, torch.bfloat16)],
)
def test_its_backward_pass(poisoned, consumers, rows, dim, dtype):
    states = samples(0, 3, (rows, dim), (dtype,))
    queries, gains = numbers(1, consumers, dim) / 3, numbers(2, consumers, dim)
    grads = samples(3, consumers, (rows, dim), (dtype,))
    x = exact(states).requires_grad_()
    q, a = queries.double().requires_grad_(), gains.double().requires_grad_()
    loss = sum((defined(x, q[c], a[c])[0] * grads[c].double()).sum() for c in range(consumers))
    loss.backward()
    keys, factors = queries * gains, [ops.scales(state) for state in states]
    seen = [ops.attend([state.float() for state in states], factors, keys[c]) for c in range(consumers)]
    lse = torch.stack([one.lse for one in seen], -1)
    delta = torch.stack([ops.attend_delta(grad, one.out) for grad, one in zip(grads, seen, strict=True)], -1)
    summed = 0
    size = sum(grad.double().abs().sum(-1, keepdim=True) for grad in grads) * exact(states).abs().amax((0, 2))[:, None]
    for j, state in enumerate(states):
        out, part = ops.attend_backward(
            grads,
            state,
            keys,
            torch.stack([one.logits[:, j] for one in seen], -1),
            lse,
            delta,
            factors[j],
        )
        assert (out.dtype, part.dtype) == (dtype, torch.float32)
        summed = summed + part
        factor = factors[j][:, None].double() * keys.double().abs().amax() + 1
        within(out, x.grad[j], 40 * FP32 * size * factor)
    budget = 40 * FP32 * size.sum() * (1 + keys.double().abs().amax())
    within(summed * gains, q.grad, budget * gains.double().abs())
    within(summed * queries, a.grad, budget * queries.double().abs())


@pytest.mark.parametrize(("wanted", "learned"), [(True, False), (False, True)])
def test_half_of_it(poisoned, wanted, learned):
    (state,), grads, keys = samples(0, 1, (7, 24)), samples(3, 2, (7, 24)), numbers(1, 2, 24)
    small = [numbers(seed, 7, 2) for seed in (4, 5, 6)]
    whole = ops.attend_backward(grads, state, keys, *small, ops.scales(state))
    some = ops.attend_backward(grads, state, keys, *small, ops.scales(state), wanted, learned)
    for asked, one, all_of_it in zip((wanted, learned), some, whole, strict=True):
        assert torch.equal(one, all_of_it) if asked else one.numel() == 0


def test_without_tokens():
    states, key = samples(0, 2, (0, 8)), numbers(1, 8)
    none = ops.attend(states, [ops.scales(state) for state in states], key)
    assert (none.out.shape, none.logits.shape, none.lse.shape) == ((0, 8), (0, 2), (0,))
    assert launch.LARGEST == 64
