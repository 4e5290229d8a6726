import itertools
import math
from fractions import Fraction as F

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs import Constant, Parameter, Product, Softmax, Sum, TopologyError
from graphs.weights import (
    CHANNEL,
    MATRIX,
    SCALAR,
    Bernoulli,
    Generated,
    Grain,
    Permutations,
    Place,
    Sigmoid,
    Tanh,
    Times,
    beside,
    evaluate,
    identity,
    multiply,
    ones,
    parameters,
    pick,
    place,
    stacked,
    support,
    transpose,
    walk,
)

P = Parameter("p", ((0, 0, 0), (0, 0, 0)))
MASKED = Parameter("m", ((1, 0), (0, 2)), ((True, False), (False, True)))
COUNT = itertools.count()  # every drawn parameter has a name of its own
NUMBERS = (0, 0, 1, 1, -1, 2, F(1, 3), F(-5, 2))
sides = st.integers(1, 3)


def _matrix(draw, m, k, entry):
    return tuple(tuple(draw(entry) for _ in range(k)) for _ in range(m))


@st.composite
def rules(draw, m=None, k=None, level=0, positive=False):
    """An expression of shape (m, k); ``positive`` ones have no entry below zero, so that nothing cancels."""
    m, k = m or draw(sides), k or draw(sides)
    entry = st.sampled_from([number for number in NUMBERS if number >= 0 or not positive])
    kinds = ["constant", "parameter", "parameter", "bernoulli"]
    kinds += ["sum", "product", "times", "scaled", "place", "tanh", "permutations"] if level < 2 else []
    kind = draw(st.sampled_from(kinds))

    def inner(rows, columns):
        return draw(rules(rows, columns, level + 1, positive))

    match kind:
        case "constant":
            return Constant(_matrix(draw, m, k, entry))
        case "parameter":
            mask = _matrix(draw, m, k, st.booleans())
            initial = _matrix(draw, m, k, entry)
            return Parameter(f"p{next(COUNT)}", initial, mask) if any(map(any, mask)) else Constant(initial)
        case "bernoulli":
            keep = _matrix(draw, m, k, st.sampled_from([0, F(1, 2), 1]))
            return Bernoulli(f"b{next(COUNT)}", keep)
        case "sum":
            return Sum(tuple(inner(m, k) for _ in range(draw(st.integers(1, 3)))))
        case "product":
            h = draw(sides)
            return Product(inner(m, h), inner(h, k))
        case "times":
            return Times(inner(m, k), inner(m, k))
        case "scaled":
            pair = [inner(1, 1), inner(m, k)]
            return Times(*(pair if draw(st.booleans()) else reversed(pair)))
        case "place":
            of = inner(draw(sides), draw(sides))
            cells = [
                (i, j, draw(st.integers(0, of.shape[0] - 1)), draw(st.integers(0, of.shape[1] - 1)))
                for i in range(m)
                for j in range(k)
                if draw(st.booleans())
            ]
            return Place(of, (m, k), tuple(cells))
        case "tanh":
            return Tanh(inner(m, k))
    size = draw(st.integers(1, 3))
    mixed = Permutations(inner(1, (1, 1, 2, 6)[size]), size)
    return pick(mixed, [i % size for i in range(m)], [(j + 1) % size for j in range(k)])


def _values(draw, weight, number):
    """A draw for what is learned; the entries that are fixed stay."""
    return {
        p.name: tuple(
            tuple(draw(number) if p.trains(i, j) else p.initial[i][j] for j in range(p.shape[1]))
            for i in range(p.shape[0])
        )
        for p in parameters(weight)
    }


learned = st.sampled_from([0, 1, -1, F(1, 7), F(-9, 5), 3])


@given(st.data(), rules())
def test_support_holds_whatever_is_learned(data, rule):
    on, unit = support(rule), rule.units()
    assert rule.shape == (len(on), len(on[0])) == (len(unit), len(unit[0]))
    for _ in range(4):
        rows = evaluate(rule, _values(data.draw, rule, learned))
        for i, row in enumerate(rows):
            for j, entry in enumerate(row):
                assert on[i][j] or entry == 0, "what is no edge is zero for ever"
                assert not unit[i][j] or abs(entry) == 1, "what costs no multiplication is one or minus one for ever"


@given(st.data(), rules(positive=True))
def test_support_is_the_pattern_of_what_can_be_other_than_zero(data, rule):
    above = st.sampled_from([F(1, 7), 1, 3])
    rows = evaluate(rule, _values(data.draw, rule, above))
    assert support(rule) == tuple(tuple(entry != 0 for entry in row) for row in rows)


def test_support_by_hand():
    assert support(Sum((Constant(((0, 1), (0, 0))), MASKED))) == ((True, True), (False, True))
    put = Constant(((0, 0, 1), (1, 0, 0)))
    assert support(Product(MASKED, put)) == ((False, False, True), (True, False, False))
    assert support(Product(Constant(((1, 0),)), MASKED)) == ((True, False),)
    nested = Sum((Constant(((0, 0, 0),)), Product(Softmax(Parameter("s", ((0, 0),))), put)))
    assert support(nested) == ((True, False, True),)
    assert support(Softmax(nested)) == ((True,) * 3,)
    assert support(Times(MASKED, Constant(((0, 1), (1, 1))))) == ((False, False), (False, True))
    assert support(Times(Constant(((0,),)), P)) == ((False,) * 3,) * 2
    assert support(Place(MASKED, (1, 3), ((0, 0, 0, 1), (0, 2, 1, 1)))) == ((False, False, True),)


def test_units_by_hand():
    one = Constant(((1, -1, 2),))
    assert Place(one, (2, 2), ((0, 0, 0, 1), (1, 1, 0, 2))).units() == ((True, False), (False, False))
    assert Sum((one, Constant(((0, 0, 0),)))).units() == ((True, True, False),)
    assert Sum((one, Parameter("p", ((0, 0, 0),)))).units() == ((False,) * 3,), "learned numbers come on top"
    assert Sum((one, one)).units() == ((False,) * 3,), "twice one"
    assert Sum((one, Parameter("p", ((0, 0, 0),), ((True, False, False),)))).units() == ((False, True, False),)
    assert Product(one, ones(3, 1)).units() == ((False,),)


@settings(max_examples=60)
@given(st.data())
def test_helpers_are_what_they_say_of_matrices(data):
    weight = data.draw(rules())
    m, k = weight.shape
    rows = evaluate(weight)
    on = support(weight)

    def shows(rule, expected, edges):
        """These numbers, and no edge where there was none (cancelled constants may leave fewer)."""
        now, flags = evaluate(rule), support(rule)
        for row, right in zip(now, expected, strict=True):  # constants that cancel may be left out: 1 + x - 1
            assert all(math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-12) for a, b in zip(row, right, strict=True))
        for row, live, allowed in zip(now, flags, edges, strict=True):
            assert all(not entry or on for entry, on in zip(row, live, strict=True))
            assert all(not on or may for on, may in zip(live, allowed, strict=True))

    shows(transpose(weight), zip(*rows, strict=True), zip(*on, strict=True))
    assert evaluate(transpose(transpose(weight))) == rows
    some = data.draw(st.lists(st.integers(0, m - 1), min_size=1, max_size=4))
    others = data.draw(st.lists(st.integers(0, k - 1), min_size=1, max_size=4))
    shows(
        pick(weight, some, others),
        [[rows[i][j] for j in others] for i in some],
        [[on[i][j] for j in others] for i in some],
    )
    assert evaluate(pick(weight, rows=some)) == tuple(rows[i] for i in some)
    assert evaluate(pick(weight, columns=others)) == tuple(tuple(row[j] for j in others) for row in rows)
    assert pick(weight) is weight or evaluate(pick(weight)) == rows

    tall, wide = m + data.draw(st.integers(0, 2)), k + data.draw(st.integers(0, 2))
    down = data.draw(st.permutations(range(tall)))[:m]
    across = data.draw(st.permutations(range(wide)))[:k]
    where = {(i, j): (a, b) for a, i in enumerate(down) for b, j in enumerate(across)}
    put = [[rows[where[i, j][0]][where[i, j][1]] if (i, j) in where else 0 for j in range(wide)] for i in range(tall)]
    placed = place(weight, (tall, wide), down, across)
    assert evaluate(placed) == tuple(map(tuple, put))
    assert evaluate(pick(placed, down, across)) == rows
    first = place(weight, (tall, wide))
    assert evaluate(pick(first, range(m), range(k))) == rows
    assert not any(any(row[k:]) for row in evaluate(first))
    assert not any(map(any, evaluate(first)[m:]))

    other = data.draw(rules(m=m))
    shows(
        beside(weight, other),
        [a + b for a, b in zip(rows, evaluate(other), strict=True)],
        [a + b for a, b in zip(on, support(other), strict=True)],
    )
    below = data.draw(rules(k=k))
    shows(stacked(weight, below), rows + evaluate(below), on + support(below))
    assert evaluate(stacked(weight)) == evaluate(beside(weight)) == rows


@settings(max_examples=60)
@given(st.data())
def test_multiply_is_the_matrix_product(data):
    left = data.draw(rules())
    right = data.draw(rules(m=left.shape[1]))
    product = multiply(left, right)
    assert evaluate(product) == evaluate(Product(left, right))
    assert product.shape == (left.shape[0], right.shape[1])
    moves = _matrix(data.draw, left.shape[1], data.draw(sides), st.just(0))
    moves = tuple(tuple(int(data.draw(st.integers(0, 2)) == j) for j in range(len(row))) for row in moves)
    for a, b in ((left, Constant(moves)), (Constant(tuple(zip(*moves, strict=True))), transpose(left))):
        moved = multiply(a, b)
        assert evaluate(moved) == evaluate(Product(a, b))
        if all(sum(column) <= 1 for column in zip(*moves, strict=True)):
            assert not (isinstance(moved, Product) and moved.children == (a, b)), (
                "moving entries about multiplies nothing"
            )


def test_helpers_work_out_what_they_can():
    a, b = Constant(((1, 2), (0, F(1, 2)))), Constant(((3, 0), (-1, 1)))
    assert multiply(a, b) == Constant(((1, 2), (F(-1, 2), F(1, 2))))
    assert multiply(a, MASKED) == Product(a, MASKED)
    assert pick(a, [1], [1, 0]) == Constant(((F(1, 2), 0),))
    assert place(a, (2, 3), columns=[2, 0]) == Constant(((2, 0, 1), (F(1, 2), 0, 0)))
    assert transpose(transpose(P)) == P
    assert pick(pick(P, [1, 0]), [1]) == Place(P, (1, 3), tuple((0, j, 0, j) for j in range(3)))
    assert pick(place(P, (4, 4)), [3], [0, 1]) == Constant(((0, 0),)), "only what the placement left at zero"
    assert pick(P) is P
    assert beside(a, b) == Constant(((1, 2, 3, 0), (0, F(1, 2), -1, 1)))
    assert beside(Constant(((0,), (0,))), P) == place(P, (2, 4), columns=[1, 2, 3])
    assert isinstance(beside(ones(2, 1), P), Sum)
    assert multiply(identity(2), P) is P
    assert multiply(P, identity(3)) is P


def test_shapes_that_do_not_fit():
    with pytest.raises(TopologyError, match="a sum of weights of different shapes"):
        Sum((P, ones(2, 2)))
    with pytest.raises(TopologyError, match="a sum of weights"):
        Sum(())
    with pytest.raises(TopologyError, match=r"a product of weights of shapes \(2, 3\) and \(2, 3\)"):
        Product(P, P)
    with pytest.raises(
        TopologyError, match=r"a entry-wise product of weights of different shapes: \[\(2, 3\), \(2, 2\)\]"
    ):
        Times(P, MASKED)
    with pytest.raises(TopologyError, match="different shapes"):
        Times(Constant(((1, 2, 3),)), P)
    assert Times(Constant(((2,),)), P).shape == Times(P, Constant(((2,),))).shape == (2, 3)
    assert Times(Constant(((2,),)), Constant(((3,),))).shape == (1, 1)
    with pytest.raises(TopologyError, match="a sum of weights of different shapes"):
        beside(P, ones(3, 1))
    with pytest.raises(TopologyError, match="a sum of weights of different shapes"):
        stacked(P, ones(1, 2))


@pytest.mark.parametrize(
    ("size", "cells", "says"),
    [
        ((0, 1), (), "two entries for one place, or none at all"),
        ((1, 0), (), "two entries for one place, or none at all"),
        ((-1, 2), (), "two entries for one place, or none at all"),
        ((2, 2), ((0, 0, 0, 0), (0, 0, 1, 1)), "two entries for one place"),
        ((2, 2), ((0, 2, 0, 0),), r"a placement of entr.* of \(2, 3\)"),
        ((2, 2), ((2, 0, 0, 0),), "a placement of entr"),
        ((2, 2), ((-1, 0, 0, 0),), "a placement of entr"),
        ((2, 2), ((0, 0, 2, 0),), "a placement of entr"),
        ((2, 2), ((0, 0, 0, 3),), "a placement of entr"),
        ((2, 2), ((0, 0, 0, -1),), "a placement of entr"),
    ],
)
def test_placements_that_make_no_sense(size, cells, says):
    with pytest.raises(TopologyError, match=says):
        Place(P, size, cells)


def test_the_order_of_cells_does_not_matter():
    cells = ((0, 0, 1, 2), (1, 1, 0, 0))
    assert Place(P, (2, 2), cells) == Place(P, [2, 2], [list(cell) for cell in reversed(cells)])
    assert hash(Place(P, (2, 2), cells)) == hash(Place(P, (2, 2), cells[::-1]))


def test_evaluate_by_hand():
    a, b = Constant(((1, 2), (0, F(1, 2)))), Constant(((3, 0), (-1, 1)))
    assert evaluate(Product(a, MASKED)) == ((1, 4), (0, 1))
    assert evaluate(Sum((a, MASKED, b))) == ((5, 2), (-1, F(7, 2)))
    assert evaluate(Times(a, b)) == ((3, 0), (0, F(1, 2)))
    assert evaluate(Times(Constant(((3,),)), a)) == evaluate(Times(a, Constant(((3,),)))) == ((3, 6), (0, F(3, 2)))
    assert evaluate(Place(a, (1, 3), ((0, 2, 1, 1), (0, 0, 0, 1)))) == ((2, 0, F(1, 2)),)


def test_flags_and_grain_are_those_of_what_is_inside():
    plain, gain, mixing = P, Parameter("g", P.initial, grain=CHANNEL), Parameter("h", P.initial, grain=Grain(2, True))
    seen, random = Generated("s", (2, 3), (0,)), Bernoulli("b", P.initial)
    for build in (lambda a, b: Sum((a, b)), Times, lambda a, b: Product(a, transpose(b)), beside):
        assert build(plain, plain).grain == SCALAR
        assert build(plain, gain).grain == build(gain, gain).grain == CHANNEL
        assert build(mixing, plain).grain == Grain(2, True)
        assert build(gain, mixing).grain == MATRIX
        assert not build(plain, gain).per_token
        assert not build(plain, gain).random
        assert build(plain, seen).per_token
        assert build(random, plain).random
    assert Sigmoid(Sum((seen, random))).per_token
    assert [type(rule) for rule in walk(Sigmoid(Sum((seen, random))))] == [Generated, Bernoulli, Sum, Sigmoid]
