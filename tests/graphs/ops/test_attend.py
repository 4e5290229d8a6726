"""Attention over depth: the engines of a CPU against fp64, its autograd pair, its operators, and what is kept."""

import pytest
import torch
from torch.autograd import gradcheck

from graphs import CompileError
from graphs.ops import attend, attend_op, cpu_attend, native, plain_attend
from graphs.rule_tensors import MIN_NORM

EPS = {torch.float64: 2**-53, torch.float32: 2**-24, torch.bfloat16: 2**-8, torch.float16: 2**-11}
needs_native = pytest.mark.skipif(not native.available(torch.float32), reason="no C compiler here")
ENGINES = {"native": cpu_attend, "plain": plain_attend}


def drawn(seed, *shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def defined(sources, key):
    """Plain torch, as often differentiable as one likes: the output and the logits (..., k)."""
    unit = [x * (x.square().mean(-1, keepdim=True) + MIN_NORM).rsqrt() for x in sources]
    logits = torch.stack([(each * key).sum(-1) for each in unit], dim=-1)
    share = torch.softmax(logits, dim=-1)
    return sum(share[..., j, None] * x for j, x in enumerate(sources)), logits


def together(sources, keys):
    """Every key attends to every source."""
    fans = [attend.fan(x, keys) for x in sources]
    return [attend.attend([fan[c] for fan in fans], key) for c, key in enumerate(keys)]


def within(got, true, budget):
    budget = budget + EPS[got.dtype] * true.abs().clamp(min=torch.finfo(got.dtype).tiny)
    assert torch.isfinite(got).all()
    assert ((got.double() - true).abs() <= budget).all(), ((got.double() - true).abs() / budget).max()


@pytest.fixture
def poisoned(monkeypatch):
    """Fresh memory holds NaN: an element that is not written shows."""
    empty, new = torch.empty_like, torch.Tensor.new_empty
    monkeypatch.setattr(torch, "empty_like", lambda *a, **kw: empty(*a, **kw).fill_(float("nan")))
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda *a, **kw: new(*a, **kw).fill_(float("nan")))


@pytest.mark.parametrize("engine", [pytest.param("native", marks=needs_native), "plain"])
@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize(
    ("k", "consumers", "rows", "dim"),
    [(1, 1, 1, 8), (5, 3, 37, 72), (3, 6, 7, 1000), (10, 2, 123, 256), (65, 2, 3, 24), (2, 5, 1, 8192)],
)
def test_within_its_budget(poisoned, engine, dtype, k, consumers, rows, dim):
    made = ENGINES[engine]
    sources, steep = [drawn(j, rows, dim).to(dtype) for j in range(k)], 30 if k == 5 else 1
    keys = (drawn(50, consumers, dim) * steep / dim**0.5).float()  # steep: the largest logit changes on the way
    grads = [drawn(60 + c, rows, dim).to(dtype) for c in range(consumers)]
    x = [source.double().requires_grad_() for source in sources]
    q = keys.double().requires_grad_()
    outs = [defined(x, key) for key in q]
    sum((out * grad.double()).sum() for (out, _), grad in zip(outs, grads, strict=True)).backward()

    inner = torch.promote_types(dtype, torch.float32)
    eps = EPS[inner]
    factors = [made.scales(source) for source in sources]
    size = torch.stack([one.detach().abs() for one in x])
    seen = []
    for key, (true, logits) in zip(keys, outs, strict=True):
        out, said, lse = made.attend(sources, factors, key)
        assert (out.dtype, said.dtype, lse.dtype) == (dtype, inner, inner)
        scale = torch.stack([f.double() for f in factors], -1)
        off = 60 * eps * (1 + (torch.einsum("ktd,d->tk", size, key.double().abs()) * scale).amax(-1, keepdim=True))
        share = torch.softmax(logits.detach(), -1)
        within(said, logits.detach(), off)
        within(torch.exp(said.double() - lse.double()[:, None]).to(inner), share, 3 * off * share + 1e-300)
        within(out, true.detach(), 3 * off * torch.einsum("tk,ktd->td", share, size))
        # As wide as the inner dtype, so that what follows has no rounding of the output in it.
        wide = [source.to(inner) for source in sources]
        seen.append(made.attend(wide, factors, key))
    delta = torch.stack([made.attend_delta(grad, one[0]) for grad, one in zip(grads, seen, strict=True)], -1)
    lse = torch.stack([one[2] for one in seen], -1)
    learned = 0
    pull = sum(grad.double().abs().sum(-1, keepdim=True) for grad in grads) * size.amax((0, 2))[:, None]
    for j, source in enumerate(sources):
        logits = torch.stack([one[1][:, j] for one in seen], -1)
        (total,), slope = made.attend_back(grads, source, keys, logits, lse, delta, factors[j], True, True)
        assert (total.dtype, slope.dtype) == (dtype, inner)
        learned = learned + slope
        factor = 1 + factors[j].double()[:, None] * keys.double().abs().amax()
        within(total, x[j].grad, 40 * eps * pull * factor * (1 + off.amax() / eps / 40))
    within(learned, q.grad, 40 * eps * pull.sum() * (1 + keys.double().abs().amax()) * (1 + off.amax() / eps / 40))


@pytest.mark.parametrize("engine", [pytest.param("native", marks=needs_native), "plain"])
def test_half_of_it(engine):
    made = ENGINES[engine]
    x, keys, grads = drawn(0, 5, 8), drawn(1, 2, 8), [drawn(2, 5, 8), drawn(3, 5, 8)]
    small = [drawn(4 + i, 5, 2) for i in range(3)]
    (total,), slope = made.attend_back(grads, x, keys, *small, made.scales(x), True, True)
    only, empty = made.attend_back(grads, x, keys, *small, made.scales(x), True, False)
    assert torch.equal(only[0], total)
    assert empty.numel() == 0
    none, learned = made.attend_back(grads, x, keys, *small, made.scales(x), False, True)
    assert none == []
    assert torch.equal(learned, slope)


@pytest.mark.parametrize("native_too", [pytest.param(True, marks=needs_native), False])
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 5), (5,), (0, 5)])
def test_values_and_all_gradients(native_too, shape, monkeypatch):
    if not native_too:
        monkeypatch.setattr(native, "available", lambda dtype: False)
    sources, keys = [drawn(j, *shape).requires_grad_() for j in range(4)], drawn(9, 6, 5).requires_grad_()
    outs = together(sources, keys)
    probes = [drawn(20 + c, *shape) for c in range(6)]
    got = torch.autograd.grad(outs, [*sources, keys], probes)
    expected = [defined(sources, key)[0] for key in keys]
    for one, two in zip(
        (*outs, *got), (*expected, *torch.autograd.grad(expected, [*sources, keys], probes)), strict=True
    ):
        torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-11)
    if shape == (3, 5):
        assert gradcheck(lambda q, *s: tuple(together(s, q)), (keys, *sources))


def test_consumers_that_did_not_run_have_no_part():
    sources, keys = [drawn(j, 3, 5).requires_grad_() for j in range(2)], drawn(9, 4, 5).requires_grad_()
    outs, plain = together(sources, keys), [defined(sources, key)[0] for key in keys]
    for some in ([1], [0, 3], [0, 1, 2, 3]):
        got, expected = (
            torch.autograd.grad(sum(each[c].pow(2).sum() for c in some), [*sources, keys], retain_graph=True)
            for each in (outs, plain)
        )
        for one, two in zip(got, expected, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("frozen", ["keys", "sources", "some"])
def test_frozen(frozen):
    sources, keys = [drawn(j, 3, 5).requires_grad_() for j in range(3)], drawn(9, 2, 5).requires_grad_()
    if frozen == "keys":
        keys = keys.detach()
    else:
        sources = [x.detach() if frozen == "sources" or j else x for j, x in enumerate(sources)]
    leaves = [one for one in (keys, *sources) if one.requires_grad]
    got, expected = (
        torch.autograd.grad(sum(out.pow(2).sum() for out in outs), leaves)
        for outs in (together(sources, keys), [defined(sources, key)[0] for key in keys])
    )
    for one, two in zip(got, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-11)


def test_no_gradient_tensor_per_edge_and_one_factor_per_source(monkeypatch):
    """A fan gets the output gradients themselves, and each source's norm is worked out once for all its readers."""
    given, asked = [], []
    back, scales = attend_op.attend_back, attend_op.scales
    monkeypatch.setattr(attend_op, "attend_back", lambda grads, *rest: given.append(grads) or back(grads, *rest))
    monkeypatch.setattr(attend_op, "scales", lambda x: asked.append(x) or scales(x))
    sources, keys = [drawn(j, 3, 5).requires_grad_() for j in range(3)], drawn(9, 4, 5)
    grads = [drawn(20 + c, 3, 5) for c in range(4)]
    torch.autograd.backward(together(sources, keys), grads)
    assert len(asked) == 3
    assert [len(each) for each in given] == [4] * 3
    assert {one.data_ptr() for each in given for one in each} == {grad.data_ptr() for grad in grads}


def test_what_is_kept():
    """A source once however many read it; a consumer keeps its output and k + 1 numbers a token."""
    kept = {}
    sources, keys = [drawn(j, 3, 5).requires_grad_() for j in range(3)], drawn(9, 4, 5)

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.shape
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outs = together(sources, keys)
    shapes = sorted(map(tuple, kept.values()))
    assert shapes == sorted([(3, 5)] * (3 + 4) + [(4, 5)] + [(3,)] * 3 + [(3, 3), (3,)] * 4)
    assert len(outs) == 4


def test_reruns_are_equal_to_the_bit_whatever_the_threads():
    sources, key = [drawn(j, 97, 64).float() for j in range(9)], drawn(9, 64).float()
    found = []
    before = torch.get_num_threads()
    for threads in (1, 2, 3, 1):
        torch.set_num_threads(threads)
        factors = [attend_op.scales(x) for x in sources]
        found.append((*factors, *attend_op.attend(sources, factors, key)))
    torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@pytest.mark.parametrize("dtypes", [(torch.float32, torch.bfloat16), (torch.float16,), (torch.float64, torch.float32)])
def test_dtypes_and_layouts(dtypes):
    sources = [drawn(j, 8, 8).to(dtypes[j % len(dtypes)]) for j in range(3)]
    sources[1] = sources[1].t().contiguous().t()
    sources = [source.requires_grad_() for source in sources]
    key = drawn(9, 1, 8).float().requires_grad_()
    promoted = torch.promote_types(dtypes[0], dtypes[-1])
    (out,) = [attend.attend([fan[0] for fan in [attend.fan(x, key, promoted) for x in sources]], key[0])]
    assert out.dtype is promoted
    got = torch.autograd.grad(out.float().pow(2).sum(), [*sources, key])
    wide = [x.detach().double().requires_grad_() for x in sources]
    query = key.detach().double().requires_grad_()
    true, _ = defined(wide, query[0])
    eps = max(EPS[promoted], EPS[torch.float32] if torch.float32 in dtypes else 0)  # a factor is as its source
    tolerance = 20 * eps
    torch.testing.assert_close(out.double(), true, rtol=tolerance, atol=tolerance)
    for one, two, leaf in zip(
        got, torch.autograd.grad(true.pow(2).sum(), [*wide, query]), [*sources, key], strict=True
    ):
        assert one.dtype is leaf.dtype
        # A gradient goes through the output, which was rounded.
        size = two.abs().max()
        torch.testing.assert_close(one.double(), two, rtol=0, atol=float(20 * max(EPS[leaf.dtype], eps) * size))


def test_the_operators_pass_torch_s_checks():
    for dtype in (torch.float32, torch.bfloat16):
        sources = [torch.randn(2, 3, 4).to(dtype) for _ in range(3)]
        torch.library.opcheck(attend_op.scales_op, (sources[0],))
        torch.library.opcheck(attend_op.attend_op, (sources, [torch.rand(6) for _ in sources], torch.randn(4)))
        torch.library.opcheck(attend_op.attend_delta_op, (sources[0], sources[1]))
        small = [torch.rand(6, 2) for _ in range(3)]
        for wanted, learned in ((True, True), (True, False), (False, True)):
            arguments = (sources[:2], sources[2], torch.randn(2, 4), *small, torch.rand(6), wanted, learned)
            torch.library.opcheck(attend_op.attend_back_op, arguments)


def test_second_derivatives_and_changed_sources_are_refused():
    x, keys = drawn(0, 3, 5).requires_grad_(), drawn(9, 1, 5)
    (out,) = together([x], keys)
    with pytest.raises(CompileError, match="first derivatives alone"):
        torch.autograd.grad(out.sum(), x, create_graph=True)
    y = x * 1
    share = attend.fan(y, keys)[0]
    with torch.no_grad():
        y.mul_(2)
    with pytest.raises(CompileError, match="a block has changed its input in place"):
        attend.attend([share], keys[0])
    (out,) = together([x * 1], keys)
    out.mul_(2)  # its own gradient needs it, as torch says
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()
