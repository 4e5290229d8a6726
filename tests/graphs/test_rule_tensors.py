import math

import pytest
import torch
from graph_oracles import sinkhorn as plain_sinkhorn

from graphs import Constant, Parameter, Softmax, Sum
from graphs.rule_tensors import (
    MIN_NORM,
    combine,
    lift,
    normalise,
    permuted,
    permuted_constant,
    place_index,
    placed,
    product,
    sinkhorn,
)
from graphs.weights import (
    CHANNEL,
    MATRIX,
    SCALAR,
    Grain,
    Permutations,
    Place,
    Sigmoid,
    Sinkhorn,
    Tanh,
    Times,
    TopK,
    evaluate,
)

DIM = 4
GRAINS = [SCALAR, CHANNEL, MATRIX, Grain(2), Grain(2, full=True)]
TOKENS = [(), (3,), (2, 3)]


def _random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _entry(grain):
    return (grain.width(DIM),) * (0 if grain == SCALAR else 2 if grain.full else 1)


def _whole(tensor, grain):
    """Every entry a (dim, dim) matrix on the channels."""
    return lift(tensor, grain, MATRIX, DIM)


def _p(grain, m=1, k=1, name="p"):
    return Parameter(name, ((1,) * k,) * m, grain=grain)


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("grain", GRAINS, ids=str)
def test_a_product_acts_as_both_one_after_the_other(grain, tokens):
    left, right = _random(*tokens, 2, 3, *_entry(grain)), _random(3, 4, *_entry(grain), seed=1)
    for a, b in ((left, right), (_random(2, 3, *_entry(grain), seed=2), right.expand(*tokens, *right.shape))):
        got = _whole(product(a, b, grain), grain)
        one, two = _whole(a, grain), _whole(b, grain)
        expected = sum(one[..., :, h, None, :, :] @ two[..., None, h, :, :, :] for h in range(3))
        torch.testing.assert_close(got, expected, rtol=1e-13, atol=1e-13)
        assert got.shape == (*tokens, 2, 4, DIM, DIM)


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("grain", GRAINS, ids=str)
@pytest.mark.parametrize(
    "cells", [((0, 0, 1, 2), (1, 3, 0, 0), (1, 0, 1, 2)), tuple((i, j, i, j) for i in (0, 1) for j in (0, 1, 2, 3))]
)
def test_placed_entries(cells, grain, tokens):
    inner = _random(*tokens, 2, 4, *_entry(grain))
    rule = Place(_p(grain, 2, 4), (2, 4), cells)
    index = torch.tensor(place_index(rule))
    got = placed(inner, rule, index, len(_entry(grain)))
    assert got.shape == inner.shape
    where = {(i, j): (a, b) for i, j, a, b in cells}
    before = len(tokens)
    for i in range(2):
        for j in range(4):
            entry = got.select(before, i).select(before, j)
            if (i, j) in where:
                a, b = where[i, j]
                assert torch.equal(entry, inner.select(before, a).select(before, b))
            else:
                assert not entry.any()


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("grain", GRAINS, ids=str)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_mixtures_of_permutations(size, grain, tokens):
    count = math.factorial(size)
    inner = _random(*tokens, 1, count, *_entry(grain))
    rule = Permutations(_p(grain, 1, count), size)
    table = torch.tensor(permuted_constant(rule), dtype=torch.float64)
    got = permuted(inner, rule, table)
    assert got.shape == (*tokens, size, size, *_entry(grain))
    expected = torch.zeros_like(got)
    for s in range(count):
        matrix = evaluate(Permutations(Constant((tuple(int(t == s) for t in range(count)),)), size))
        matrix = torch.tensor(matrix, dtype=torch.float64).reshape(size, size, *[1] * len(_entry(grain)))
        weight = inner.select(len(tokens), 0).select(len(tokens), s)
        expected += matrix * weight.reshape(*tokens, 1, 1, *_entry(grain))
    torch.testing.assert_close(got, expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("grain", [SCALAR, CHANNEL], ids=str)
@pytest.mark.parametrize("iterations", [1, 2, 20])
def test_sinkhorn_is_the_definition(iterations, grain, tokens):
    logits = _random(*tokens, 3, 3, *_entry(grain))
    got = sinkhorn(logits, iterations, len(_entry(grain)))
    last = logits if grain == SCALAR else logits.movedim(-1, 0)
    expected = plain_sinkhorn(last, iterations)
    expected = expected if grain == SCALAR else expected.movedim(0, -1)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(got.sum(dim=len(tokens) + 1), torch.ones_like(got.sum(dim=len(tokens) + 1)))


def test_sinkhorn_never_overflows():
    far = torch.tensor([[0.0, -2000.0], [3000.0, -1e6]], requires_grad=True)
    rows = sinkhorn(far, 20, 0)
    torch.testing.assert_close(rows.sum(1), torch.ones(2))
    assert rows.isfinite().all()
    rows[0, 0].backward()
    assert far.grad.isfinite().all()


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize(("first", "second"), [(a, b) for a in GRAINS for b in GRAINS])
def test_sums_and_factors_of_any_two_grains(first, second, tokens):
    """Entries act on the channels as matrices: they add, and a product is the left after the right."""
    a, b = _random(*tokens, 2, 3, *_entry(first)), _random(2, 3, *_entry(second), seed=1)
    parts = _p(first, 2, 3), _p(second, 2, 3, "q")
    total, factor = Sum(parts), Times(*parts)
    one, two = _whole(a, first), _whole(b, second)
    for rule, expected in ((total, one + two), (factor, one @ two)):
        got = _whole(combine(rule, [a, b], DIM), rule.grain)
        torch.testing.assert_close(got, expected.expand_as(got), rtol=1e-13, atol=1e-13)
    lone = Times(_p(first), _p(second, 2, 3, "q"))
    got = _whole(combine(lone, [a[..., :1, :1, *[slice(None)] * len(_entry(first))], b], DIM), lone.grain)
    torch.testing.assert_close(got, one[..., :1, :1, :, :] @ two, rtol=1e-13, atol=1e-13)
    assert got.shape == (*tokens, 2, 3, DIM, DIM)


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("grain", [SCALAR, CHANNEL, Grain(2)], ids=str)
def test_functions_look_at_each_part_alone(grain, tokens):
    logits = _random(*tokens, 2, 3, *_entry(grain))
    axes, of = len(_entry(grain)), _p(grain, 2, 3)
    rows = combine(Softmax(of, 0.5), [logits], DIM)
    torch.testing.assert_close(rows.sum(-1 - axes), torch.ones(*tokens, 2, *_entry(grain)).double())
    torch.testing.assert_close(
        rows[..., 0, 0].log() - rows[..., 1, 0].log() if axes else rows[..., 0].log() - rows[..., 1].log(),
        2 * (logits[..., 0, 0] - logits[..., 1, 0] if axes else logits[..., 0] - logits[..., 1]),
    )
    columns = combine(Softmax(of, 2.0, "destinations"), [logits], DIM)
    torch.testing.assert_close(columns.sum(-2 - axes), torch.ones(*tokens, 3, *_entry(grain)).double())
    torch.testing.assert_close(combine(Sigmoid(of, 3), [logits], DIM), 3 / (1 + (-logits).exp()))
    torch.testing.assert_close(combine(Tanh(of), [logits], DIM), logits.tanh())
    square = _random(*tokens, 3, 3, *_entry(grain))
    got = combine(Sinkhorn(_p(grain, 3, 3), 4), [square], DIM)
    torch.testing.assert_close(got, sinkhorn(square, 4, axes))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("fan_in", [1, 3, 7])
def test_the_choice_is_exact_and_its_gradient_is_that_of_what_was_ranked(fan_in, dtype):
    torch.manual_seed(fan_in)
    weight = TopK(Softmax(Parameter("p", ((0,) * 7,) * 5), 0.3), fan_in)
    logits = (torch.randint(-3, 3, (5, 7)) / 4).to(dtype).requires_grad_()  # many are equal
    soft = combine(weight.of, [logits], DIM)
    hard = combine(weight, [soft], DIM)
    values = {"p": tuple(map(tuple, logits.tolist()))}
    assert hard.tolist() == [list(map(float, row)) for row in evaluate(weight, values)], "ones and zeros, to the bit"
    assert torch.equal(torch.vmap(lambda row: combine(weight, [row], DIM))(soft), hard)
    up = torch.randn(5, 7, dtype=dtype)
    (through,) = torch.autograd.grad(hard, soft, up, retain_graph=True)
    assert torch.equal(through, up), "also where it is not chosen"
    (got,) = torch.autograd.grad(hard, logits, up)
    step, dense = 1e-6, torch.zeros(5, 7, dtype=torch.float64)
    for i in range(5):
        for j in range(7):
            moved = torch.zeros(5, 7, dtype=torch.float64)
            moved[i, j] = step
            ends = [(torch.softmax((logits.double() + sign * moved) / 0.3, -1) * up).sum() for sign in (1, -1)]
            dense[i, j] = (ends[0] - ends[1]) / (2 * step)
    torch.testing.assert_close(got.double(), dense, rtol=1e-4, atol=1e-5 if dtype is torch.float32 else 1e-8)


@pytest.mark.parametrize("norm", ["none", "rms", "layer"])
def test_norms_by_hand(norm):
    keys = torch.tensor([[1.0, 2.0, 3.0, 6.0], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    mean = torch.tensor([[3.0], [0.0]]) if norm == "layer" else torch.zeros(2, 1)
    centred = keys - mean
    scale = 1 if norm == "none" else (centred.square().mean(-1, keepdim=True) + MIN_NORM).sqrt()
    torch.testing.assert_close(normalise(keys, norm, None), centred / scale, rtol=1e-14, atol=0)
    gain = torch.tensor([1.0, -1.0, 0.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(normalise(keys, norm, gain), centred / scale * gain, rtol=1e-14, atol=0)
    assert normalise(keys, norm, gain)[1].tolist() == [0, 0, 0, 0], "nothing stays nothing, and no division by zero"
