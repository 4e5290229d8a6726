import pytest
from graph_samples import FAMILIES, sample

from graphs import Constant, Parameter, Product, Softmax, Sum
from graphs.weights import CHANNEL, Bernoulli, Grain, Permutations, Place, Shared, Sigmoid, Tanh, identity, ones, walk


def _fresh(rule):
    """An equal rule made of new objects."""
    from graph_samples import rebuilt

    return rebuilt(rule, lambda inner: type(inner)(**{n: getattr(inner, n) for n in inner.__dataclass_fields__}))


def test_equal_rules_have_one_number():
    shared = Shared()
    p = Parameter("p", ((1, 2), (3, 4)))
    rules = [
        p,
        Product(p, identity(2)),
        Sum((p, identity(2))),
        Place(p, (2, 3), ((0, 1, 1, 1),)),
        Softmax(p, 0.5),
        Softmax(p, 0.5, "destinations"),
        Sigmoid(p),
        Sigmoid(p, 2),
        Tanh(p),
        Bernoulli("p", ((1, 0), (0, 1))),
        Permutations(ones(1, 2), 2),
        Parameter("p", ((1, 2), (3, 4)), grain=CHANNEL),
        Parameter("p", ((1, 2), (3, 4)), grain=Grain(2)),
        Constant(((1, 2), (3, 4))),
    ]
    numbers = [shared.number(rule) for rule in rules]
    assert len(set(numbers)) == len(rules)
    assert [shared.number(_fresh(rule)) for rule in rules] == numbers
    assert [shared.rules[number] for number in numbers] == rules


@pytest.mark.parametrize("seed", range(0, 60, 10))
def test_numbers_are_equal_exactly_where_rules_are(seed):
    shared = Shared()
    topologies = [sample(seed + i, per_token=True, fine=True) for i in range(10)]
    rules = [rule for t in topologies for mix in t.mixes for rule in walk(mix.weight)]
    rules += [rule for build in list(FAMILIES.values())[:10] for mix in build().mixes for rule in walk(mix.weight)]
    by_rule = {}
    for rule in rules:
        by_rule.setdefault(rule, shared.number(rule))
        assert by_rule[rule] == shared.number(rule)
    assert len(set(by_rule.values())) == len(by_rule) == len(shared.rules)
    for number, rule in enumerate(shared.rules):
        assert [shared.rules[child] for child in shared.children[number]] == list(rule.children)
        assert all(child < number for child in shared.children[number])


def test_what_is_shared_many_times_is_looked_at_once():
    """A rule of 2^200 paths."""
    rule = Parameter("p", ((1,),))
    for _ in range(200):
        rule = Product(rule, rule)
    shared = Shared()
    assert shared.number(rule) == 200
    assert shared.number(rule) == 200
    assert rule.support() == ((True,),)
    assert not rule.per_token
    assert rule.grain == Grain()
