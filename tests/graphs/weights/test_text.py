import json
import math
from dataclasses import fields
from fractions import Fraction as F

import pytest
from graph_samples import numbers_in, sample

from graphs import Block, Constant, Mix, Parameter, Product, Softmax, Sum, Topology, TopologyError, lower
from graphs.weights import (
    CHANNEL,
    MATRIX,
    Bernoulli,
    Generated,
    Grain,
    Permutations,
    Place,
    Sigmoid,
    Sinkhorn,
    Tanh,
    Times,
    TopK,
    evaluate,
    from_dict,
    number,
    number_text,
    ones,
    to_dict,
)
from graphs.weights.text import MAX_NESTING, RULES

P = Parameter("p", ((0, 0, 0), (0, 0, 0)))
ONE = {"rule": "constant", "entries": [[1]]}
MASKED = Parameter("m", ((1, 0), (0, 2)), ((True, False), (False, True)))
SQUARE = Parameter("s", ((0, 1), (2, 3)), grain=CHANNEL)

EXAMPLES = [
    Constant(((1, 0.1, F(1, 3)), (0, -2, F(-22, 7)))),
    P,
    MASKED,
    Parameter("g", ((F(1, 3),),), group="slow"),
    Parameter("g", ((1,),), grain=MATRIX),
    Parameter("g", ((1,),), grain=Grain(4)),
    Parameter("g", ((1,),), grain=Grain(4, full=True)),
    Softmax(P, 0.01),
    Softmax(P, 2.0, "destinations"),
    Sum((P, Softmax(P), ones(2, 3))),
    Product(MASKED, Product(ones(2, 2), P)),
    Times(Constant(((2,),)), P),
    Place(P, (3, 2), ((0, 1, 1, 2), (2, 0, 0, 0))),
    Place(P, (1, 1), ()),
    Sigmoid(P),
    Sigmoid(P, 2),
    Sigmoid(P, 0.25),
    Tanh(P),
    TopK(Softmax(P), 2),
    Sinkhorn(SQUARE),
    Sinkhorn(SQUARE, 3),
    Permutations(Softmax(Parameter("q", ((0,) * 6,))), 3),
    Bernoulli("b", ((F(1, 3), 0.25, 1),)),
    Generated("g", (2, 3), (0, 2)),
    Generated("g", (2, 2), (1, 1), each=True, norm="layer", gain=True, start="normal", group="mix"),
    Generated("g", (2, 2), (1, 0), norm="none", hidden=7, grain=CHANNEL),
    Generated("g", (2, 1), (0,), each=True, grain=Grain(2, full=True)),
]


@pytest.mark.parametrize("rule", EXAMPLES, ids=lambda rule: type(rule).__name__)
def test_dictionary_round_trip(rule):
    for again in (from_dict(to_dict(rule)), from_dict(json.loads(json.dumps(to_dict(rule))))):
        assert again == rule
        assert type(again) is type(rule)
        for one, other in zip(numbers_in(rule), numbers_in(again), strict=True):
            assert type(one) is type(other)


def test_the_examples_have_every_rule_and_every_field_off_its_default():
    assert {type(rule) for rule in EXAMPLES} == set(RULES.values())
    for kind in RULES.values():
        some = [rule for rule in EXAMPLES if type(rule) is kind]
        for field in fields(kind):
            assert any(getattr(rule, field.name) != field.default for rule in some), f"{kind.__name__}.{field.name}"


def test_samples_round_trip():
    for seed in range(40):
        for mix in sample(seed, uniform=False, per_token=seed % 2 == 0, fine=True).mixes:
            assert from_dict(json.loads(json.dumps(to_dict(mix.weight)))) == mix.weight


def test_the_form_by_hand():
    assert to_dict(Constant(((F(1, 3), 1, 0.5),))) == {"rule": "constant", "entries": [["1/3", 1, 0.5]]}
    assert to_dict(MASKED) == {
        "rule": "parameter",
        "name": "m",
        "initial": [[1, 0], [0, 2]],
        "learned": [[True, False], [False, True]],
    }
    assert to_dict(Times(Sigmoid(SQUARE, 2), Generated("g", (2, 2), (0,), hidden=3))) == {
        "rule": "times",
        "left": {
            "rule": "sigmoid",
            "of": {"rule": "parameter", "name": "s", "initial": [[0, 1], [2, 3]], "grain": "channel"},
            "scale": 2,
        },
        "right": {"rule": "generated", "name": "g", "outputs": [2, 2], "keys": [0], "hidden": 3},
    }
    assert to_dict(Place(P, (1, 2), ((0, 1, 1, 2),)))["cells"] == [[0, 1, 1, 2]]
    entry = from_dict({"rule": "constant", "entries": [["1/3"]]}).entries[0][0]
    assert isinstance(entry, F)
    assert entry == F(1, 3)


def test_numbers():
    assert [number(text, "here") for text in ("1/3", "-2/4", "7", 3, 0.5)] == [F(1, 3), F(-1, 2), 7, 3, 0.5]
    assert [number_text(value) for value in (F(1, 3), F(4, 2), 3, 0.5)] == ["1/3", "2", 3, 0.5]
    for bad in (
        "1/0",
        "1/00",
        "/2",
        "1/",
        "1/-2",
        "--1",
        "1e9",
        "0x1",
        " 1",
        "1 ",
        "1\n",
        "١/٢",
        "1" * 500,
        None,
        True,
        [],
    ):
        with pytest.raises(TopologyError, match=r"here: .* is not a number"):
            number(bad, "here")


def _changed(data, **changes):
    return {**data, **changes}


SOFTMAX, PARAMETER = to_dict(Softmax(P)), {"rule": "parameter", "name": "p", "initial": [[1]]}
SIGMOID, SINKHORN = to_dict(Sigmoid(P)), to_dict(Sinkhorn(SQUARE))
PLACE, TIMES = to_dict(Place(P, (1, 1), ())), to_dict(Times(P, P))
BERNOULLI, PERMUTATIONS = to_dict(Bernoulli("b", ((1,),))), to_dict(Permutations(Constant(((1, 1),)), 2))
GENERATED = {"rule": "generated", "name": "g", "outputs": [1, 1], "keys": [0]}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (None, "here: a rule is a mapping with 'rule' one of constant, parameter, bernoulli, .*; got None"),
        ([], "here: a rule is a mapping"),
        ({}, "here: a rule is a mapping"),
        ({"rule": "alchemy"}, "here: a rule is a mapping"),
        ({"rule": "Constant"}, "here: a rule is a mapping"),
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
        ({"rule": "constant", "entries": [[-math.inf]]}, "here: weight .* a finite number"),
        ({"rule": "constant", "entries": [[10**400]]}, "here: weight .* a finite number"),
        (_changed(PARAMETER, name=3), "here.name: a string was expected; got 3"),
        (_changed(PARAMETER, name="a b"), "here: parameter name 'a b'"),
        (_changed(PARAMETER, name="a\x1b[2J"), r"here: parameter name 'a\\x1b\[2J'"),
        (_changed(PARAMETER, initial=[[math.inf]]), "here: weight .* a finite number"),
        (_changed(PARAMETER, group=3), "here.group: a string"),
        (_changed(PARAMETER, group="a b"), "here: parameter p: the optimiser group 'a b'"),
        (_changed(PARAMETER, learned=True), "here.learned: a list of rows"),
        (_changed(PARAMETER, learned=[["false"]]), "here.learned: rows of true"),
        (_changed(PARAMETER, learned=[[1]]), "here.learned: rows of true"),
        (_changed(PARAMETER, learned=[[False]]), "here: .*no entry is learned"),
        (_changed(PARAMETER, learned=[[True], [True]]), "here: .*mask's shape"),
        (_changed(PARAMETER, grain="fine"), "here.grain: grain 'fine'; one of scalar, channel"),
        (_changed(PARAMETER, grain=2), "here.grain: grain 2; one of"),
        (_changed(PARAMETER, grain=["matrix"]), "here.grain: grain"),
        (_changed(PARAMETER, grain="parts 0"), "here.grain: grain 'parts 0'"),
        (_changed(PARAMETER, grain=None), "here.grain: grain None"),
        (_changed(SOFTMAX, of=1), "here.of: a rule is a mapping"),
        (_changed(SOFTMAX, temperature="1"), "here.temperature: a number above 0"),
        (_changed(SOFTMAX, temperature=True), "here.temperature: a number above 0"),
        (_changed(SOFTMAX, temperature=10**400), "here.temperature: a number above 0"),
        (_changed(SOFTMAX, temperature=math.nan), "here.temperature: a number above 0"),
        (_changed(SOFTMAX, temperature=0), "here: softmax temperature is 0"),
        (_changed(SOFTMAX, over="rows"), "here: softmax over 'rows'"),
        (_changed(SOFTMAX, over=1), "here.over: a string"),
        (_changed(SOFTMAX, of=to_dict(Parameter("m", ((1,),), grain=MATRIX))), "here: a softmax of weights that mix"),
        ({"rule": "sum", "terms": {}}, "here.terms: a list of rules was expected"),
        ({"rule": "sum", "terms": []}, "here.terms: a list of rules was expected"),
        ({"rule": "sum", "terms": [to_dict(P), 1]}, r"here.terms\[1\]: a rule is a mapping"),
        ({"rule": "sum", "terms": [to_dict(P), ONE]}, "here: a sum of weights of different shapes"),
        ({"rule": "product", "left": to_dict(P), "right": 0}, "here.right: a rule is a mapping"),
        ({"rule": "product", "left": to_dict(P), "right": to_dict(P)}, "here: a product of weights of shapes"),
        (_changed(TIMES, left=None), "here.left: a rule is a mapping"),
        (_changed(TIMES, left=to_dict(MASKED)), "here: a entry-wise product of weights of different shapes"),
        (_changed(TIMES, right=_changed(SOFTMAX, of=_changed(PARAMETER, grain="x"))), "here.right.of.grain: grain 'x'"),
        (_changed(SIGMOID, scale="2"), "here.scale: a number above 0 was expected; got '2'"),
        (_changed(SIGMOID, scale=False), "here.scale: a number above 0"),
        (_changed(SIGMOID, scale=math.inf), "here.scale: a number above 0"),
        (_changed(SIGMOID, scale=10**400), "here.scale: a number above 0"),
        (_changed(SIGMOID, scale=-1), "here: the scale of a sigmoid is -1"),
        ({"rule": "tanh", "of": []}, "here.of: a rule is a mapping"),
        ({"rule": "tanh", "of": ONE, "scale": 1}, r"rule 'tanh' takes \['of'\] and optionally \[\]"),
        (_changed(SINKHORN, iterations=2.0), "here.iterations: a whole number was expected; got 2.0"),
        (_changed(SINKHORN, iterations=True), "here.iterations: a whole number"),
        (_changed(SINKHORN, iterations="2"), "here.iterations: a whole number"),
        (_changed(to_dict(TopK(P, 2)), fan_in=4), "here: a choice of 4 among 3 sources; 1 to 3 was expected"),
        (_changed(to_dict(TopK(P, 2)), fan_in=1.0), "a whole number was expected; got 1.0"),
        (_changed(SINKHORN, iterations=0), "here: 0 Sinkhorn iterations"),
        (_changed(SINKHORN, of=to_dict(P)), "here: a doubly stochastic matrix is square"),
        (_changed(PERMUTATIONS, size=[2, 2]), "here.size: a whole number was expected"),
        (_changed(PERMUTATIONS, size=None), "here.size: a whole number"),
        (_changed(PERMUTATIONS, size=10**9), "here: permutations of 1000000000; 1 to 5"),
        (_changed(PERMUTATIONS, size=1), r"here: a mixture of the permutations of 1 has weights of shape \(1, 1\)"),
        (_changed(PLACE, size=3), "here.size: a list of whole numbers was expected; got 3"),
        (_changed(PLACE, size=[1, 1.0]), "here.size: a list of whole numbers"),
        (_changed(PLACE, size=[1]), "here.size: two whole numbers were expected"),
        (_changed(PLACE, size=[1, 1, 1]), "here.size: two whole numbers"),
        (_changed(PLACE, size=[0, 1]), "here: a placement of shape"),
        (_changed(PLACE, cells={}), "here.cells: a list of rows was expected"),
        (_changed(PLACE, cells=[[0, 0, 0]]), "here.cells: rows of four whole numbers"),
        (_changed(PLACE, cells=[[0, 0, 0, True]]), "here.cells: rows of four whole numbers"),
        (_changed(PLACE, cells=[[0, 0, 0, "0"]]), "here.cells: rows of four whole numbers"),
        (_changed(PLACE, cells=[[0, 0, 0, 9]]), "here: a placement of entr"),
        (_changed(PLACE, cells=[[0, 0, 0, 0], [0, 0, 0, 1]]), "here: a placement of .* two entries"),
        (_changed(BERNOULLI, keep=1), "here.keep: a list of rows"),
        (_changed(BERNOULLI, keep=[[2]]), "here: a keep probability of 2; 0 to 1"),
        (_changed(BERNOULLI, keep=[["3/2"]]), "here: a keep probability of Fraction"),
        (_changed(BERNOULLI, keep=[[math.nan]]), "here: weight .* a finite"),
        (_changed(BERNOULLI, name=""), "here: parameter name ''"),
        (_changed(GENERATED, outputs=1), "here.outputs: a list of whole numbers"),
        (_changed(GENERATED, outputs=[1]), "here.outputs: two whole numbers"),
        (_changed(GENERATED, outputs=[1, 0]), "here: generated weight g: it needs keys"),
        (_changed(GENERATED, keys=[]), "here: generated weight g: it needs keys"),
        (_changed(GENERATED, keys=["x0"]), "here.keys: a list of whole numbers"),
        (_changed(GENERATED, keys=[-1]), "here: generated weight g: it needs keys"),
        (_changed(GENERATED, keys=0), "here.keys: a list of whole numbers"),
        (_changed(GENERATED, each=1), "here.each: true or false was expected; got 1"),
        (_changed(GENERATED, gain="yes"), "here.gain: true or false"),
        (_changed(GENERATED, gain=True, norm="none"), "here: generated weight g: a gain without a norm"),
        (_changed(GENERATED, norm=None), "here.norm: a string was expected"),
        (_changed(GENERATED, norm="batch"), "here: generated weight g: norm 'batch'"),
        (_changed(GENERATED, hidden=1.5), "here.hidden: a whole number"),
        (_changed(GENERATED, hidden=-1), "here: generated weight g: it needs keys"),
        (_changed(GENERATED, start="one"), "here: generated weight g: start 'one'"),
        (_changed(GENERATED, start=0), "here.start: a string"),
        (_changed(GENERATED, group=" "), "here: parameter g: the optimiser group ' '"),
        (_changed(GENERATED, grain="matrix"), "here: generated weight g: a matrix grain"),
        (_changed(GENERATED, grain="any"), "here.grain: grain 'any'"),
        (_changed(GENERATED, name="no name"), "here: parameter name 'no name'"),
    ],
)
def test_every_error_of_from_dict_names_the_place(data, says):
    with pytest.raises(TopologyError, match=says):
        from_dict(data, "here")


def test_every_field_is_tried_with_something_that_is_nothing():
    """No field of any rule takes a value of another kind, and none lets an error of Python's own through."""
    for rule in EXAMPLES:
        data = to_dict(rule)
        for field in fields(rule):
            for junk in (
                None,
                {},
                {"rule": 1},
                [None],
                [[None]],
                [[[1]]],
                -1,
                math.nan,
                "\x00",
                "x" * 5000,
                [[]],
                [[1, "a"]],
            ):
                if field.name in ("scale", "temperature", "group", "name") and junk == "x" * 5000:
                    continue
                with pytest.raises(TopologyError, match=r"^here"):
                    from_dict({**data, field.name: junk}, "here")


def _nested(depth):
    data = ONE
    for _ in range(depth):
        data = {"rule": "sum", "terms": [data, ONE]}
    return data


def _shallow(call, frames):
    return _shallow(call, frames - 1) if frames else call()


def test_nesting_has_a_limit_within_which_all_works():
    rule = _shallow(lambda: from_dict(_nested(MAX_NESTING)), 150)
    topology = Topology((Block(1, ("x0",), "y1"), Mix(("y1",), ("o",), rule)), "o", 1)
    assert evaluate(rule) == ((MAX_NESTING + 1,),)
    assert len(_shallow(lambda: topology.digest, 150)) == 12
    assert _shallow(lambda: hash(rule) == hash(from_dict(_nested(MAX_NESTING))), 150)
    assert _shallow(lambda: Topology.from_dict(topology.to_dict()), 150) == topology
    assert str(lower(topology))
    with pytest.raises(TopologyError, match=f"rules nested more than {MAX_NESTING} deep"):
        from_dict(_nested(MAX_NESTING + 1))
