import itertools
import math
from fractions import Fraction as F

import pytest
from graph_oracles import entries
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs import Constant, Parameter, Softmax, TopologyError
from graphs.weights import (
    CHANNEL,
    MATRIX,
    Grain,
    Permutations,
    Place,
    Sigmoid,
    Sinkhorn,
    Tanh,
    TopK,
    evaluate,
    matmul,
    support,
)

P = Parameter("p", ((0, 0, 0), (0, 0, 0)))
SQUARE = Parameter("s", ((0, 0), (0, 0)))
numbers = st.one_of(st.integers(-5, 5), st.fractions(-5, 5, max_denominator=7), st.floats(-5, 5))


def square(size):
    return st.lists(st.lists(numbers, min_size=size, max_size=size).map(tuple), min_size=size, max_size=size).map(tuple)


@pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf, True, "1", None, 10**400])
def test_temperature_and_scale_are_above_zero(bad):
    with pytest.raises(TopologyError, match=r"softmax temperature is .*; a number above 0 was expected"):
        Softmax(P, bad)
    with pytest.raises(TopologyError, match=r"the scale of a sigmoid is .*; a number above 0 was expected"):
        Sigmoid(P, bad)


def test_softmax_axis():
    for over in ("rows", None, 1):
        with pytest.raises(TopologyError, match=r"softmax over .*; 'sources' or 'destinations' was expected"):
            Softmax(P, over=over)


def test_the_greatest_are_chosen_exactly_and_of_equal_ones_the_last():
    scores = Parameter("c", ((F(1, 3), 0.5, F(1, 2), -7), (2, 2, 2, 2), (10**30, 10**30 + 1, 0, F(1, 10**9))))
    assert evaluate(TopK(scores, 1)) == ((0, 0, 1, 0), (0, 0, 0, 1), (0, 1, 0, 0))
    assert evaluate(TopK(scores, 2)) == ((0, 1, 1, 0), (0, 0, 1, 1), (1, 1, 0, 0))
    assert evaluate(TopK(scores, 4)) == ((1,) * 4,) * 3
    assert evaluate(TopK(Softmax(P, 0.1), 2)) == ((0, 1, 1),) * 2
    assert evaluate(TopK(P, 1), {"p": ((3, 1, 2), (1, 2, 3))}) == ((1, 0, 0), (0, 0, 1))
    assert support(TopK(P, 1)) == ((True,) * 3,) * 2, "any of them may be chosen later"


@given(st.lists(numbers, min_size=1, max_size=7), st.integers(1, 7))
@settings(max_examples=100, deadline=None)
def test_as_many_as_were_asked_for_and_none_left_out_is_greater(row, fan_in):
    fan_in = min(fan_in, len(row))
    (chosen,) = evaluate(TopK(Parameter("r", (tuple(row),)), fan_in))
    assert chosen == tuple(entries(TopK(Parameter("r", (tuple(row),)), fan_in), {})[0])
    assert sum(chosen) == fan_in
    left = [entry for entry, one in zip(row, chosen, strict=True) if not one]
    assert not left or max(left) <= min(entry for entry, one in zip(row, chosen, strict=True) if one)


@pytest.mark.parametrize("bad", [0, -1, 4, True, 1.0, "1", None])
def test_a_fan_in_is_a_number_of_sources(bad):
    with pytest.raises(TopologyError, match=r"a choice of .* among 3 sources; 1 to 3 was expected"):
        TopK(P, bad)
    with pytest.raises(TopologyError, match=r"weights of grain channel; one number an edge was expected"):
        TopK(Parameter("c", ((1, 2),), grain=CHANNEL), 1)


@pytest.mark.parametrize("grain", [MATRIX, Grain(2, full=True)], ids=str)
@pytest.mark.parametrize("function", [Softmax, Sigmoid, Sinkhorn])
def test_functions_of_weights_that_mix_channels_have_no_meaning(function, grain):
    with pytest.raises(TopologyError, match="weights that mix channels; scalar or channel weights were expected"):
        function(Parameter("m", ((1,),), grain=grain))
    assert function(Parameter("m", ((1,),), grain=CHANNEL)).grain == CHANNEL
    assert Tanh(Parameter("m", ((1,),), grain=grain)).grain == grain, "entry by entry: zero stays zero"


def test_equal_logits_are_exactly_uniform():
    assert evaluate(Softmax(P, 0.01)) == ((F(1, 3),) * 3,) * 2
    assert evaluate(Softmax(P, 0.01, "destinations")) == ((F(1, 2),) * 3,) * 2
    assert isinstance(evaluate(Softmax(P))[0][0], F)
    assert evaluate(Softmax(P), {"p": ((F(2, 3),) * 3, (4,) * 3)}) == ((F(1, 3),) * 3,) * 2
    assert evaluate(Sinkhorn(SQUARE)) == evaluate(Sinkhorn(Constant(((7, 7), (7, 7))), 1)) == ((F(1, 2),) * 2,) * 2


def test_softmax_of_unequal_logits():
    logits = Parameter("l", ((0, 1), (2, -1)))
    rows = evaluate(Softmax(logits, 0.5))
    assert rows[0] == pytest.approx((1 / (1 + math.exp(2)), 1 / (1 + math.exp(-2))), rel=1e-15)
    assert rows[1] == pytest.approx((1 / (1 + math.exp(-6)), 1 / (1 + math.exp(6))), rel=1e-15)
    columns = evaluate(Softmax(logits, 0.5, "destinations"))
    assert (columns[0][0], columns[1][0]) == pytest.approx((1 / (1 + math.exp(4)), 1 / (1 + math.exp(-4))), rel=1e-15)
    assert columns[0][1] + columns[1][1] == pytest.approx(1, rel=1e-15)
    assert evaluate(Softmax(Parameter("l", ((0, 10**6),)), 1e-3)) == ((0, 1),)


def test_sigmoid_and_tanh_by_hand():
    logits = Constant(((0, 2, -2, 1000, -1000),))
    gates = evaluate(Sigmoid(logits, 2))[0]
    assert gates == pytest.approx((1, 2 / (1 + math.exp(-2)), 2 / (1 + math.exp(2)), 2, 0), rel=1e-15)
    assert (gates[0], type(gates[0])) == (1, F), "exact at zero"
    bent = evaluate(Tanh(logits))[0]
    assert bent == pytest.approx((0, math.tanh(2), -math.tanh(2), 1, -1), rel=1e-15)
    assert type(bent[0]) is int
    assert support(Tanh(Constant(((0, 1),)))) == ((False, True),)
    assert support(Sigmoid(Constant(((0, 1),)))) == ((True, True),), "a half, not nothing"


@settings(max_examples=40)
@given(st.integers(1, 4).flatmap(square), st.sampled_from([1, 3, 20]))
def test_sinkhorn_is_doubly_stochastic(logits, iterations):
    rule = Sinkhorn(Constant(logits), iterations)
    rows = evaluate(rule)
    for row, expected in zip(rows, entries(rule, {}), strict=True):
        assert row == pytest.approx([float(entry) for entry in expected], rel=1e-10, abs=1e-300)
    assert [float(sum(row)) for row in rows] == pytest.approx([1] * len(rows), rel=1e-12), "rows come last: exact"
    assert all(entry > 0 for row in rows for entry in row)
    near = tuple(tuple(entry / 5 for entry in row) for row in logits)
    columns = zip(*evaluate(Sinkhorn(Constant(near), 100)), strict=True)
    assert [float(sum(column)) for column in columns] == pytest.approx([1] * len(rows), rel=1e-9)


def test_sinkhorn_divides_columns_first():
    rows = evaluate(Sinkhorn(Constant(((0, math.log(3)), (0, 0))), 1))
    # exp: [1 3; 1 1], columns: [1/2 3/4; 1/2 1/4], rows: [2/5 3/5; 2/3 1/3]
    assert sum(rows, ()) == pytest.approx((2 / 5, 3 / 5, 2 / 3, 1 / 3), rel=1e-14)


def test_sinkhorn_of_far_logits():
    for far in (-800, -1e6, 1e6):
        assert evaluate(Sinkhorn(Constant(((0, far), (0, far))))) == ((0.5, 0.5), (0.5, 0.5)), "a column of nothing"
        assert evaluate(Sinkhorn(Constant(((0, -abs(far)), (-abs(far), 0))))) == ((1, 0), (0, 1))


@pytest.mark.parametrize("iterations", [0, -1, 2.0, True, None, "3"])
def test_sinkhorn_that_makes_no_sense(iterations):
    with pytest.raises(TopologyError, match=r"Sinkhorn iterations; at least 1 was expected"):
        Sinkhorn(SQUARE, iterations)
    with pytest.raises(TopologyError, match=r"a doubly stochastic matrix is square; this one has shape \(2, 3\)"):
        Sinkhorn(P)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_permutations_are_all_there_and_the_identity_is_first(size):
    count = math.factorial(size)
    seen = []
    for s in range(count):
        rows = evaluate(Permutations(Constant((tuple(int(t == s) for t in range(count)),)), size))
        seen.append(tuple(row.index(1) for row in rows))
        assert all(sorted(row) == [0] * (size - 1) + [1] for row in rows)
        assert matmul(rows, tuple(zip(*rows, strict=True))) == evaluate(
            Permutations(Constant((tuple(int(t == 0) for t in range(count)),)), size)
        )
    assert seen == list(itertools.permutations(range(size))), "output i reads source s[i]"
    assert seen[0] == tuple(range(size))


def test_mixtures_of_permutations():
    rule = Permutations(Softmax(Parameter("p", ((0,) * 6,))), 3)
    assert rule.shape == (3, 3)
    assert evaluate(rule) == ((F(1, 3),) * 3,) * 3
    rows = evaluate(Permutations(Constant(((F(1, 2), 0, 0, F(1, 3), 0, F(1, 6)),)), 3))
    # identity, (1 2 0) and (2 1 0)
    assert rows == (
        (F(1, 2), F(1, 3), F(1, 6)),
        (0, F(2, 3), F(1, 3)),
        (F(1, 2), 0, F(1, 2)),
    )


def test_support_of_permutations():
    lone = Place(Parameter("p", ((1,),)), (1, 6), ((0, 3, 0, 0),))
    assert support(Permutations(lone, 3)) == ((False, True, False), (False, False, True), (True, False, False))
    assert support(Permutations(Softmax(lone), 3)) == ((True,) * 3,) * 3


@pytest.mark.parametrize("size", [0, -1, 6, 2.0, True, None])
def test_permutations_of_too_many(size):
    with pytest.raises(TopologyError, match=r"permutations of .*; 1 to 5 streams were expected"):
        Permutations(Constant(((1,),)), size)


def test_permutations_have_as_many_weights():
    with pytest.raises(TopologyError, match=r"permutations of 3 has weights of shape \(1, 6\), not \(1, 3\)"):
        Permutations(Constant(((1, 2, 3),)), 3)
    with pytest.raises(TopologyError, match=r"shape \(1, 2\), not \(2, 1\)"):
        Permutations(Constant(((1,), (2,))), 2)


def test_flags_and_grain_are_those_of_what_is_inside():
    for function in (Softmax, Sigmoid, Tanh, Sinkhorn):
        rule = function(Parameter("p", ((1, 2), (3, 4)), grain=CHANNEL))
        assert (rule.shape, rule.grain, rule.per_token, rule.random) == ((2, 2), CHANNEL, False, False)
        assert rule.units() == ((False, False), (False, False))
