"""The CPU kernels against fp64, within budgets derived from the data."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs.ops import cpu

EPS = {torch.float64: 2**-53, torch.float32: 2**-24, torch.bfloat16: 2**-8, torch.float16: 2**-11}
ROWS, DIMS, DTYPES = (1, 7, 37, 123, 1000), (8, 72, 256, 1000, 8192), tuple(EPS)
LARGEST = 1_500_000  # source elements of one case


@pytest.fixture
def poisoned(monkeypatch):
    """Fresh memory holds NaN: an element that is not written shows."""
    empty = torch.empty

    def nan(*size, **kw):
        made = empty(*size, **kw)
        return made.fill_(float("nan")) if made.is_floating_point() else made

    monkeypatch.setattr(torch, "empty", nan)


def tensors(seed, count, rows, dim, dtypes, layout):
    generator = torch.Generator().manual_seed(seed)
    made = []
    for j in range(count):
        state = torch.randn(rows, dim, generator=generator, dtype=torch.float64)
        if layout == "transposed":
            state = state.t().contiguous().t()
        elif layout == "strided":
            state = state.repeat(2, 2)[::2, :dim] if rows > 1 else state.repeat(1, 2)[:, ::2]
        made.append(state.to(dtypes[j % len(dtypes)]))
    return made


def within(got, exact, scale, *, terms, inner):
    """Every element: the sum's rounding by its terms' sizes, and one rounding of the result."""
    budget = (terms + 8) * EPS[inner] * scale
    if got.dtype != inner:
        budget = budget + EPS[got.dtype] * torch.maximum(exact.abs(), torch.tensor(torch.finfo(got.dtype).tiny))
    assert torch.isfinite(got).all()
    assert ((got.double() - exact).abs() <= budget + 1e-300).all(), ((got.double() - exact).abs() / budget).max()


@st.composite
def cases(draw):
    sizes = [(rows, dim) for rows in ROWS for dim in DIMS if rows * dim <= LARGEST]
    rows, dim = draw(st.sampled_from(sizes))
    most = max(1, min(65, LARGEST // (rows * dim)))
    k = draw(st.one_of(st.just(most), st.integers(1, most)))
    dtypes = draw(st.lists(st.sampled_from(DTYPES), min_size=1, max_size=2))
    return draw(st.integers(0, 99)), k, rows, dim, dtypes, draw(st.sampled_from(("plain", "transposed", "strided")))


@settings(max_examples=25, deadline=None)
@given(case=cases(), m=st.integers(1, 5))
def test_mix_is_within_its_budget(case, m):
    sources = tensors(*case)
    weight = torch.randn(m, len(sources), generator=torch.Generator().manual_seed(1))
    out = cpu.mix(sources, weight)
    dtype = cpu.promoted(sources)
    assert (out.shape, out.dtype) == ((m, *sources[0].shape), dtype)
    exact_sources = torch.stack([source.double() for source in sources])
    exact = torch.tensordot(weight.double(), exact_sources, dims=1)
    scale = torch.tensordot(weight.double().abs(), exact_sources.abs(), dims=1)
    within(out, exact, scale, terms=len(sources), inner=cpu.accumulation(dtype))


@settings(max_examples=25, deadline=None)
@given(case=cases(), counts=st.lists(st.integers(1, 3), min_size=1, max_size=4), frozen=st.booleans())
def test_gather_is_within_its_budget(case, counts, frozen):
    seed, k, rows, dim, dtypes, layout = case
    counts = (counts * k)[: max(1, k // 3)]
    edges = tensors(seed, sum(counts) + 1, rows, dim, dtypes, layout)
    source, *flat = edges
    grads, at = [], 0
    for m in counts:
        grads.append(torch.stack([edge.to(dtypes[0]) for edge in flat[at : at + m]]))
        at += m
    weight = torch.randn(sum(counts), generator=torch.Generator().manual_seed(1))
    total, dots = cpu.gather(grads, None if frozen else source, weight)
    inner = cpu.accumulation(cpu.promoted(grads if frozen else [*grads, source]))
    assert total.dtype == dots.dtype == inner
    exact = torch.cat(grads).double()
    within(
        total,
        torch.tensordot(weight.double(), exact, dims=1),
        torch.tensordot(weight.double().abs(), exact.abs(), dims=1),
        terms=sum(counts),
        inner=inner,
    )
    if frozen:
        assert dots.numel() == 0
    else:
        products = exact * source.double()
        within(dots, products.sum((1, 2)), products.abs().sum((1, 2)), terms=24, inner=inner)


def test_the_largest_state():
    sources = tensors(0, 2, 1000, 8192, [torch.float32], "plain")
    exact = sources[0].double() * 0.5 - 2 * sources[1].double()
    scale = sources[0].double().abs() * 0.5 + 2 * sources[1].double().abs()
    within(cpu.mix(sources, torch.tensor([[0.5, -2.0]]))[0], exact, scale, terms=2, inner=torch.float32)


@pytest.mark.parametrize("size", [1, cpu.PIECE - 1, cpu.PIECE, cpu.PIECE + 1, 3 * cpu.PIECE + 5])
@pytest.mark.parametrize("m", [1, 3])
def test_every_piece_is_written(poisoned, size, m):
    sources = [torch.ones(size), torch.full((size,), 2.0)]
    assert cpu.mix(sources, torch.tensor([[1.0, 0.5]] * m)).unique().tolist() == [2.0]
    total, dots = cpu.gather([torch.ones(m, size)], sources[1], torch.ones(m))
    assert total.unique().tolist() == [m]
    assert dots.tolist() == [2.0 * size] * m
    assert cpu.gather([torch.ones(m, size)], None, torch.ones(m))[0].unique().tolist() == [m]


def test_nothing_is_an_edge_case():
    assert cpu.mix([torch.ones(0, 4)], torch.ones(2, 1)).shape == (2, 0, 4)
    assert cpu.mix([torch.tensor(3.0)], torch.full((1, 1), 2.0)).tolist() == [6.0]
    total, dots = cpu.gather([torch.ones(1, 0, 4)], torch.ones(0, 4), torch.ones(1))
    assert (total.shape, dots.tolist()) == ((0, 4), [0.0])


def test_infinite_weights_of_one_source_stay_with_it():
    out = cpu.mix([torch.ones(2), torch.full((2,), torch.inf)], torch.tensor([[1.0, 1.0]]))
    assert out.tolist() == [[torch.inf, torch.inf]]


def test_autocast_is_off_inside():
    sources = [torch.full((4, 8), 1000.5), torch.full((4, 8), 0.25)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert cpu.mix(sources, torch.ones(2, 2)).unique().tolist() == [1000.75]
        total, dots = cpu.gather([torch.full((2, 4, 8), 1000.5)], sources[1], torch.ones(2))
    assert total.unique().tolist() == [2001.0]
    assert dots.tolist() == [1000.5 * 0.25 * 32] * 2


def test_reruns_are_equal_to_the_bit():
    sources = tensors(0, 9, 123, 1000, [torch.float32], "plain")
    weight = torch.randn(2, 9)
    assert torch.equal(cpu.mix(sources, weight), cpu.mix(sources, weight))
    one, two = (cpu.gather([torch.stack(sources)], sources[0], weight[0]) for _ in range(2))
    assert all(map(torch.equal, one, two))
