"""The Triton kernels' forward pass against fp64, within budgets derived from the data: on a GPU, or interpreted."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from triton_setup import DTYPES, FP32, exact, numbers, poisoned, samples, within

from graphs.errors import CompileError
from graphs.ops import cpu
from graphs.ops import triton as ops
from graphs.ops.triton import launch
from graphs.rule_tensors import MIN_NORM

__all__ = ["poisoned"]
LAYOUTS = ("plain", "transposed", "strided", "offset")
FORMS = {"static": "mk,ktd->mtd", "token": "tmk,ktd->mtd", "channel": "mkd,ktd->mtd"}


def weight_of(kind, m, k, rows, dim):
    return numbers(1, *{"static": (m, k), "token": (rows, m, k), "channel": (m, k, dim)}[kind])


def sums(kind, weight, sources):
    """The true outputs, and what each is at most where nothing cancels."""
    x, w = exact(sources), weight.double()
    return torch.einsum(FORMS[kind], w, x), torch.einsum(FORMS[kind], w.abs(), x.abs())


def check_mix(kind, sources, m, norm=False):
    rows, dim = sources[0].shape
    weight = weight_of(kind, m, len(sources), rows, dim)
    true, scale = sums(kind, weight, sources)
    budget = (len(sources) + 8) * FP32 * scale
    if not norm:
        got = torch.stack(ops.mix(sources, weight, channels=kind == "channel"))
        assert got.dtype == cpu.promoted(sources)
        within(got, true, budget)
        return
    gain = numbers(2, dim)
    got, rstd = ops.mix(sources, weight, gain, channels=kind == "channel")
    factor = (true.square().mean(-1) + MIN_NORM).rsqrt()
    off = (true.abs() * budget).sum(-1) * factor.square() / dim + 40 * FP32  # of the factor, relative
    got = torch.stack(got)
    within(rstd, factor, off * factor)
    full = (budget + true.abs() * off[..., None]) * factor[..., None] * gain.double().abs()
    within(got, true * factor[..., None] * gain.double(), full)


@st.composite
def cases(draw):
    """The arguments of ``samples``, of a size the interpreter takes."""
    rows = draw(st.sampled_from((1, 7, 37, 123)))
    dim = draw(st.sampled_from([dim for dim in (1, 8, 24, 72, 256, 1000, 1024) if rows * dim <= 10_000]))
    k = draw(st.integers(1, max(1, min(20, 40_000 // (rows * dim)))))
    dtypes = tuple(draw(st.lists(st.sampled_from(DTYPES), min_size=1, max_size=2)))
    return draw(st.integers(0, 9)), k, (rows, dim), dtypes, draw(st.sampled_from(LAYOUTS))


@settings(max_examples=15, deadline=None)
@given(case=cases(), m=st.integers(1, 4), kind=st.sampled_from(sorted(FORMS)), norm=st.booleans())
def test_mix_is_within_its_budget(case, m, kind, norm):
    check_mix(kind, samples(*case), m, norm)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("norm", [False, True])
def test_every_kind_in_every_dtype(kind, dtype, norm):
    check_mix(kind, samples(0, 5, (37, 72), [dtype]), 5, norm)


@pytest.mark.parametrize("k", sorted({*launch.BUCKETS, 10, 13, 17, 33, 49, 65, 129}))
def test_any_number_of_sources(poisoned, k):
    check_mix("static", samples(0, k, (7, 24)), 2)


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("norm", [False, True])
def test_more_sources_and_outputs_than_one_launch_takes(poisoned, kind, norm):
    check_mix(kind, samples(0, 2 * launch.LARGEST + 1, (5, 8), [torch.bfloat16]), 2, norm)
    check_mix(kind, samples(0, 3, (5, 8), [torch.float32, torch.float16]), ops.mix.__globals__["MOST"] + 1, norm)


def test_several_programs_write_every_element(poisoned):
    check_mix("static", samples(0, 3, (123, 1024), [torch.bfloat16]), 3)
    check_mix("token", samples(0, 2, (123, 1000)), 2)
    check_mix("channel", samples(0, 2, (123, 1000)), 2, True)


def test_rows_too_long_for_all_outputs_at_once(poisoned):
    check_mix("static", samples(0, 2, (2, 8200)), 3, True)


def test_each_source_is_read_once(monkeypatch):
    seen = []
    kernel = ops.mix.__globals__["kernels"].mix_kernel

    class Counting:
        def __getitem__(self, grid):
            return lambda *args, **kw: (seen.append(kw["M"]), kernel[grid](*args, **kw))

    monkeypatch.setattr(ops.mix.__globals__["kernels"], "mix_kernel", Counting())
    check_mix("static", samples(0, 64, (3, 8)), 9)
    assert seen == [9]


@pytest.mark.filterwarnings("ignore:invalid value")  # NumPy, in the interpreter
def test_an_infinite_or_missing_number_stays_in_its_place():
    bad = torch.tensor([[1.0, torch.inf, 2.0], [torch.nan, 1.0, 1.0]], device=numbers(0, 1).device)
    fine = torch.ones_like(bad)
    out = torch.stack(ops.mix([bad, fine, fine], numbers(1, 2, 3)))  # 3 columns of a tile of 4, 2 rows of more
    assert torch.isfinite(out).tolist() == [[[True, False, True], [False, True, True]]] * 2
    normed, _ = ops.mix([bad, fine, fine], numbers(1, 2, 3), fine[0])
    assert not torch.isfinite(torch.stack(normed)).all(-1).any()
    # 10 of 12 places are used; the first source stands in the others, and must not count there.
    (rows,) = ops.mix([fine * torch.inf, *[fine] * 9], torch.ones(1, 10, device=bad.device))
    assert (rows == torch.inf).all()


def test_nothing_is_an_edge_case():
    empty = samples(0, 1, (0, 4))
    assert [out.shape for out in ops.mix(empty, numbers(0, 2, 1))] == [(0, 4)] * 2
    out, rstd = ops.mix(empty, numbers(0, 2, 1), numbers(0, 4))
    assert ([one.shape for one in out], rstd.shape) == ([(0, 4)] * 2, (2, 0))
    assert ops.mix([samples(0, 1, (1,))[0].fill_(3.0)], numbers(0, 1, 1).fill_(2.0))[0].tolist() == [6.0]
    (scalar,) = ops.mix([samples(0, 1, (1,))[0].fill_(3.0)[0]], numbers(0, 1, 1).fill_(2.0))
    assert (scalar.shape, scalar.item()) == ((), 6.0)


def test_axes_before_the_channels():
    sources, weight = samples(0, 3, (2, 5, 8)), numbers(1, 2, 5, 4, 3)
    true = torch.einsum("btmk,kbtd->mbtd", weight.double(), exact(sources))
    within(torch.stack(ops.mix(sources, weight)), true, 12 * FP32 * true.abs().max())
    out, rstd = ops.mix(sources, weight, numbers(2, 8))
    assert ([one.shape for one in out], rstd.shape) == ([(2, 5, 8)] * 4, (4, 2, 5))


def test_reruns_are_equal_to_the_bit():
    sources, weight, gain = samples(0, 9, (37, 72)), numbers(1, 3, 9), numbers(2, 72)
    assert all(map(torch.equal, ops.mix(sources, weight), ops.mix(sources, weight)))
    (one, a), (two, b) = (ops.mix(sources, weight, gain) for _ in range(2))
    assert all(map(torch.equal, (*one, a), (*two, b)))


def test_what_it_is_not_for_is_named():
    with pytest.raises(CompileError, match=r"float64, which impl='reference' takes"):
        ops.mix([torch.ones(2, 2, dtype=torch.float64)], torch.ones(1, 1))
    with pytest.raises(CompileError, match="at most 32768 channels; the sources have 32769"):
        ops.mix([torch.ones(1, 32769)], torch.ones(1, 1), torch.ones(32769))
