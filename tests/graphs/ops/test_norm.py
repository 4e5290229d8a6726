"""The mix that ends with an RMSNorm: both engines of a CPU against fp64, and the operators and the pair in autograd."""

import pytest
import torch
from torch.autograd import gradcheck

from graphs.ops import cpu, kernels, mix, native, norm, plain
from graphs.rule_tensors import MIN_NORM
from graphs.weights import CHANNEL

EPS = {torch.float64: 2**-53, torch.float32: 2**-24, torch.bfloat16: 2**-8, torch.float16: 2**-11}
KINDS = {
    "static": lambda rows, m, k, dim: (1, m, k, 1),
    "token": lambda rows, m, k, dim: (rows, m, k, 1),
    "channel": lambda rows, m, k, dim: (1, m, k, dim),
    "both": lambda rows, m, k, dim: (rows, m, k, dim),
}
needs_native = pytest.mark.skipif(not native.available(torch.float32), reason="no C compiler here")
ENGINES = {"native": cpu, "plain": plain}


def drawn(seed, *shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def within(got, true, budget):
    budget = budget + EPS[got.dtype] * true.abs().clamp(min=torch.finfo(got.dtype).tiny)
    assert torch.isfinite(got).all()
    assert ((got.double() - true).abs() <= budget).all(), ((got.double() - true).abs() / budget).max()


@pytest.fixture
def poisoned(monkeypatch):
    """Fresh memory holds NaN: an element that is not written shows."""
    empty = torch.empty_like
    monkeypatch.setattr(torch, "empty_like", lambda *a, **kw: empty(*a, **kw).fill_(float("nan")))


@pytest.mark.parametrize("engine", [pytest.param("native", marks=needs_native), "plain"])
@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("rows", "dim", "m", "k"), [(1, 1, 1, 1), (7, 8, 2, 3), (37, 1000, 3, 6), (123, 72, 17, 5), (3, 8192, 1, 9)]
)
def test_within_its_budget(poisoned, engine, dtype, kind, rows, dim, m, k):
    """Outputs, factors and sums, and the gradients at the sums and of the gain."""
    sources = [drawn(j, rows, dim).to(dtype) for j in range(k)]
    weight, gain = drawn(50, *KINDS[kind](rows, m, k, dim)).float(), drawn(51, dim).float()
    made, scale, sums = ENGINES[engine].normed(sources, weight, gain, True)
    x = torch.stack([source.double() for source in sources])
    wide = weight.double().expand(rows, m, k, dim)
    true = torch.einsum("tmkd,ktd->mtd", wide, x)
    size = torch.einsum("tmkd,ktd->mtd", wide.abs(), x.abs())
    inner = torch.promote_types(dtype, torch.float32)
    assert {one.dtype for one in made} == {dtype}
    assert {one.dtype for one in (scale, *sums)} == {inner}
    eps = EPS[inner]
    off = (k + 8) * eps * size
    r = (true.square().mean(-1, keepdim=True) + MIN_NORM).rsqrt()
    wrong = (true.abs() * off).mean(-1, keepdim=True) * r.square() + 40 * eps  # of a factor, relative
    within(torch.stack(sums), true, off)
    within(scale.unsqueeze(-1), r, wrong * r)
    within(torch.stack(made), true * r * gain.double(), (off + true.abs() * wrong) * r * gain.double().abs())

    grads = [drawn(60 + i, rows, dim).to(dtype) for i in range(m)]
    g = torch.stack([grad.double() for grad in grads])
    unit, pull = true * r, g * gain.double()
    back = (pull - unit * (pull * unit).mean(-1, keepdim=True)) * r
    loose = size * r
    near = (loose.square().mean(-1, keepdim=True) + 1) * eps * (k + 48)
    budget = near * (pull.abs() + 4 * loose * (pull.abs() * loose).mean(-1, keepdim=True)) * r
    got, learned = ENGINES[engine].norm_back(grads, sources, weight, gain, scale)
    assert {one.dtype for one in got} == {dtype}
    within(torch.stack(got), back, budget)
    within(learned, (g * unit).sum((0, 1)), (near * g.abs() * loose).sum((0, 1)))


@pytest.mark.parametrize("grain", ["scalar", "token", "channel"])
@pytest.mark.parametrize(("m", "k"), [(1, 3), (1, norm.AGAIN + 1), (2, 2 * norm.AGAIN + 1)])
def test_values_and_all_gradients(grain, m, k):
    """Sums that are made again and sums that are kept."""
    sources = [drawn(j, 2, 3, 4).requires_grad_() for j in range(k)]
    shape = {"scalar": (m, k), "token": (2, 3, m, k), "channel": (m, k, 4)}[grain]
    weight, gain = drawn(20, *shape).requires_grad_(), drawn(21, 4).requires_grad_()
    more = {"grain": CHANNEL} if grain == "channel" else {}
    leaves = (weight, gain, *sources)
    assert gradcheck(lambda w, g, *s: mix(s, w, norm=g, impl="fused", **more), leaves)
    found = []
    for impl in ("fused", "reference"):
        outs = mix(sources, weight, norm=gain, impl=impl, **more)
        found.append([*outs, *torch.autograd.grad(sum(out.pow(3).sum() for out in outs), leaves)])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("k", [2, 2 * norm.AGAIN + 1])
def test_outputs_without_a_gradient_have_no_part(k):
    sources, weight, gain = [drawn(j, 3, 4).requires_grad_() for j in range(k)], drawn(20, 2, k), drawn(21, 4)
    weight, gain = weight.requires_grad_(), gain.requires_grad_()
    found = []
    for impl in ("fused", "reference"):
        _, second = mix(sources, weight, norm=gain, impl=impl)
        found.append(torch.autograd.grad(second.pow(2).sum(), (weight, gain, *sources), materialize_grads=True))
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("frozen", ["weight", "gain", "both"])
def test_what_is_kept(frozen):
    """Few sources are kept themselves, many not where weights are frozen: then the sum is."""
    for k in (2, 30):
        kept = []
        sources, weight, gain = [drawn(j, 3, 4).requires_grad_() for j in range(k)], drawn(20, 1, k), drawn(21, 4)
        weight.requires_grad_(frozen == "gain")
        gain.requires_grad_(frozen == "weight")
        with torch.autograd.graph.saved_tensors_hooks(lambda t, to=kept: to.append(t.shape) or t, lambda t: t):
            (out,) = mix(sources, weight, norm=gain, impl="fused")
        states = sum(shape == (3, 4) for shape in kept)
        assert states == (2 if k == 2 else 1 if frozen != "gain" else 31)
        leaves = [one for one in (weight, gain, *sources) if one.requires_grad]
        got = torch.autograd.grad(out.pow(3).sum(), leaves)
        expected = torch.autograd.grad(mix(sources, weight, norm=gain)[0].pow(3).sum(), leaves)
        for one, two in zip(got, expected, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtypes", [(torch.float32, torch.bfloat16), (torch.float16,), (torch.float64, torch.float32)])
def test_dtypes_and_layouts(dtypes):
    """The sum is normed before it is rounded, and a source may be transposed or empty."""
    for shape in ((5, 8), (0, 8), (8,)):
        sources = [drawn(j, *shape).to(dtypes[j % len(dtypes)]) for j in range(3)]
        if len(shape) == 2:
            sources[1] = sources[1].t().contiguous().t()
        weight, gain = drawn(20, 2, 3).float(), drawn(21, 8).float()
        got, expected = (mix(sources, weight, norm=gain, impl=impl) for impl in ("fused", "reference"))
        for one, two in zip(got, expected, strict=True):
            assert one.dtype is two.dtype
            torch.testing.assert_close(one, two)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_operators_pass_torch_s_checks(kind, keep):
    sources = [torch.randn(3, 4, requires_grad=True) for _ in range(3)]
    weight, gain = torch.randn(KINDS[kind](3, 2, 3, 4), requires_grad=True), torch.randn(4, requires_grad=True)
    torch.library.opcheck(norm.normed_op, (sources, weight, gain, keep))
    grads = [torch.randn(3, 4).bfloat16() for _ in range(2)]
    flat = [source.detach() for source in sources]
    torch.library.opcheck(norm.norm_back_op, (grads, flat, weight.detach(), gain.detach(), torch.rand(2, 3)))


def test_the_operator_has_gradients_of_its_own():
    leaves = [drawn(20, 3, 2, 3, 1).requires_grad_(), drawn(21, 4).requires_grad_()]
    sources = [drawn(j, 3, 4).requires_grad_() for j in range(3)]
    assert gradcheck(lambda w, g, *s: norm.normed_op(list(s), w, g, False)[0], (*leaves, *sources))
    outputs, scale, sums = norm.normed_op(sources, *leaves, True)
    assert not any(one.requires_grad for one in (scale, *sums)), "a loss on them would have no gradient, in silence"
    got = torch.autograd.grad(outputs[1].sum(), [*leaves, *sources])
    expected = mix(sources, leaves[0][..., 0], norm=leaves[1])[1].sum()
    for one, two in zip(got, torch.autograd.grad(expected, [*leaves, *sources]), strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch, while it traces
def test_one_graph_and_export():
    class Normed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.gain = (torch.nn.Parameter(drawn(s, *n).float()) for s, n in ((1, (1, 2)), (2, (4,))))

        def forward(self, x):
            return mix([x, x.tanh()], self.weight, norm=self.gain, impl="fused")[0]

    model, x = Normed(), drawn(3, 5, 4).float().requires_grad_()
    expected = torch.autograd.grad(model(x).pow(3).sum(), [x, *model.parameters()])
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for one, two in zip(torch.autograd.grad(compiled(x).pow(3).sum(), [x, *model.parameters()]), expected, strict=True):
        torch.testing.assert_close(one, two)
    program = torch.export.export(model, (x.detach(),))
    assert "wireloom.normed" in str(program.graph)
    torch.testing.assert_close(program.module()(x), model(x))


def test_second_derivatives_and_other_devices():
    from graphs import CompileError

    x, gain = drawn(0, 3, 4).requires_grad_(), torch.ones(4, dtype=torch.float64)
    (out,) = mix([x], torch.ones(1, 1, dtype=torch.float64), norm=gain, impl="fused")
    with pytest.raises(CompileError, match="first derivatives alone"):
        torch.autograd.grad(out.sum(), x, create_graph=True)
    with pytest.raises(CompileError, match=r"is on cpu and the weights of its mix on meta; move the whole model"):
        norm.normed([x], torch.ones(1, 1, 1, 1, device="meta"), gain, False)
    assert kernels.engine("cpu") is cpu
