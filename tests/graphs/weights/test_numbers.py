import math
from fractions import Fraction as F

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs import Constant, Parameter, TopologyError
from graphs.weights import Bernoulli, matmul, matrix, shape_of
from graphs.weights.numbers import exact, finite, full


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ((), "empty"),
        (((),), "empty"),
        (((1, 2), (3,)), "differ in length"),
        (((1, True),), "True"),
        (((1, None),), "None"),
        (((1, "2"),), "'2'"),
        (((1j,),), "1j"),
        (((1, 2), (3, math.nan)), r"\[1\]\[1\] is nan; a finite"),
        (((math.inf,),), "finite"),
        (((-math.inf,),), "finite"),
        (((10**400,),), "finite"),
        (((F(10**400),),), "finite"),
    ],
)
def test_a_bad_matrix_is_refused(rows, says):
    for call in (matrix, Constant, lambda rows: Parameter("p", rows), lambda rows: Bernoulli("b", rows)):
        with pytest.raises(TopologyError, match=says):
            call(rows)


def test_a_matrix_is_frozen_and_keeps_its_numbers_exact():
    frozen = matrix([[F(1, 3), 2], [0.1, 10**200]])
    assert frozen == ((F(1, 3), 2), (0.1, 10**200))
    assert isinstance(frozen[0][0], F)
    assert shape_of(frozen) == (2, 2)
    assert hash(Constant([[1, 2]])) == hash(Constant(((1, 2),)))


def test_finite():
    assert all(map(finite, (0, -1, 0.5, F(1, 3), 10**308, F(10**308), -(10**308), 5e-324)))
    assert not any(map(finite, (math.nan, math.inf, -math.inf, 10**309, F(-(10**309)))))


def test_full():
    assert full(True, (2, 3)) == ((True,) * 3,) * 2
    assert full(False, (1, 1)) == ((False,),)


numbers = st.sampled_from([0, 0, 1, -1, 2, F(1, 3), F(-5, 2)])


@given(st.data(), st.tuples(*[st.integers(1, 4)] * 3))
def test_matmul_is_the_definition(data, sizes):
    m, h, k = sizes
    a = [[data.draw(numbers) for _ in range(h)] for _ in range(m)]
    b = [[data.draw(numbers) for _ in range(k)] for _ in range(h)]
    expected = tuple(tuple(sum(a[i][n] * b[n][j] for n in range(h)) for j in range(k)) for i in range(m))
    assert matmul(tuple(map(tuple, a)), tuple(map(tuple, b))) == expected


def test_matmul_of_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="argument"):
        matmul(((1, 2),), ((1,),))


@pytest.mark.parametrize("number", [0, 1, -3, 2.0, -0.0, 0.1, F(1, 3), F(4, 2), 10**30, 1e300])
def test_exact_is_the_same_number_and_an_int_where_it_is_whole(number):
    found = exact(number)
    assert found == F(number)
    assert type(found) is (int if F(number).denominator == 1 else F)
    assert str(found) == str(F(number))
