"""What is recognised as attention over depth, and what is left to the general rules."""

from dataclasses import replace

import pytest

from graphs import Mix, families, lower
from graphs.attention import attention
from graphs.weights import Generated, Parameter, Softmax, Sum

READS = ("a", "b", "c")
QUERY = Generated("query", (1, 3), (0, 1, 2), each=True, norm="rms", gain=True, group="mix")
MIX = Mix(READS, ("u",), Softmax(QUERY, 0.5), READS)


def test_attention_is_recognised():
    assert attention(MIX) == (QUERY, 0.5)
    moved = replace(MIX, keys=("c", "a", "b"), weight=Softmax(replace(QUERY, keys=(1, 2, 0))))
    assert attention(moved) == (replace(QUERY, keys=(1, 2, 0)), 1.0), "keys in another order"
    assert attention(replace(MIX, weight=Softmax(replace(QUERY, gain=False)))) is not None


@pytest.mark.parametrize(
    "mix",
    [
        replace(MIX, weight=QUERY),
        replace(MIX, weight=Softmax(QUERY, over="destinations")),
        replace(MIX, weight=Softmax(replace(QUERY, norm="layer"))),
        replace(MIX, weight=Softmax(replace(QUERY, norm="none", gain=False))),
        replace(MIX, weight=Softmax(replace(QUERY, each=False))),
        replace(MIX, weight=Softmax(Sum((QUERY, Parameter("bias", ((0, 0, 0),)))))),
        replace(MIX, weight=Softmax(replace(QUERY, outputs=(2, 3))), writes=("u", "v")),
        replace(MIX, keys=("a", "b", "d")),
        replace(MIX, keys=("b", "a", "c")),
        Mix(READS, ("u",), Softmax(Parameter("p", ((0, 0, 0),)))),
    ],
    ids=[
        "no softmax",
        "destinations",
        "layer norm",
        "no norm",
        "all keys",
        "bias",
        "outputs",
        "keys",
        "order",
        "static",
    ],
)
def test_what_is_not_is_left(mix):
    assert attention(mix) is None


def test_the_families():
    found = [attention(mix) for mix in lower(families.attnres(4)).mixes]
    assert [one is not None for one in found] == [True] * 4
    assert [one.query.name for one in found] == [f"query{n}" for n in (2, 3, 4, 5)]
    blocks = lower(families.attnres(6, block=2)).mixes
    assert [attention(mix) is not None for mix in blocks] == [mix.weight.per_token for mix in blocks]
    for other in (families.attnres(4, static=True), families.mudd(3), families.hyper(3, streams=2, dynamic=True)):
        assert not any(attention(mix) for mix in lower(other).mixes)
