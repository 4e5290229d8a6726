"""The CPU kernels, compiled and in pieces of torch, against fp64, within budgets derived from the data."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs.ops import cpu, native

EPS = {torch.float64: 2**-53, torch.float32: 2**-24, torch.bfloat16: 2**-8, torch.float16: 2**-11}
ROWS, DIMS, DTYPES = (1, 7, 37, 123, 1000), (8, 72, 256, 1000, 8192), tuple(EPS)
LARGEST = 1_000_000  # source elements of one case
KINDS = ("static", "token", "channel", "both")
needs_native = pytest.mark.skipif(not native.available(torch.float32), reason="no C compiler here")


@pytest.fixture(params=[pytest.param("native", marks=needs_native), "pieces"])
def engine(request, monkeypatch):
    if request.param == "pieces":
        monkeypatch.setattr(native, "available", lambda dtype: False)
    return request.param


@pytest.fixture
def poisoned(monkeypatch):
    """Fresh memory holds NaN: an element that is not written shows."""
    empty = torch.empty_like

    def nan(*arguments, **kw):
        made = empty(*arguments, **kw)
        return made.fill_(float("nan")) if made.is_floating_point() else made

    monkeypatch.setattr(torch, "empty_like", nan)


def tensors(seed, count, rows, dim, dtypes, layout):
    generator = torch.Generator().manual_seed(seed)
    made = []
    for j in range(count):
        state = torch.randn(rows, dim, generator=generator, dtype=torch.float64)
        if layout == "transposed" or (layout == "mixed" and j % 2):
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


def weights(kind, rows, m, k, dim, seed=1):
    shape = {"static": (1, m, k, 1), "token": (rows, m, k, 1), "channel": (1, m, k, dim), "both": (rows, m, k, dim)}
    return torch.randn(shape[kind], generator=torch.Generator().manual_seed(seed))


@st.composite
def cases(draw):
    sizes = [(rows, dim) for rows in ROWS for dim in DIMS if rows * dim <= LARGEST]
    rows, dim = draw(st.sampled_from(sizes))
    most = max(1, min(65, LARGEST // (rows * dim)))
    k = draw(st.one_of(st.just(most), st.integers(1, most)))
    dtypes = draw(st.lists(st.sampled_from(DTYPES), min_size=1, max_size=2))
    layout = draw(st.sampled_from(("plain", "transposed", "mixed", "strided")))
    return draw(st.integers(0, 99)), k, rows, dim, dtypes, layout


def _with(engine):
    """Hypothesis runs many cases under one fixture: the engine is a plain argument."""
    patch = pytest.MonkeyPatch()
    if engine == "pieces":
        patch.setattr(native, "available", lambda dtype: False)
    return patch


@pytest.mark.parametrize("engine", [pytest.param("native", marks=needs_native), "pieces"])
@settings(max_examples=40, deadline=None)
@given(case=cases(), m=st.integers(1, 18), kind=st.sampled_from(KINDS))
def test_mix_is_within_its_budget(engine, case, m, kind):
    sources = tensors(*case)
    rows, dim = sources[0].shape
    m = min(m, max(1, LARGEST // (rows * dim)))
    weight = weights(kind, rows, m, len(sources) if rows * dim * len(sources) * m < 4 * LARGEST else 1, dim)
    sources = sources[: weight.shape[2]]
    patch = _with(engine)
    out = cpu.mix(sources, weight)
    patch.undo()
    dtype = cpu.promoted(sources)
    assert {(one.shape, one.dtype) for one in out} == {(sources[0].shape, dtype)}
    exact = torch.stack([source.double() for source in sources])
    wide = weight.double().expand(rows, -1, -1, dim)
    for i, one in enumerate(out):
        terms = wide[:, i].transpose(0, 1) * exact
        within(one, terms.sum(0), terms.abs().sum(0), terms=len(sources), inner=cpu.accumulation(dtype))


@pytest.mark.parametrize("engine", [pytest.param("native", marks=needs_native), "pieces"])
@settings(max_examples=40, deadline=None)
@given(case=cases(), k=st.integers(1, 6), kind=st.sampled_from(KINDS), pick=st.integers(0))
def test_gather_is_within_its_budget(engine, case, k, kind, pick):
    _, most, rows, dim, dtypes, _ = case
    k = min(k, most)
    m = max(1, most - k)
    everything = tensors(case[0], m + k, rows, dim, dtypes, case[5])
    grads, sources = everything[:m], everything[m:]
    weight = weights(kind, rows, m, k, dim)
    given_sources = [source if pick >> j & 1 else None for j, source in enumerate(sources)]
    wanted = [bool(pick >> (j + 6) & 1) for j in range(k)]
    patch = _with(engine)
    totals, products = cpu.gather(grads, given_sources, weight, wanted)
    patch.undo()
    inner = cpu.accumulation(cpu.promoted([*grads, *(source for source in given_sources if source is not None)]))
    assert {one.dtype for one in (*totals, products)} == {inner}
    assert products.shape == weight.shape
    exact = torch.stack([grad.double() for grad in grads])
    wide = weight.double().expand(rows, -1, -1, dim)
    assert len(totals) == sum(wanted)
    for one, j in zip(totals, (j for j in range(k) if wanted[j]), strict=True):
        terms = wide[:, :, j].transpose(0, 1) * exact
        within(one, terms.sum(0), terms.abs().sum(0), terms=m, inner=inner)
    for j, source in enumerate(given_sources):
        if source is None:
            assert not products[:, :, j].any()
            continue
        terms = (exact * source.double()).transpose(0, 1)  # (rows, m, dim)
        axes = [axis for axis, size in ((0, weight.shape[0]), (2, weight.shape[3])) if size == 1]
        summed, scale = (side.sum(axes, keepdim=True) if axes else side for side in (terms, terms.abs()))
        within(products[:, :, j], summed, scale, terms=max(24, dim // 16), inner=inner)


def test_the_largest_state(engine):
    sources = tensors(0, 2, 1000, 8192, [torch.float32], "plain")
    exact = sources[0].double() * 0.5 - 2 * sources[1].double()
    scale = sources[0].double().abs() * 0.5 + 2 * sources[1].double().abs()
    (out,) = cpu.mix(sources, torch.tensor([0.5, -2.0]).view(1, 1, 2, 1))
    within(out, exact, scale, terms=2, inner=torch.float32)
    _, products = cpu.gather([sources[0]], [sources[1]], torch.ones(1, 1, 1, 1), [False])
    terms = sources[0].double() * sources[1].double()
    within(products.view(()), terms.sum(), terms.abs().sum(), terms=24, inner=torch.float32)


@pytest.mark.parametrize("size", [1, 511, 512, 513, cpu.PIECE, cpu.PIECE + 1, 3 * cpu.PIECE + 5])
@pytest.mark.parametrize("m", [1, 3, 17, 33])
def test_every_piece_is_written(engine, poisoned, size, m):
    sources = [torch.ones(size), torch.full((size,), 2.0)]
    out = cpu.mix(sources, torch.tensor([[1.0, 0.5]] * m).view(1, m, 2, 1))
    assert torch.stack(out).unique().tolist() == [2.0]
    ones, weight = [torch.ones(size)] * m, torch.ones(1, m, 2, 1)
    totals, products = cpu.gather(ones, sources, weight, [True, True])
    assert torch.stack(totals).unique().tolist() == [m]
    assert products.flatten().tolist() == [1.0 * size, 2.0 * size] * m
    assert cpu.gather(ones, [None, None], weight, [False, True])[0][0].unique().tolist() == [m]


@pytest.mark.parametrize("size", [1, 511, 512, 513, 1300])
def test_every_piece_of_a_token_is_written(engine, poisoned, size):
    sources = [torch.ones(5, size), torch.full((5, size), 2.0)]
    weight = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 3, 2, 1)
    for out in cpu.mix(sources, weight):
        assert torch.equal(out, 3 * torch.arange(5.0)[:, None].expand(5, size))
    totals, products = cpu.gather([torch.ones(5, size)] * 3, sources, weight, [True, True])
    for total in totals:
        assert torch.equal(total, 3 * torch.arange(5.0)[:, None].expand(5, size))
    assert products[..., 0].unique(dim=0).tolist() == [[[size, 2 * size]] * 3]


def test_nothing_is_an_edge_case(engine):
    assert [one.shape for one in cpu.mix([torch.ones(0, 4)], torch.ones(1, 2, 1, 1))] == [(0, 4)] * 2
    assert cpu.mix([torch.tensor(3.0)], torch.full((1, 1, 1, 1), 2.0))[0].tolist() == 6.0
    totals, products = cpu.gather([torch.ones(0, 4)], [torch.ones(0, 4)], torch.ones(1, 1, 1, 1), [True])
    assert (totals[0].shape, products.flatten().tolist()) == ((0, 4), [0.0])


def test_infinite_weights_of_one_source_stay_with_it(engine):
    (out,) = cpu.mix([torch.ones(2), torch.full((2,), torch.inf)], torch.ones(1, 1, 2, 1))
    assert out.tolist() == [torch.inf, torch.inf]


def test_autocast_is_off_inside(engine):
    sources = [torch.full((4, 8), 1000.5), torch.full((4, 8), 0.25)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.stack(cpu.mix(sources, torch.ones(1, 2, 2, 1))).unique().tolist() == [1000.75]
        (total,), products = cpu.gather([sources[0]] * 2, [sources[1]], torch.ones(1, 2, 1, 1), [True])
    assert total.unique().tolist() == [2001.0]
    assert products.flatten().tolist() == [1000.5 * 0.25 * 32] * 2


@pytest.mark.parametrize("kind", ["static", "token"])
def test_reruns_are_equal_to_the_bit(engine, kind):
    sources = tensors(0, 9, 123, 1000, [torch.float32], "plain")
    weight = weights(kind, 123, 2, 9, 1000)
    first = cpu.mix(sources, weight)
    grads = cpu.gather(sources[:2], sources, weight, [True] * 9)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            assert all(map(torch.equal, cpu.mix(sources, weight), first))
            again = cpu.gather(sources[:2], sources, weight, [True] * 9)
            assert all(map(torch.equal, again[0], grads[0]))
            assert engine == "pieces" or torch.equal(again[1], grads[1]), "whatever the number of threads"
    finally:
        torch.set_num_threads(threads)
