import math
from fractions import Fraction as F

import pytest

from graphs import Constant, Parameter, TopologyError
from graphs.weights import CHANNEL, MATRIX, SCALAR, Bernoulli, Generated, Grain, evaluate, identity, ones, support
from graphs.weights.leaves import checked_name, checked_positive

P = Parameter("p", ((0, 0, 0), (0, 0, 0)))
MASKED = Parameter("m", ((1, 0), (0, 2)), ((True, False), (False, True)))


@pytest.mark.parametrize("name", ["", "1a", "a b", "_a", "a-b", "a.b", "a\n", "\x1b[2J", 3, None, ("a",)])
def test_a_parameter_name_is_a_word(name):
    calls = (
        checked_name,
        lambda n: Parameter(n, ((1,),)),
        lambda n: Bernoulli(n, ((1,),)),
        lambda n: Generated(n, (1, 1), (0,)),
    )
    for call in calls:
        with pytest.raises(TopologyError, match=r"parameter name .* is not a word"):
            call(name)


@pytest.mark.parametrize("group", ["", " ", "a b", "mix grain channel", "a\n", "\x1b", None, 3])
def test_an_optimiser_group_is_a_word(group):
    for call in (lambda: Parameter("p", ((1,),), group=group), lambda: Generated("p", (1, 1), (0,), group=group)):
        with pytest.raises(TopologyError, match=r"parameter p: the optimiser group .* is not one printable word"):
            call()
    assert Parameter("p", ((1,),), group="my-own.group").group == "my-own.group"


def test_masks():
    assert MASKED.size(7) == 2
    assert MASKED.edges == 2
    assert (MASKED.trains(0, 0), MASKED.trains(0, 1)) == (True, False)
    assert Parameter("p", ((1, 2),), ((True, True),)) == Parameter("p", ((1, 2),))
    assert P.size(7) == 6
    assert P.trains(1, 2)
    with pytest.raises(TopologyError, match="parameter p: the mask's shape"):
        Parameter("p", ((1, 2),), ((True,),))
    with pytest.raises(TopologyError, match="parameter p: the mask's shape"):
        Parameter("p", ((1, 2),), ((True, True), (True, True)))
    with pytest.raises(TopologyError, match="parameter p: no entry is learned"):
        Parameter("p", ((1, 2),), ((False, False),))


@pytest.mark.parametrize(
    ("grain", "numbers"),
    [(SCALAR, 1), (CHANNEL, 12), (MATRIX, 144), (Grain(3), 3), (Grain(3, full=True), 9)],
    ids=str,
)
def test_sizes_of_grains(grain, numbers):
    assert Parameter("p", ((1, 2, 3),), grain=grain).size(12) == 3 * numbers
    assert Parameter("p", ((1, 2, 3),), ((True, False, True),), grain=grain).size(12) == 2 * numbers


def test_support_and_units_of_leaves():
    entries = ((0, 1, -1), (F(1, 2), 0, 2))
    assert support(Constant(entries)) == ((False, True, True), (True, False, True))
    assert Constant(entries).units() == ((False, True, True), (False, False, False))
    assert support(P) == ((True,) * 3,) * 2, "what is learned may leave zero"
    assert Parameter("p", ((1, -1),)).units() == ((False, False),), "and may leave one"
    masked = Parameter("p", entries, ((True, False, False), (True, False, False)))
    assert support(masked) == ((True, True, True), (True, False, True))
    assert masked.units() == ((False, True, True), (False, False, False))
    random = Bernoulli("b", ((0, 1, F(1, 2)),))
    assert support(random) == ((False, True, True),)
    assert random.units() == ((False, True, False),)
    seen = Generated("g", (1, 3), (0,))
    assert support(seen) == ((True,) * 3,), "zero at the start alone"
    assert seen.units() == ((False,) * 3,)


@pytest.mark.parametrize("keep", [-0.1, 1.5, F(-1, 2), 2, math.nan, math.inf])
def test_a_keep_probability_is_one(keep):
    with pytest.raises(TopologyError, match=r"keep probability of .*; 0 to 1|weight .* is .*; a finite"):
        Bernoulli("b", ((0.5, keep),))


def test_random_weights():
    half = Bernoulli("b", ((F(1, 2), 1),))
    assert (half.random, half.per_token, half.grain) == (True, False, SCALAR)
    assert evaluate(half) == ((F(1, 2), 1),)
    assert not P.random


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"keys": ()}, "it needs keys, outputs and a hidden width of 0 or more"),
        ({"keys": (0, -1)}, "it needs keys"),
        ({"outputs": (0, 2)}, "it needs keys"),
        ({"hidden": -1}, "it needs keys"),
        ({"each": True, "keys": (0,)}, "has 1 keys and 2 columns; computed from each key, it has a column per key"),
        ({"each": True, "hidden": 4}, "a hidden layer reads all keys; use each=False"),
        ({"norm": "batch"}, "norm 'batch'; none, rms or layer was expected"),
        ({"start": "ones"}, "start 'ones'; zeros or normal was expected"),
        ({"norm": "none", "gain": True}, "a gain without a norm"),
        ({"grain": MATRIX}, "a matrix grain cannot be generated like this"),
        ({"grain": MATRIX, "each": True}, "a matrix grain cannot"),
        ({"grain": Grain(2)}, "a parts 2 grain cannot"),
        ({"grain": Grain(2, full=True)}, "a fraction 2 grain cannot"),
        ({"grain": CHANNEL, "each": True}, "a channel grain cannot"),
    ],
)
def test_generated_weights_that_make_no_sense(change, says):
    with pytest.raises(TopologyError, match=f"generated weight g:? {says}"):
        Generated(**{"name": "g", "outputs": (3, 2), "keys": (0, 1), **change})


@pytest.mark.parametrize(
    ("change", "fan_in", "maps", "size", "flops"),
    [
        # All of two keys of 12 channels side by side, 3 x 2 outputs.
        ({}, 24, 6, 24 * 6, 2 * 24 * 6),
        ({"gain": True}, 24, 6, 24 + 24 * 6, 2 * 24 * 6),
        ({"hidden": 5}, 24, 6, 24 * 5 + 5 * 6, 2 * (24 * 5 + 5 * 6)),
        ({"hidden": 5, "gain": True}, 24, 6, 24 + 24 * 5 + 5 * 6, 2 * (24 * 5 + 5 * 6)),
        ({"grain": CHANNEL}, 24, 72, 24 * 72, 2 * 24 * 72),
        ({"keys": (0, 0, 1)}, 36, 6, 36 * 6, 2 * 36 * 6),
        # One map of 3 outputs, applied to each of the two keys.
        ({"each": True}, 12, 3, 12 * 3, 2 * 2 * 12 * 3),
        ({"each": True, "gain": True}, 12, 3, 12 + 12 * 3, 2 * 2 * 12 * 3),
        # Applied to each of 4 parts of 3 channels.
        ({"each": True, "grain": Grain(4)}, 3, 3, 3 * 3, 2 * 2 * 4 * 3 * 3),
        ({"each": True, "grain": Grain(4, full=True)}, 3, 12, 3 * 12, 2 * 2 * 4 * 3 * 12),
    ],
)
def test_counts_of_generated_weights_by_hand(change, fan_in, maps, size, flops):
    rule = Generated(**{"name": "g", "outputs": (3, 2), "keys": (0, 1), **change})
    assert (rule.fan_in(12), rule.maps(12), rule.size(12), rule.flops(12)) == (fan_in, maps, size, flops)
    assert rule.shape == (3, 2)
    assert (rule.per_token, rule.random) == (True, False)


def test_generated_weights_have_a_matrix_only_at_a_zero_start():
    assert evaluate(Generated("g", (2, 3), (0,))) == ((0,) * 3,) * 2
    for rule, values in ((Generated("g", (2, 3), (0,)), {}), (Generated("g", (1, 1), (0,), start="normal"), None)):
        with pytest.raises(TopologyError, match="the weights g are computed per token; they are no one matrix"):
            evaluate(rule, values)


def test_short_hands():
    assert ones(2, 3) == Constant(((1, 1, 1), (1, 1, 1)))
    assert identity(2) == Constant(((1, 0), (0, 1)))


@pytest.mark.parametrize("value", [0, -1, 0.0, math.nan, math.inf, -math.inf, True, "1", None, 10**400, F(1, 2)])
def test_numbers_above_zero(value):
    with pytest.raises(TopologyError, match=r"the rate is .*; a number above 0 was expected"):
        checked_positive("the rate", value)
    assert checked_positive("the rate", 2) == 2.0
    assert isinstance(checked_positive("the rate", 2), float)
