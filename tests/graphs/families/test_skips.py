import math
from fractions import Fraction

import pytest
import torch
from papers import assert_is_the_paper, sizes

from graphs import TopologyError, families, start_up
from graphs.matrix import connection_rows
from graphs.weights import parameters


def sites(depth, period):
    return [list(range(depth))[first : first + period] for first in range(0, depth, period)]


def unet(period):
    """The released loops: the first half pushes its outputs, the second half pops them."""

    def forward(blocks, w, x):
        known = sites(len(blocks), period)
        half = len(known) // 2
        pushed = []
        for index, site in enumerate(known):
            if index < half:
                number = None
            elif len(known) % 2 and index == half:
                number = None  # the middle one of an odd number
            else:
                number = len(pushed)
                x = x + w[f"skip{number}"][0, 0] * pushed.pop()
            for b in site:
                x = x + blocks[b](x)
            if index < half:
                pushed.append(x)
        return x

    return forward


@pytest.mark.parametrize(("depth", "period"), [(2, 1), (4, 1), (5, 1), (6, 1), (8, 2), (7, 2), (1, 1)])
def test_unet_is_the_released_loop(depth, period):
    topology = families.unet(depth, period=period)
    assert_is_the_paper(topology, unet(period))
    assert sizes(topology, 8) == len(sites(depth, period)) // 2
    assert topology.block_hints == {}


def test_unet_by_hand():
    assert connection_rows(families.unet(4)) == (
        {0: 1},
        {0: 1, 1: 1},
        {0: 2, 1: 2, 2: 2},
        {0: 3, 1: 3, 2: 2, 3: 1},
        {0: 3, 1: 3, 2: 2, 3: 1, 4: 1},
    )
    assert connection_rows(families.unet(3)) == (
        {0: 1},
        {0: 1, 1: 1},
        {0: 2, 1: 2, 2: 1},
        {0: 2, 1: 2, 2: 1, 3: 1},
    )
    nothing = {f"skip{i}": ((0,),) for i in (1, 2, 3)}
    assert connection_rows(families.unet(6), nothing) == connection_rows(families.residual(6))
    assert connection_rows(families.unet(6)) != connection_rows(families.residual(6))
    assert families.unet(1) == families.residual(1)
    assert families.unet(4).settings == (("period", 1),)
    assert start_up(families.unet(4)).residual == "no"


def test_unet_numbers_start_at_one():
    found = [(p.name, p.initial) for mix in families.unet(6).mixes for p in parameters(mix.weight)]
    assert found == [("skip3", ((1,),)), ("skip2", ((1,),)), ("skip1", ((1,),))]


def x0_lambdas(period):
    def forward(blocks, w, x0):
        x = x0
        for index, site in enumerate(sites(len(blocks), period), start=1):
            a, b = w[f"lambdas{index}"][0]
            x = a * x + b * x0
            for number in site:
                x = x + blocks[number](x)
        return x

    return forward


@pytest.mark.parametrize(("depth", "period"), [(1, 1), (4, 1), (4, 2), (5, 2)])
def test_x0_lambdas_are_the_released_loop(depth, period):
    topology = families.x0_lambdas(depth, period=period)
    assert_is_the_paper(topology, x0_lambdas(period))
    assert sizes(topology, 8) == 2 * len(sites(depth, period))
    assert connection_rows(topology) == connection_rows(families.residual(depth)), "it starts as the residual network"
    assert start_up(topology).residual == "yes"
    assert topology.block_hints == {}
    assert {p.initial for mix in topology.mixes for p in parameters(mix.weight)} == {((1, 0),)}


def test_x0_lambdas_act_on_the_stream():
    third = Fraction(1, 3)
    rows = connection_rows(families.x0_lambdas(2), {"lambdas1": ((2, 1),), "lambdas2": ((third, 5),)})
    assert rows == ({0: 3}, {0: 6, 1: third}, {0: 6, 1: third, 2: 1})
    assert families.x0_lambdas(2).settings == (("period", 1),)


def long_skip(start, end, period):
    def forward(blocks, w, x):
        known = sites(len(blocks), period)
        states = [x]
        for index in range(1, len(known) + 2):
            if index == end:
                x = x + torch.sigmoid(w["skip"][0, 0]) * states[start]
            for number in known[index - 1] if index <= len(known) else []:
                x = x + blocks[number](x)
            states.append(x)
        return x

    return forward


@pytest.mark.parametrize(
    ("depth", "start", "end", "period"),
    [(8, 4, 7, 1), (6, 4, 7, 1), (3, 0, 2, 1), (3, 0, 4, 1), (3, 1, 4, 1), (7, 1, 3, 2), (7, 0, 5, 2), (1, 0, 2, 1)],
)
def test_long_skip_is_the_released_loop(depth, start, end, period):
    topology = families.long_skip(depth, start=start, end=end, period=period)
    assert_is_the_paper(topology, long_skip(start, end, period))
    assert sizes(topology, 8) == 1
    assert topology.block_hints == {}


def test_long_skip_by_hand():
    w = 1 / (1 + math.exp(1.5))
    assert w == pytest.approx(0.18, abs=0.003)
    assert families.long_skip(3, start=1, end=3).matrix().tolist() == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        pytest.approx([1 + w, 1 + w, 1, 0], rel=1e-15),
        pytest.approx([1 + w, 1 + w, 1, 1], rel=1e-15),
    ]
    even = connection_rows(families.long_skip(2, start=0, end=3), {"skip": ((0,),)})
    assert even == ({0: 1}, {0: 1, 1: 1}, {0: Fraction(3, 2), 1: 1, 2: 1})
    assert families.long_skip(8) == families.long_skip(8, start=4, end=7)
    assert families.long_skip(8).settings == (("start", 4), ("end", 7), ("period", 1))
    assert start_up(families.long_skip(8)).residual == "no"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"start": 0, "end": 1}, r"a skip from 0 to 1: it goes from i to j >= i \+ 2, within 0 \(stem\) .. 5"),
        ({"start": 3, "end": 4}, "a skip from 3 to 4"),
        ({"start": 3, "end": 3}, "a skip from 3 to 3"),
        ({"start": 3, "end": 1}, "a skip from 3 to 1"),
        ({"start": 1, "end": 6}, r"5 \(output\) at 4 sites"),
        ({}, "a skip from 4 to 7"),
        ({"start": 0, "end": 4, "period": 2}, r"3 \(output\) at 2 sites"),
        ({"start": -1, "end": 4}, "start is -1"),
        ({"start": 0.0, "end": 4}, "start is 0.0"),
        ({"start": 0, "end": True}, "end is True"),
        ({"start": 0, "end": 3, "period": 0}, "period is 0"),
    ],
)
def test_bad_ends(settings, says):
    with pytest.raises(TopologyError, match=says):
        families.long_skip(4, **settings)


@pytest.mark.parametrize(
    "bad", [{"depth": 0}, {"depth": True}, {"depth": 2.0}, {"depth": "3"}, {"depth": 3, "period": 0}]
)
@pytest.mark.parametrize("family", ["unet", "x0_lambdas", "long_skip"])
def test_bad_arguments(family, bad):
    with pytest.raises(TopologyError, match=r"depth is|period is"):
        getattr(families, family)(**bad)
