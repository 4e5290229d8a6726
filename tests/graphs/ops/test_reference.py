import itertools
from fractions import Fraction as F

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from graphs.ops.reference import mix, without_autocast
from graphs.weights import CHANNEL, MATRIX, SCALAR, Grain

A = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
B = torch.tensor([[10.0, 0.0], [0.0, 10.0], [-1.0, 1.0]])


def _double(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def test_static_by_hand():
    out = mix([A, B], torch.tensor([[1.0, 2.0], [0.5, 0.0], [0.0, -1.0]]))
    assert [o.tolist() for o in out] == [
        [[21.0, 2.0], [3.0, 24.0], [3.0, 8.0]],
        [[0.5, 1.0], [1.5, 2.0], [2.5, 3.0]],
        [[-10.0, 0.0], [0.0, -10.0], [1.0, -1.0]],
    ]


def test_fixed_rows_by_hand():
    out = mix([A, B], ((1, 1), (F(1, 2), 0), (0, -1), (0, 0)))
    assert [o.tolist() for o in out] == [
        [[11.0, 2.0], [3.0, 14.0], [4.0, 7.0]],
        [[0.5, 1.0], [1.5, 2.0], [2.5, 3.0]],
        [[-10.0, 0.0], [0.0, -10.0], [1.0, -1.0]],
        [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]],
    ]


def test_per_token_by_hand():
    weight = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[2.0, -1.0]]])
    (out,) = mix([A, B], weight)
    assert out.tolist() == [[1.0, 2.0], [0.0, 10.0], [11.0, 11.0]]


def test_one_source_and_many():
    (out,) = mix([A], torch.tensor([[3.0]]))
    assert out.tolist() == (3 * A).tolist()
    sources = [A * i for i in range(40)]
    (out,) = mix(sources, torch.ones(1, 40))
    torch.testing.assert_close(out, A * sum(range(40)))


def test_shapes_of_any_rank():
    for shape in ((2,), (3, 2), (2, 3, 2), (2, 1, 3, 2)):
        sources = [_double(*shape, seed=i) for i in range(3)]
        static = _double(2, 3, seed=9)
        out = mix(sources, static)
        assert [o.shape for o in out] == [torch.Size(shape)] * 2
        rows = mix(sources, tuple(map(tuple, static.tolist())))
        tokens = mix(sources, static.expand(*shape[:-1], 2, 3))
        for one, other, third in zip(out, rows, tokens, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)
            torch.testing.assert_close(one, third, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("leading", [(), (4,)])
def test_gradients_of_learned_weights(leading):
    sources = tuple(_double(4, 3, seed=i) for i in range(3))
    weight = _double(*leading, 2, 3, seed=5)

    def call(weight, *sources):
        return mix(sources, weight)

    assert gradcheck(call, (weight, *sources))
    assert gradgradcheck(call, (weight, *sources))


def test_gradients_of_fixed_rows():
    sources = tuple(_double(4, 3, seed=i) for i in range(3))

    def call(*sources):
        return mix(sources, ((1, 0.5, -1), (0, 1, 1)))

    assert gradcheck(call, sources)
    assert gradgradcheck(lambda *s: tuple(o.pow(2) for o in call(*s)), sources)


@pytest.mark.parametrize("kind", ["rows", "static", "per token"])
@pytest.mark.parametrize(
    ("one", "other", "result"),
    [
        (torch.float32, torch.bfloat16, torch.float32),
        (torch.float16, torch.bfloat16, torch.float32),
        (torch.bfloat16, torch.bfloat16, torch.bfloat16),
        (torch.float16, torch.float16, torch.float16),
        (torch.float64, torch.float32, torch.float64),
        (torch.float32, torch.float32, torch.float32),
    ],
)
def test_the_result_has_the_promoted_dtype(kind, one, other, result):
    weight = {"rows": ((1, 1),), "static": torch.ones(1, 2), "per token": torch.ones(3, 1, 2)}[kind]
    (out,) = mix([A.to(one), B.to(other)], weight)
    assert out.dtype is result
    assert out.tolist() == (A + B).tolist()


@pytest.mark.parametrize("kind", ["rows", "static", "per token"])
def test_fp64_weights_do_not_promote_the_states(kind):
    weight = {"rows": ((1.0, 1.0),), "static": torch.ones(1, 2), "per token": torch.ones(3, 1, 2)}[kind]
    if isinstance(weight, torch.Tensor):
        weight = weight.double()
    assert mix([A, B], weight)[0].dtype is torch.float32


@pytest.mark.parametrize("kind", ["rows", "static", "per token"])
@pytest.mark.parametrize(("dtype", "big"), [(torch.float16, 2048.0), (torch.bfloat16, 256.0)])
def test_sixteen_bits_accumulate_in_fp32(kind, dtype, big):
    """big + 1 is big in 16 bits, so a running sum would lose every one of the small sources."""
    sources = [torch.full((3, 2), big, dtype=dtype)] + [torch.ones(3, 2, dtype=dtype)] * 8
    lost = sources[0]
    for source in sources[1:]:
        lost = lost + source
    assert lost.unique().tolist() == [big]
    weight = {"rows": ((1,) * 9,), "static": torch.ones(1, 9), "per token": torch.ones(3, 1, 9)}[kind]
    (out,) = mix(sources, weight)
    assert out.unique().tolist() == [big + 8]


@pytest.mark.parametrize("kind", ["static", "per token"])
def test_weights_keep_fp32_for_sixteen_bit_states(kind):
    weight = torch.tensor([[1 + 2**-12, -1.0]])
    if kind == "per token":
        weight = weight.expand(3, 1, 2)
    (out,) = mix([torch.ones(3, 2, dtype=torch.bfloat16)] * 2, weight)
    assert out.unique().tolist() == [2**-12]


@pytest.mark.parametrize("kind", ["rows", "static", "per token"])
def test_autocast_does_not_lower_the_precision(kind):
    """Matrix products are on autocast's list: the sum of an fp32 stream must not be taken in bf16."""
    sources = [torch.full((3, 2), 1000.5), torch.full((3, 2), 0.25, dtype=torch.bfloat16)]
    weight = {"rows": ((1, 1),), "static": torch.ones(1, 2), "per token": torch.ones(3, 1, 2)}[kind]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (out,) = mix(sources, weight)
    assert out.dtype is torch.float32
    assert out.unique().tolist() == [1000.75]


def test_devices_without_autocast_are_left_alone():
    with without_autocast(torch.empty(1, device="meta")):
        pass
    sources = [torch.empty(3, 2, device="meta")] * 2
    assert mix(sources, torch.empty(4, 2, device="meta"))[3].shape == (3, 2)


@pytest.mark.parametrize("static", [True, False])
def test_vmap(static):
    batch = torch.randn(5, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    weights = torch.randn(5, *(() if static else (3,)), 2, 2, generator=torch.Generator().manual_seed(1))

    def call(states, weight):
        return mix([states[0], states[1]], weight)

    together = torch.vmap(call)(batch, weights)
    for n in range(5):
        for one, other in zip(together, call(batch[n], weights[n]), strict=True):
            torch.testing.assert_close(one[n], other)
    fixed = torch.vmap(lambda states: mix([states[0], states[1]], ((1, 2),)))(batch)
    torch.testing.assert_close(fixed[0], batch[:, 0] + 2 * batch[:, 1])


def test_jacobians_by_torch_func():
    jacobian = torch.func.jacrev(lambda w: mix([A, B], w)[0])(torch.ones(1, 2))
    torch.testing.assert_close(jacobian[..., 0, :], torch.stack([A, B], -1))


def test_zeros_cost_nothing_and_ones_no_multiplication():
    nan = torch.full_like(A, float("nan"))
    (out,) = mix([A, nan], ((1, 0),))
    assert out is A or out.tolist() == A.tolist()
    x = A.clone().requires_grad_()
    (out,) = mix([x, B], ((1, 0),))
    assert out.grad_fn is None or "Mul" not in type(out.grad_fn).__name__


GRAINS = {"scalar": SCALAR, "channel": CHANNEL, "parts": Grain(2), "fraction": Grain(2, True), "matrix": MATRIX}


def _entry(grain, dim):
    return (grain.width(dim),) * (0 if grain == SCALAR else 2 if grain.full else 1)


def _by_definition(sources, weight, grain):
    """Token by token and channel by channel, in Python's own numbers."""
    dim = sources[0].shape[-1]
    tokens = sources[0].shape[:-1]
    weight = weight.expand(*tokens, *weight.shape[-2 - len(_entry(grain, dim)) :])
    run = dim // grain.width(dim)
    m, k = weight.shape[len(tokens) : len(tokens) + 2]
    out = [torch.zeros(*tokens, dim, dtype=torch.float64) for _ in range(m)]
    for at in itertools.product(*map(range, tokens)):
        for i, j, c in itertools.product(range(m), range(k), range(dim)):
            entry, state = weight[at][i, j], sources[j][at]
            if grain == SCALAR:
                value = entry * state[c]
            elif not grain.full:
                value = entry[c // run] * state[c]
            else:
                value = sum(entry[c // run, q] * state[q * run + c % run] for q in range(grain.width(dim)))
            out[i][at][c] += value
    return out


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 1, 4), (2, 3, 6), (0, 4), (3, 2)])
@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("name", GRAINS)
def test_every_grain_is_the_definition(name, per_token, shape):
    grain = GRAINS[name]
    sources = [_double(*shape, seed=i).detach() for i in range(3)]
    weight = _double(*(shape[:-1] if per_token else ()), 2, 3, *_entry(grain, shape[-1]), seed=9).detach()
    out = mix(sources, weight, grain)
    assert len(out) == 2
    for one, other in zip(out, _by_definition(sources, weight, grain), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("name", GRAINS)
def test_gradients_of_every_grain(name, per_token):
    grain = GRAINS[name]
    sources = tuple(_double(2, 4, seed=i) for i in range(2))
    weight = _double(*((2,) if per_token else ()), 2, 2, *_entry(grain, 4), seed=5)

    def call(weight, *sources):
        return mix(sources, weight, grain)

    assert gradcheck(call, (weight, *sources))
    if name in ("channel", "fraction"):
        assert gradgradcheck(call, (weight, *sources))


@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("name", GRAINS)
def test_any_memory_layout(name, per_token):
    """Transposed, expanded, strided and flipped inputs: the same numbers as contiguous ones."""
    grain = GRAINS[name]
    sources = [
        _double(4, 3, 2, seed=0).detach().movedim(0, -1),
        _double(3, 1, 4, seed=1).detach().expand(3, 2, 4),
        _double(3, 2, 8, seed=2).detach()[..., ::2],
        _double(2, 3, 4, seed=3).detach().transpose(0, 1).flip(-1),
    ]
    entry = _entry(grain, 4)
    weight = _double(*entry, *((3, 2) if per_token else ()), 4, 2, seed=4).detach()
    weight = weight.transpose(-1, -2)
    weight = weight.permute(*range(len(entry), weight.ndim), *range(len(entry)))  # the entries' axes last
    assert not weight.is_contiguous()
    out = mix(sources, weight, grain)
    expected = mix([source.contiguous() for source in sources], weight.contiguous(), grain)
    for one, other in zip(out, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", ["channel", "parts", "fraction", "matrix"])
@pytest.mark.parametrize("per_token", [False, True])
def test_finer_weights_keep_precision(name, per_token):
    """16-bit states are mixed in fp32, also under autocast; the outputs have their promoted dtype."""
    grain = GRAINS[name]
    sources = [torch.full((3, 4), 256.0, dtype=torch.bfloat16)] + [torch.ones(3, 4, dtype=torch.bfloat16)] * 8
    one = torch.eye(*_entry(grain, 4)) if grain.full else torch.ones(_entry(grain, 4))
    weight = one.expand(*((3,) if per_token else ()), 1, 9, *one.shape)
    assert mix(sources, weight, grain)[0].unique().tolist() == [264]
    fine = [torch.full((3, 4), 1000.5), torch.full((3, 4), 0.25, dtype=torch.bfloat16)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (out,) = mix(fine, weight[..., :2, :, :] if grain.full else weight[..., :2, :], grain)
    assert out.dtype is torch.float32
    assert out.unique().tolist() == [1000.75]
    assert mix([torch.ones(3, 4)] * 9, weight.double(), grain)[0].dtype is torch.float32


@pytest.mark.parametrize("name", ["channel", "fraction", "matrix"])
def test_vmap_of_every_grain(name):
    grain = GRAINS[name]
    batch, weights = _double(5, 2, 3, 4).detach(), _double(5, 2, 2, *_entry(grain, 4), seed=1).detach()
    together = torch.vmap(lambda states, weight: mix([states[0], states[1]], weight, grain))(batch, weights)
    for n in range(5):
        for one, other in zip(together, mix([*batch[n]], weights[n], grain), strict=True):
            torch.testing.assert_close(one[n], other, rtol=1e-13, atol=1e-13)
