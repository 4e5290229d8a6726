from graphs import weights
from graphs.weights import (
    GROUPS,
    Constant,
    Generated,
    Group,
    Parameter,
    Product,
    Rule,
    Softmax,
    Sum,
    generators,
    ones,
    parameters,
)
from graphs.weights.text import RULES

P = Parameter("p", ((0, 0, 0), (0, 0, 0)))
G = Generated("g", (2, 3), (0,))


def test_parameters_in_reading_order_with_ties():
    rule = Sum((Product(Constant(((1, 0), (0, 1))), P), Softmax(P), ones(2, 3)))
    assert [p.name for p in parameters(rule)] == ["p"], "once each"
    again = Sum((Parameter("q", P.initial), P, Parameter("p", P.initial)))
    assert [p.name for p in parameters(again)] == ["q", "p", "p"], "a tied one may come twice"
    assert list(parameters(ones(1, 1))) == list(parameters(G)) == []


def test_generators_in_reading_order():
    assert list(generators(Sum((P, Softmax(G), Generated("h", (2, 3), (1,)))))) == [G, Generated("h", (2, 3), (1,))]
    assert list(generators(P)) == []


def test_groups():
    assert GROUPS["mix"] == Group(decay=False, lr=1.0), "what a group that is not listed is treated as"
    assert GROUPS["decayed"].decay
    assert GROUPS["tenth"].lr == 0.1


def test_every_rule_is_public_and_can_be_stored():
    public = {value for value in vars(weights).values() if isinstance(value, type) and issubclass(value, Rule)}
    assert public - {Rule} == set(RULES.values())
    assert all(name == rule.__name__.lower() for name, rule in RULES.items())
