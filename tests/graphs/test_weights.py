import math
from fractions import Fraction as F

import pytest

from graphs import Constant, Parameter, Product, Softmax, Sum, TopologyError
from graphs.weights import (
    evaluate,
    from_dict,
    matmul,
    matrix,
    multiply,
    ones,
    parameters,
    shape_of,
    support,
    to_dict,
)

P = Parameter("p", ((0, 0, 0), (0, 0, 0)))
MASKED = Parameter("m", ((1, 0), (0, 2)), ((True, False), (False, True)))


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
    with pytest.raises(TopologyError, match=says):
        matrix(rows)
    with pytest.raises(TopologyError, match=says):
        Constant(rows)
    with pytest.raises(TopologyError, match=says):
        Parameter("p", rows)


def test_a_matrix_is_frozen_and_keeps_its_numbers_exact():
    frozen = matrix([[F(1, 3), 2], [0.1, 10**200]])
    assert frozen == ((F(1, 3), 2), (0.1, 10**200))
    assert isinstance(frozen[0][0], F)
    assert shape_of(frozen) == (2, 2)
    assert hash(Constant([[1, 2]])) == hash(Constant(((1, 2),)))


@pytest.mark.parametrize("name", ["", "1a", "a b", "_a", "a-b", "a.b"])
def test_a_parameter_name_is_a_word(name):
    with pytest.raises(TopologyError, match="parameter name"):
        Parameter(name, ((1,),))


def test_masks():
    assert MASKED.size(7) == 2
    assert (MASKED.trains(0, 0), MASKED.trains(0, 1)) == (True, False)
    assert Parameter("p", ((1, 2),), ((True, True),)) == Parameter("p", ((1, 2),))
    assert P.size(7) == 6
    assert P.trains(1, 2)
    with pytest.raises(TopologyError, match="mask's shape"):
        Parameter("p", ((1, 2),), ((True,),))
    with pytest.raises(TopologyError, match="mask's shape"):
        Parameter("p", ((1, 2),), ((True, True), (True, True)))
    with pytest.raises(TopologyError, match="no entry is learned"):
        Parameter("p", ((1, 2),), ((False, False),))


@pytest.mark.parametrize("temperature", [0, -1, math.nan, math.inf])
def test_softmax_temperature_is_above_zero(temperature):
    with pytest.raises(TopologyError, match="temperature"):
        Softmax(P, temperature)


def test_softmax_axis():
    with pytest.raises(TopologyError, match=r"'rows'.*'sources' or 'destinations'"):
        Softmax(P, over="rows")


def test_shapes_of_sums_and_products():
    assert Softmax(P).shape == Sum((P, P)).shape == (2, 3)
    assert Product(ones(4, 2), P).shape == (4, 3)
    with pytest.raises(TopologyError, match="different shapes"):
        Sum((P, ones(2, 2)))
    with pytest.raises(TopologyError, match="sum of weights"):
        Sum(())
    with pytest.raises(TopologyError, match=r"\(2, 3\) and \(2, 3\)"):
        Product(P, P)


def test_evaluate_by_hand():
    a, b = Constant(((1, 2), (0, F(1, 2)))), Constant(((3, 0), (-1, 1)))
    assert matmul(a.entries, b.entries) == ((1, 2), (F(-1, 2), F(1, 2)))
    assert multiply(a, b) == Constant(((1, 2), (F(-1, 2), F(1, 2))))
    assert multiply(a, MASKED) == Product(a, MASKED)
    assert evaluate(Product(a, MASKED)) == ((1, 4), (0, 1))
    assert evaluate(Sum((a, MASKED, b))) == ((5, 2), (-1, F(7, 2)))
    assert evaluate(MASKED, {"m": ((5, 0), (0, 7)), "other": ((0,),)}) == ((5, 0), (0, 7))


def test_equal_logits_are_exactly_uniform():
    assert evaluate(Softmax(P, 0.01)) == ((F(1, 3),) * 3,) * 2
    assert evaluate(Softmax(P, 0.01, "destinations")) == ((F(1, 2),) * 3,) * 2
    assert isinstance(evaluate(Softmax(P))[0][0], F)
    assert evaluate(Softmax(P), {"p": ((F(2, 3),) * 3, (4,) * 3)}) == ((F(1, 3),) * 3,) * 2


def test_softmax_of_unequal_logits():
    logits = Parameter("l", ((0, 1), (2, -1)))
    rows = evaluate(Softmax(logits, 0.5))
    assert rows[0] == pytest.approx((1 / (1 + math.exp(2)), 1 / (1 + math.exp(-2))), rel=1e-15)
    assert rows[1] == pytest.approx((1 / (1 + math.exp(-6)), 1 / (1 + math.exp(6))), rel=1e-15)
    columns = evaluate(Softmax(logits, 0.5, "destinations"))
    assert (columns[0][0], columns[1][0]) == pytest.approx((1 / (1 + math.exp(4)), 1 / (1 + math.exp(-4))), rel=1e-15)
    assert columns[0][1] + columns[1][1] == pytest.approx(1, rel=1e-15)
    assert evaluate(Softmax(Parameter("l", ((0, 10**6),)), 1e-3)) == ((0, 1),)


def test_parameters_in_reading_order_with_ties():
    rule = Sum((Product(Constant(((1, 0), (0, 1))), P), Softmax(P), ones(2, 3)))
    assert [p.name for p in parameters(rule)] == ["p"], "once each"
    assert list(parameters(ones(1, 1))) == []


def test_support():
    assert support(Constant(((0, 1), (F(1, 2), 0)))) == ((False, True), (True, False))
    assert support(MASKED) == ((True, False), (False, True))
    assert support(P) == ((True,) * 3,) * 2, "what is learned may leave zero"
    assert support(Softmax(Constant(((0, 0),)))) == ((True, True),)
    assert support(Sum((Constant(((0, 1), (0, 0))), MASKED))) == ((True, True), (False, True))
    place = Constant(((0, 0, 1), (1, 0, 0)))
    assert support(Product(MASKED, place)) == ((False, False, True), (True, False, False))
    assert support(Product(Constant(((1, 0),)), MASKED)) == ((True, False),)
    nested = Sum((Constant(((0, 0, 0),)), Product(Softmax(Parameter("s", ((0, 0),))), place)))
    assert support(nested) == ((True, False, True),)
    assert support(Softmax(nested)) == ((True,) * 3,)


RULES = [
    Constant(((1, 0.1, F(1, 3)), (0, -2, F(-22, 7)))),
    P,
    MASKED,
    Parameter("g", ((F(1, 3),),), group="slow"),
    Softmax(P, 0.01),
    Softmax(P, 2.0, "destinations"),
    Sum((P, Softmax(P), ones(2, 3))),
    Product(MASKED, Product(ones(2, 2), P)),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_dictionary_round_trip(rule):
    again = from_dict(to_dict(rule))
    assert again == rule
    assert type(again) is type(rule)


def test_fractions_are_strings_in_the_dictionary():
    assert to_dict(Constant(((F(1, 3), 1, 0.5),))) == {"rule": "constant", "entries": [["1/3", 1, 0.5]]}
    assert to_dict(MASKED) == {
        "rule": "parameter",
        "name": "m",
        "initial": [[1, 0], [0, 2]],
        "learned": [[True, False], [False, True]],
    }
    entry = from_dict({"rule": "constant", "entries": [["1/3"]]}).entries[0][0]
    assert isinstance(entry, F)
    assert entry == F(1, 3)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (None, "here: a rule is a mapping with 'rule' one of constant, parameter, bernoulli, .*; got None"),
        ([], "here: a rule is a mapping"),
        ({}, "here: a rule is a mapping"),
        ({"rule": "alchemy"}, "here: a rule is a mapping"),
        ({"rule": ["constant"]}, "here: a rule is a mapping"),
        ({"rule": {}}, "here: a rule is a mapping"),
        ({"rule": "constant"}, r"here: rule 'constant' takes \['entries'\] and optionally \[\]; got \[\]"),
        ({"rule": "constant", "entries": [[1]], "name": "p"}, r"got \['entries', 'name'\]"),
        ({"rule": "constant", "entries": [[1]], 3: 4, "x": 5}, "rule 'constant' takes"),
        ({"rule": "constant", "entries": 1}, "here.entries: a list of rows was expected; got 1"),
        ({"rule": "constant", "entries": [1, 2]}, "here.entries: a list of rows"),
        ({"rule": "constant", "entries": [[1], [1, 2]]}, "here: the rows of a weight matrix differ"),
        ({"rule": "constant", "entries": []}, "here: a weight matrix needs"),
        ({"rule": "constant", "entries": [[True]]}, "here.entries: True is not a number"),
        ({"rule": "constant", "entries": [[None]]}, "here.entries: None is not a number"),
        ({"rule": "constant", "entries": [["one"]]}, "here.entries: 'one' is not a number"),
        ({"rule": "constant", "entries": [["1/0"]]}, "here.entries: '1/0' is not a number"),
        ({"rule": "constant", "entries": [["nan"]]}, "here.entries: 'nan' is not a number"),
        ({"rule": "constant", "entries": [["1e999999999"]]}, "here.entries: '1e999999999' is not a number"),
        ({"rule": "constant", "entries": [[math.nan]]}, "here: weight .* a finite number"),
        ({"rule": "parameter", "name": 3, "initial": [[1]]}, "here.name: a string was expected; got 3"),
        ({"rule": "parameter", "name": "a b", "initial": [[1]]}, "here: parameter name 'a b'"),
        ({"rule": "parameter", "name": "p", "initial": [[1]], "group": 3}, "here.group: a string"),
        ({"rule": "parameter", "name": "p", "initial": [[1]], "learned": True}, "here.learned: a list of rows"),
        ({"rule": "parameter", "name": "p", "initial": [[1]], "learned": [["false"]]}, "here.learned: rows of true"),
        ({"rule": "parameter", "name": "p", "initial": [[1]], "learned": [[1]]}, "here.learned: rows of true"),
        ({"rule": "parameter", "name": "p", "initial": [[1]], "learned": [[False]]}, "here: .*no entry is learned"),
        ({"rule": "parameter", "name": "p", "initial": [[1]], "learned": [[True], [True]]}, "here: .*mask's shape"),
        ({"rule": "softmax", "of": 1}, "here.of: a rule is a mapping"),
        ({"rule": "softmax", "of": to_dict(P), "temperature": "1"}, "here.temperature: a number above 0"),
        ({"rule": "softmax", "of": to_dict(P), "temperature": True}, "here.temperature: a number above 0"),
        ({"rule": "softmax", "of": to_dict(P), "temperature": 0}, "here: softmax temperature is 0"),
        ({"rule": "softmax", "of": to_dict(P), "over": "rows"}, "here: softmax over 'rows'"),
        ({"rule": "softmax", "of": to_dict(P), "over": 1}, "here.over: a string"),
        ({"rule": "sum", "terms": {}}, "here.terms: a list of rules was expected"),
        ({"rule": "sum", "terms": []}, "here.terms: a list of rules was expected"),
        ({"rule": "sum", "terms": [to_dict(P), 1]}, r"here.terms\[1\]: a rule is a mapping"),
        ({"rule": "sum", "terms": [to_dict(P), to_dict(ones(1, 1))]}, "here: a sum of weights of different shapes"),
        ({"rule": "product", "left": to_dict(P), "right": 0}, "here.right: a rule is a mapping"),
        ({"rule": "product", "left": to_dict(P), "right": to_dict(P)}, "here: a product of weights of shapes"),
    ],
)
def test_every_error_of_from_dict_names_the_place(data, says):
    with pytest.raises(TopologyError, match=says):
        from_dict(data, "here")
