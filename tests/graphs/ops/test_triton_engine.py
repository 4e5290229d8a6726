"""The engine of a GPU, interpreted where there is none: its two functions against plain torch, and whole models."""

import sys
from types import SimpleNamespace

import pytest
import torch
from fused_models import HISTORIES, assert_equal, both, probe, results
from triton_setup import CUDA, DEVICE, numbers, poisoned, samples

import graphs
from graphs import families
from graphs.ops import cpu, kernels, plain, plain_attend
from graphs.ops.triton import engine, launch
from graphs.weights import CHANNEL

__all__ = ["poisoned"]
pytestmark = [pytest.mark.gpu] if CUDA else []
CALLS = ("mix", "gather", "normed", "norm_back", "scales", "attend", "attend_delta", "attend_back")
SHAPES = {
    "static": lambda rows, m, k, dim: (1, m, k, 1),
    "token": lambda rows, m, k, dim: (rows, m, k, 1),
    "channel": lambda rows, m, k, dim: (1, m, k, dim),
    "both": lambda rows, m, k, dim: (rows, m, k, dim),
}
MODELS = {
    "dense": lambda: families.dense(6, inner=False),
    "ancre": lambda: families.ancre(5, temperature=0.5),
    "grouped": lambda: HISTORIES["grouped"](),
    "wide": lambda: HISTORIES["wide"](),
    "normed": lambda: HISTORIES["normed"](),
    "hyper-static": lambda: families.hyper(3, streams=2),
    "hyper-dynamic": lambda: families.hyper(3, streams=2, dynamic=True),
    "attnres": lambda: families.attnres(4),
    "attnres-blocks": lambda: families.attnres(5, block=2),
    "mudd": lambda: families.mudd(3),
    "layerscale": lambda: families.layerscale(3),
}


@pytest.fixture
def everywhere(monkeypatch):
    """The engine for every device, as is and through the operators; counts its calls."""
    calls = []

    def counted(name):
        return lambda *args: calls.append(name) or getattr(engine, name)(*args)

    made = SimpleNamespace(**{name: counted(name) for name in CALLS})
    monkeypatch.setattr(kernels, "engine", lambda device: made)
    return calls


def close(got, expected):
    assert got.dtype == expected.dtype
    tolerance = {torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}[got.dtype]
    size = max(expected.abs().max().item(), 1e-3) if expected.numel() else 1
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance * size)


@pytest.mark.parametrize("layout", ["plain", "transposed", "strided"])
@pytest.mark.parametrize("kind", SHAPES)
def test_mix_is_that_of_other_engines(poisoned, kind, layout):
    sources = samples(0, 5, (7, 24), (torch.float32, torch.bfloat16), layout)
    weight = numbers(1, *SHAPES[kind](7, 3, 5, 24))
    for got, expected in zip(engine.mix(sources, weight), cpu.mix(sources, weight), strict=True):
        close(got, expected)
        assert got.stride() == expected.stride()


@pytest.mark.parametrize("m", [1, 3, 17])
@pytest.mark.parametrize("k", [1, 6])
@pytest.mark.parametrize("kind", SHAPES)
def test_gather_is_that_of_other_engines(poisoned, kind, k, m):
    """Columns of all kinds in one call: with and without a source, with and without a gradient."""
    *sources, _ = samples(0, k + 1, (7, 24), (torch.float32, torch.bfloat16))
    grads, weight = samples(1, m, (7, 24), (torch.bfloat16,)), numbers(2, *SHAPES[kind](7, m, k, 24))
    for turn in range(4 if k == 1 else 1):
        some = [None if (j + turn) % 2 else source for j, source in enumerate(sources)]
        wanted = [(j + turn) % 4 < 2 for j in range(k)]
        for dtype in (None, torch.bfloat16):
            totals, products = engine.gather(grads, some, weight, wanted, dtype)
            expected, dots = plain.gather(grads, some, weight, wanted, dtype)
            close(products, dots)
            for got, one in zip(totals, expected, strict=True):
                close(got, one)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("layout", ["plain", "transposed"])
@pytest.mark.parametrize("kind", SHAPES)
def test_a_norm_is_that_of_other_engines(poisoned, kind, layout, keep):
    sources, gain = samples(0, 5, (7, 24), (torch.float32, torch.bfloat16), layout), numbers(2, 24)
    weight, grads = numbers(1, *SHAPES[kind](7, 3, 5, 24)), samples(3, 3, (7, 24), (torch.bfloat16,))
    made, expected = (which.normed(sources, weight, gain, keep) for which in (engine, plain))
    for got, one in zip((*made[0], made[1], *made[2]), (*expected[0], expected[1], *expected[2]), strict=True):
        close(got, one)
    made, expected = (which.norm_back(grads, sources, weight, gain, expected[1]) for which in (engine, plain))
    for got, one in zip((*made[0], made[1]), (*expected[0], expected[1]), strict=True):
        close(got, one)


def test_rows_too_long_for_a_program_go_to_plain_torch(monkeypatch):
    asked = []
    for name in ("normed", "norm_back"):
        real = getattr(plain, name)
        monkeypatch.setattr(plain, name, lambda *args, real=real, name=name: asked.append(name) or real(*args))
    monkeypatch.setattr(launch, "WIDEST", 8)
    for dim in (8, 9):
        sources, weight, gain = samples(0, 2, (3, dim)), numbers(1, 1, 1, 2, 1), numbers(2, dim)
        _, scale, _ = engine.normed(sources, weight, gain, False)
        engine.norm_back(sources[:1], sources, weight, gain, scale)
        assert len(asked) == 2 * (dim > 8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("widest", [24, 23])
def test_attention_is_that_of_other_engines(poisoned, monkeypatch, dtype, widest):
    """Rows too long for a program, and fp64, go to plain torch."""
    plainly = []
    for name in ("scales", "attend", "attend_delta", "attend_back"):
        real = getattr(plain_attend, name)
        monkeypatch.setattr(plain_attend, name, lambda *a, real=real, name=name: plainly.append(name) or real(*a))
    monkeypatch.setattr(launch, "WIDEST", widest)
    sources, keys = samples(0, 4, (7, 24), (dtype,)), numbers(1, 2, 24)
    grads, found = samples(3, 2, (7, 24), (dtype,)), []
    factors = [plain.scales(source) for source in sources]
    seen = [plain.attend(sources, factors, key) for key in keys]
    delta = torch.stack([plain.attend_delta(grad, one[0]) for grad, one in zip(grads, seen, strict=True)], -1)
    logits, lse = torch.stack([one[1][:, 0] for one in seen], -1), torch.stack([one[2] for one in seen], -1)
    plainly.clear()
    for which in (engine, plain):
        each = [which.scales(source) for source in sources]
        each += [one for key in keys for one in which.attend(sources, factors, key)]
        each += [which.attend_delta(grad, one[0]) for grad, one in zip(grads, seen, strict=True)]
        total, slope = which.attend_back(grads, sources[0], keys, logits, lse, delta, factors[0], True, True)
        found.append([*each, *total, slope])
        if which is engine:
            assert bool(plainly) is (widest < 24 or dtype is torch.float64)
    for one, two in zip(*found, strict=True):
        (torch.testing.assert_close if dtype is torch.float64 else close)(one, two)


@pytest.mark.parametrize("kind", SHAPES)
def test_plain_torch_is_right(kind):
    sources = [state.double() for state in samples(0, 4, (5, 6))]
    grads, weight = [state.double() for state in samples(1, 3, (5, 6))], numbers(2, *SHAPES[kind](5, 3, 4, 6)).double()
    wide = weight.expand(5, -1, -1, 6)
    for i, got in enumerate(plain.mix(sources, weight)):
        torch.testing.assert_close(got, sum(wide[:, i, j] * source for j, source in enumerate(sources)))
    totals, products = plain.gather(grads, sources, weight, [True] * 4)
    for j, got in enumerate(totals):
        torch.testing.assert_close(got, sum(wide[:, i, j] * grad for i, grad in enumerate(grads)))
    true = torch.einsum("itd,jtd->tijd", torch.stack(grads), torch.stack(sources))
    for axis in (0, 3):
        true = true.sum(axis, keepdim=True) if weight.shape[axis] == 1 else true
    torch.testing.assert_close(products, true)


def test_what_goes_to_plain_torch(monkeypatch):
    """fp64, and weights per token and per channel at once: by dtype and shape, before anything is launched."""
    asked = []
    for name in ("mix", "gather"):
        real = getattr(plain, name)
        monkeypatch.setattr(plain, name, lambda *args, real=real, name=name: asked.append(name) or real(*args))
    single, double = samples(0, 2, (3, 4)), [state.double() for state in samples(0, 2, (3, 4))]
    for sources, weight in ((double, numbers(1, 1, 2, 2, 1)), (single, numbers(1, 3, 2, 2, 4))):
        engine.mix(sources, weight)
        engine.gather(sources, sources, weight, [True, False])
    assert asked == ["mix", "gather"] * 2
    engine.mix(single, numbers(1, 1, 2, 2, 1).double())
    assert asked == ["mix", "gather"] * 2, "a weight of another dtype is converted"


def test_outputs_and_gradients_are_separate_and_nothing_is_stacked(monkeypatch):
    """A block may change its input in place, and one output does not keep the others alive."""
    large, weight = samples(0, 6, (64, 64)), numbers(1, 1, 4, 6, 1)
    grads = samples(1, 4, (64, 64))
    given = {one.data_ptr() for one in (*large, *grads)}
    made, taken = [], []
    for name in ("empty", "empty_like"):
        real = getattr(torch, name)
        monkeypatch.setattr(torch, name, lambda *a, real=real, **kw: made.append(real(*a, **kw)) or made[-1])
    modules = engine.mix_into.__globals__["kernels"], engine.spread_into.__globals__["kernels"]
    for module, name in zip(modules, ("mix_kernel", "spread_kernel"), strict=True):
        kernel = getattr(module, name)

        class Seen:
            def __getitem__(self, grid, kernel=kernel):
                return lambda *args, **kw: (taken.extend(args), kernel[grid](*args, **kw))

        monkeypatch.setattr(module, name, Seen())
    outs = engine.mix(large, weight)
    totals, _ = engine.gather(grads, large, weight, [True] * 6, torch.float32)
    monkeypatch.undo()
    for tensors in (outs, totals):
        assert len({one.untyped_storage().data_ptr() for one in tensors}) == len(tensors)
        assert all(one.untyped_storage().nbytes() == 4 * 64 * 64 for one in tensors)
    assert sum(one.numel() >= 64 * 64 for one in made) == len(outs) + len(totals)
    pointers = {one.data_ptr() for each in taken if isinstance(each, tuple) for one in each}
    assert given <= pointers, "the kernels read the tensors themselves"


def test_nothing_is_an_edge_case():
    empty = samples(0, 2, (0, 4))
    assert [one.shape for one in engine.mix(empty, numbers(0, 1, 3, 2, 1))] == [(0, 4)] * 3
    totals, products = engine.gather(empty, empty, numbers(0, 1, 2, 2, 1), [True, False])
    assert ([one.shape for one in totals], products.abs().sum().item()) == ([(0, 4)], 0.0)
    number = torch.tensor(3.0, device=DEVICE)
    assert engine.mix([number], torch.full((1, 1, 1, 1), 2.0, device=DEVICE))[0].tolist() == 6.0
    totals, products = engine.gather([number], [None], torch.ones(1, 1, 1, 1, device=DEVICE), [False])
    assert (totals, products.flatten().tolist()) == ([], [0.0])


@pytest.mark.parametrize("name", MODELS)
def test_whole_models(everywhere, name):
    reference, fused = (model.to(DEVICE) for model in both(MODELS[name](), torch.float32))
    x = probe(torch.float32).detach().to(DEVICE)
    got = results(fused, x.clone().requires_grad_())
    used = set(CALLS[4:]) if name.startswith("attnres") else {"mix", "gather"}
    assert used <= set(everywhere) or name == "hyper-dynamic", "seams have kernels of their own"
    expected = results(reference.double(), x.double().requires_grad_())
    assert_equal([one.double() for one in got], expected, 2e-5)


@pytest.mark.parametrize("name", ["dense", "grouped", "hyper-static", "layerscale", "normed", "attnres"])
def test_whole_models_in_sixteen_bits(everywhere, name):
    reference, fused = (model.to(DEVICE) for model in both(MODELS[name](), torch.float32))
    x = probe(torch.float32).detach().to(DEVICE).bfloat16()
    expected = results(reference.double(), x.double().requires_grad_())
    got = results(fused.to(torch.bfloat16), x.clone().requires_grad_())
    assert {one.dtype for one in got} == {torch.bfloat16, torch.float32}
    for one, two in zip(got, expected, strict=True):
        largest = max(each.norm().item() for each in expected)
        assert (one.double() - two).norm() < 0.05 * two.norm() + 0.005 * largest


def test_through_the_operators(everywhere, monkeypatch):
    monkeypatch.setattr(kernels, "eager", lambda weight: False)
    reference, fused = (model.to(DEVICE) for model in both(MODELS["grouped"](), torch.float32))
    x = probe(torch.float32).detach().to(DEVICE)
    assert_equal(results(fused, x.clone().requires_grad_()), results(reference, x.clone().requires_grad_()), 5e-5)
    sources, weight = samples(0, 2, (3, 4), (torch.float32,), "transposed"), numbers(0, 1, 2, 2, 1)
    torch.library.opcheck(kernels.mix_op, (sources, weight))
    torch.library.opcheck(kernels.gather_op, (sources, [sources[0], None], weight, [True, True], torch.bfloat16))
    torch.library.opcheck(kernels.mix_op, ([sources[0], sources[1].contiguous()], numbers(0, 3, 2, 2, 1)))
    assert "gather" in everywhere


def test_frozen_weights_and_blocks_in_place(everywhere):
    reference, fused = (model.to(DEVICE) for model in both(MODELS["dense"](), torch.float32))
    x = probe(torch.float32).detach().to(DEVICE)
    for model in (reference, fused):
        model.weights.requires_grad_(False)
    expected = results(reference, x.clone().requires_grad_())
    for block in list(fused.blocks)[1:]:
        block.change = lambda u: u.mul_(1)
    assert_equal(results(fused, x.clone().requires_grad_()), expected, 5e-5)


def test_which_engine_a_device_has(monkeypatch):
    kernels.engine.cache_clear()
    try:
        assert kernels.engine("cpu") is cpu
        assert kernels.engine("cuda") is engine
        assert kernels.engine("mps") is plain
        kernels.engine.cache_clear()
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.warns(UserWarning, match=r"triton is not installed \(pip install 'wireloom\[gpu\]'\)"):
            assert kernels.engine("cuda") is plain
        assert kernels.engine("cuda") is plain, "said once"
    finally:
        kernels.engine.cache_clear()


@pytest.mark.parametrize("k", [3, 9])
def test_through_a_norm(everywhere, k):
    sources, weight, gain = samples(0, k, (2, 4)), numbers(1, 2, k), numbers(2, 4)
    leaves = [one.requires_grad_() for one in (*sources, weight, gain)]
    found = []
    for impl in ("fused", "reference"):
        outs = graphs.mix(sources, weight, norm=gain, impl=impl)
        found.append([*outs, *torch.autograd.grad(sum(out.pow(3).sum() for out in outs), leaves)])
    assert_equal(*found, 2e-5)
    assert everywhere == ["normed", *["norm_back"] * (2 if k > 8 else 1), "gather"], "many sources: the sums are kept"


def test_finer_weights(everywhere):
    sources, weight = samples(0, 3, (2, 4)), numbers(1, 2, 3, 4)
    leaves = [one.requires_grad_() for one in (*sources, weight)]
    found = []
    for impl in ("fused", "reference"):
        outs = graphs.mix(sources, weight, grain=CHANNEL, impl=impl)
        found.append([*outs, *torch.autograd.grad(sum(out.pow(2).sum() for out in outs), leaves)])
    assert_equal(*found, 2e-5)
    assert everywhere == ["mix", "gather"]
    assert launch.LARGEST == 64
    assert "triton" in sys.modules
