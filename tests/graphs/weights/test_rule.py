from dataclasses import dataclass
from fractions import Fraction

import pytest
from graph_oracles import entries
from graph_samples import exact_values, sample

from graphs import Constant, Parameter, Product, Softmax, Sum, TopologyError
from graphs.weights import Generated, Rule, evaluate, ones, support, walk
from graphs.weights.rule import same_shape

P = Parameter("p", ((1, 2), (3, 4)))


def _rules(seeds, **options):
    for seed in seeds:
        topology = sample(seed, **options)
        for mix in topology.mixes:
            for rule in walk(mix.weight):
                yield topology, rule


def test_evaluate_is_exactly_the_oracle():
    count = 0
    for topology, rule in _rules(range(30)):
        values = exact_values(topology, 5)
        for given in (None, values):
            assert [list(row) for row in evaluate(rule, given)] == entries(rule, given or {})
        count += 1
    assert count > 400


def test_evaluate_is_the_oracle_where_functions_need_floats():
    unequal = 0
    for topology, rule in _rules(range(30), uniform=False, fine=True):
        values = exact_values(topology, 5)
        for row, expected in zip(evaluate(rule, values), entries(rule, values), strict=True):
            assert [float(e) for e in row] == pytest.approx([float(e) for e in expected], rel=1e-9, abs=1e-12)
            unequal += list(row) != expected
    assert unequal > 25, "some are no fractions"


def test_numbers_stay_exact():
    """Only a function of what is not zero or equal gives a float."""
    for _, rule in _rules(range(30)):
        assert all(isinstance(entry, int | Fraction) for row in evaluate(rule) for entry in row)


def test_support_and_units_of_samples():
    """Zero and one are for ever, whatever is learned."""
    for topology, rule in _rules(range(15), uniform=False):
        on, unit = support(rule), rule.units()
        for seed in range(3):
            for i, row in enumerate(entries(rule, exact_values(topology, seed))):
                for j, entry in enumerate(row):
                    assert on[i][j] or entry == 0
                    assert not unit[i][j] or abs(entry) == 1


def test_walk_gives_children_first_and_each_once():
    shared = Softmax(P)
    top = Sum((shared, Product(P, shared), P))
    order = list(walk(top))
    assert order == [P, shared, top.terms[1], top]
    assert [id(rule) for rule in walk(Sum((P, Parameter("p", P.initial))))].count(id(P)) == 1
    assert len(list(walk(Sum((P, Parameter("p", P.initial)))))) == 3, "once each by identity, not by equality"
    deep = P
    for _ in range(300):
        deep = Sum((deep,))
    assert sum(1 for _ in walk(deep)) == 301, "any depth"
    assert evaluate(deep) == P.initial


def test_what_is_shared_is_worked_out_once():
    calls = []

    @dataclass(frozen=True)
    class Counted(Rule):
        @property
        def shape(self):
            return 1, 1

        def compute(self, parts, values):
            calls.append("compute")
            return ((2,),)

        def support(self):
            calls.append("support")
            return ((True,),)

    rule = Counted()
    for _ in range(40):
        rule = Sum((rule, rule))
    assert evaluate(rule) == ((2 * 2**40,),)
    assert support(rule) == support(rule) == ((True,),)
    assert sorted(calls) == ["compute", "support"]


def test_values_by_name():
    masked = Parameter("m", ((1, 0), (0, 2)), ((True, False), (False, True)))
    assert evaluate(masked, {"m": ((5, 0), (0, 7)), "other": ((0,),)}) == ((5, 0), (0, 7))
    assert evaluate(masked, {}) == masked.initial
    both = Sum((P, Product(P, P)))
    assert evaluate(both, {"p": ((1, 0), (0, 1))}) == ((2, 0), (0, 2))


def test_a_generated_weight_anywhere_has_no_matrix_at_given_values():
    rule = Sum((P, Product(ones(2, 1), Generated("seen", (1, 2), (0,)))))
    assert evaluate(rule) == P.initial
    with pytest.raises(TopologyError, match="the weights seen are computed per token"):
        evaluate(rule, {"p": P.initial})


def test_same_shape():
    same_shape("sum", (P, ones(2, 2)))
    for rules in ((), (P, ones(1, 2))):
        with pytest.raises(TopologyError, match="a sum of weights of different shapes"):
            same_shape("sum", rules)


def test_a_rule_is_a_frozen_value():
    with pytest.raises(AttributeError):
        P.name = "q"
    assert Constant(((1, 2),)) == Constant([[1, 2]])
    assert len({P, Parameter("p", P.initial), Softmax(P), Softmax(P, 1)}) == 2
