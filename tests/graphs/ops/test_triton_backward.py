"""The Triton kernels' backward pass against fp64, within budgets derived from the data."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from triton_setup import DEVICE, DTYPES, FP32, exact, numbers, poisoned, samples, within

from graphs.ops import triton as ops
from graphs.ops.triton import launch

__all__ = ["poisoned"]
LAYOUTS = ("plain", "transposed", "strided", "offset")
SPREAD = {
    "static": ("mk,mtd->ktd", "mtd,ktd->mk"),
    "token": ("tmk,mtd->ktd", "mtd,ktd->tmk"),
    "channel": ("mkd,mtd->ktd", "mtd,ktd->mkd"),
}


def check_gather(case, edges, token=False, frozen=False, dtype=torch.float32):
    seed, (rows, dim), dtypes, layout = case
    source, *grads = samples(seed, edges + 1, (rows, dim), dtypes, layout)
    g = exact(grads)
    weight = numbers(1, rows, edges) if token else numbers(1, edges)
    w = weight.double() if token else weight.double().expand(rows, edges)
    total, dots = ops.gather(grads, None if frozen else source, weight, dtype)
    assert (total.dtype, dots.dtype) == (dtype, torch.float32)
    scale = torch.einsum("te,etd->td", w.abs(), g.abs())
    within(total, torch.einsum("te,etd->td", w, g), (edges + 8) * FP32 * scale)
    if frozen:
        assert dots.numel() == 0
        return
    products = g * source.double()
    products = products.sum(-1).t() if token else products.sum((1, 2))
    size = (g * source.double()).abs()
    size = size.sum(-1).t() if token else size.sum((1, 2))
    within(dots, products, 48 * FP32 * size)


@st.composite
def cases(draw):
    rows = draw(st.sampled_from((1, 7, 37, 123)))
    dim = draw(st.sampled_from([dim for dim in (1, 8, 24, 72, 256, 1000, 1024) if rows * dim <= 10_000]))
    dtypes = tuple(draw(st.lists(st.sampled_from(DTYPES), min_size=1, max_size=2)))
    return draw(st.integers(0, 9)), (rows, dim), dtypes, draw(st.sampled_from(LAYOUTS))


@settings(max_examples=15, deadline=None)
@given(
    case=cases(),
    edges=st.integers(1, 9),
    token=st.booleans(),
    frozen=st.booleans(),
    dtype=st.sampled_from(DTYPES),
)
def test_gather_is_within_its_budget(case, edges, token, frozen, dtype):
    check_gather(case, edges, token, frozen, dtype)


@pytest.mark.parametrize("edges", sorted({*launch.BUCKETS, 10, 17, 33, 49, 65, 129}))
def test_any_number_of_edges(poisoned, edges):
    check_gather((0, (7, 24), (torch.bfloat16,), "plain"), edges)


@pytest.mark.parametrize("token", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_gather(poisoned, token, frozen, dtype):
    check_gather((0, (37, 72), (dtype,), "plain"), 5, token, frozen, dtype)
    check_gather((0, (5, 8), (dtype,), "plain"), launch.LARGEST + 1, token, frozen, dtype)


def test_several_programs_gather_every_element(poisoned):
    check_gather((0, (123, 1000), (torch.bfloat16,), "plain"), 2)
    check_gather((0, (37, 1024), (torch.float32,), "plain"), 2, True)


def check_spread(kind, case, m, k):
    seed, (rows, dim), dtypes, layout = case
    *sources, first = samples(seed, k + 1, (rows, dim), dtypes, layout)
    grad = samples(seed + 1, m, (rows, dim), (first.dtype,))
    weight = numbers(1, *{"static": (m, k), "token": (rows, m, k), "channel": (m, k, dim)}[kind])
    outs, learned = ops.spread(grad, sources, weight, channels=kind == "channel")
    assert [out.dtype for out in outs] == [source.dtype for source in sources]
    back, forth = SPREAD[kind]
    w, g, x = weight.double(), exact(grad), exact(sources)
    true, scale = torch.einsum(back, w, g), torch.einsum(back, w.abs(), g.abs())
    for out, one, size in zip(outs, true, scale, strict=True):
        within(out, one, (m + 8) * FP32 * size)
    budget = (48 + rows // 16) * FP32 * torch.einsum(forth, g.abs(), x.abs())
    within(learned, torch.einsum(forth, g, x), budget)


@settings(max_examples=15, deadline=None)
@given(case=cases(), m=st.integers(1, 4), k=st.integers(1, 4), kind=st.sampled_from(sorted(SPREAD)))
def test_spread_is_within_its_budget(case, m, k, kind):
    check_spread(kind, case, m, k)


@pytest.mark.parametrize("kind", SPREAD)
@pytest.mark.parametrize("n", [1, 5, 9])
def test_streams(poisoned, kind, n):
    check_spread(kind, (0, (7, 72), (torch.bfloat16,), "plain"), n, n)


@pytest.mark.parametrize("kind", SPREAD)
def test_more_sources_than_one_launch_takes(poisoned, kind):
    check_spread(kind, (0, (5, 8), (torch.float16,), "plain"), 2, 65)
    check_spread(kind, (0, (5, 8), (torch.float32,), "plain"), 16, 7)
    check_spread(kind, (0, (5, 8), (torch.float32,), "plain"), 17, 2)


@pytest.mark.parametrize("kind", SPREAD)
def test_several_programs_spread_every_element(poisoned, kind):
    check_spread(kind, (0, (123, 1000), (torch.bfloat16,), "plain"), 2, 2)


@pytest.mark.parametrize("kind", SPREAD)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "dim", "m", "k"), [(7, 24, 3, 2), (123, 72, 2, 1), (1, 1000, 1, 4), (2, 8200, 3, 2)])
def test_back_through_a_norm(poisoned, kind, dtype, rows, dim, m, k):
    sources, gain = samples(0, k, (rows, dim), (dtype,)), numbers(2, dim)
    weight = numbers(1, *{"static": (m, k), "token": (rows, m, k), "channel": (m, k, dim)}[kind])
    channels = kind == "channel"
    grad = torch.stack(samples(3, m, (rows, dim), (dtype,)))
    _, rstd = ops.mix(sources, weight, gain, channels=channels)
    form = {"static": "mk,ktd->mtd", "token": "tmk,ktd->mtd", "channel": "mkd,ktd->mtd"}[kind]
    raw = torch.einsum(form, weight.double(), exact(sources)).requires_grad_()
    true_gain = gain.double().requires_grad_()
    normed = torch.nn.functional.rms_norm(raw, (dim,), true_gain, 1e-6)
    normed.backward(grad.double())
    out, learned = ops.norm_backward(grad, sources, weight, gain, rstd, channels=channels)
    assert (out.dtype, learned.dtype) == (dtype, torch.float32)

    x, r = raw.detach(), rstd.double()[..., None]
    loose = torch.einsum(form, weight.double().abs(), exact(sources).abs()) * r  # what a normed sum is made of
    pull = (grad.double() * gain.double()).abs()
    mean = (pull * loose).mean(-1, keepdim=True)
    wrong = (loose.square().mean(-1, keepdim=True) + 1) * FP32 * (k + 48)  # of rstd and of what it scales, relative
    budget = wrong * (pull + 3 * (loose + (x * r).abs()) * mean) * r
    within(out, raw.grad, budget)
    within(learned, true_gain.grad, (wrong * grad.double().abs() * loose).sum((0, 1)))

    direct, same = ops.norm_backward_from(grad, x.float(), gain, rstd)
    within(direct, raw.grad, budget)
    within(same, true_gain.grad, (wrong * grad.double().abs() * loose).sum((0, 1)))


def test_back_through_a_norm_of_more_sources_than_one_launch_takes():
    sources, gain, weight = samples(0, 65, (3, 8)), numbers(2, 8), numbers(1, 2, 65)
    _, rstd = ops.mix(sources, weight, gain)
    grad = torch.stack(samples(3, 2, (3, 8)))
    raw = torch.stack(ops.mix(sources, weight))
    (got, learned), (wanted, same) = (
        ops.norm_backward(grad, sources, weight, gain, rstd),
        ops.norm_backward_from(grad, raw, gain, rstd),
    )
    assert torch.equal(got, wanted)
    # The gain's terms are the same numbers, added by outputs or all at once.
    terms = (grad * raw * rstd[..., None]).double().abs().sum((0, 1))
    assert ((learned - same).abs() <= 8 * FP32 * terms).all()


@pytest.mark.filterwarnings("ignore:invalid value")  # NumPy, in the interpreter
def test_a_missing_number_stays_in_its_place():
    fine = torch.ones(2, 3, device=DEVICE)
    bad = fine.clone()
    bad[1, 1] = torch.nan
    total, dots = ops.gather([fine, bad, fine], fine, numbers(0, 3))
    assert torch.isnan(total).nonzero().tolist() == [[1, 1]]
    assert torch.isnan(dots).tolist() == [False, True, False]
    _, dots = ops.gather([fine, bad, fine], fine, numbers(0, 2, 3))
    assert torch.isnan(dots).nonzero().tolist() == [[1, 1]]
    total, dots = ops.gather([fine * torch.inf, *[fine] * 9], fine, torch.ones(10, device=DEVICE))
    assert (total == torch.inf).all()  # the first stands in 2 of 12 places, where it must not count
    assert torch.isinf(dots).tolist() == [True] + [False] * 9
    outs, learned = ops.spread([fine, bad], [fine, fine], numbers(0, 2, 2))
    assert [torch.isnan(out).nonzero().tolist() for out in outs] == [[[1, 1]]] * 2
    assert torch.isnan(learned).tolist() == [[False, False], [True, True]]


def test_nothing_is_an_edge_case():
    none = torch.ones(2, 0, 4, device=DEVICE)
    total, dots = ops.gather(list(none), none[0], numbers(0, 2))
    assert (total.shape, dots.tolist()) == ((0, 4), [0.0, 0.0])
    assert ops.gather(list(none), none[0], numbers(0, 0, 2))[1].shape == (0, 2)
    outs, learned = ops.spread(list(none), [none[0]], numbers(0, 2, 1))
    assert (outs[0].shape, learned.tolist()) == ((0, 4), [[0.0], [0.0]])
    out, learned = ops.norm_backward(none, [none[0]], numbers(0, 2, 1), numbers(0, 4), numbers(0, 2, 0))
    assert (out.shape, learned.tolist()) == ((2, 0, 4), [0.0] * 4)


def test_reruns_are_equal_to_the_bit():
    source, *flat = samples(0, 4, (123, 72), (torch.bfloat16,))
    grad, gain = torch.stack(flat), numbers(2, 72)
    one, two = (ops.gather(flat, source, numbers(1, 3)) for _ in range(2))
    assert all(map(torch.equal, one, two))
    for kind, shape in (("static", (3, 1)), ("token", (123, 3, 1)), ("channel", (3, 1, 72))):
        (a, wa), (b, wb) = (ops.spread(flat, [source], numbers(1, *shape), channels=kind == "channel") for _ in "ab")
        assert torch.equal(a[0], b[0])
        assert torch.equal(wa, wb)
    one, two = (ops.norm_backward(grad, [source], numbers(1, 3, 1), gain, numbers(2, 3, 123)) for _ in range(2))
    assert all(map(torch.equal, one, two))
