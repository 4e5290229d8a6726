from fractions import Fraction

import numpy as np
import pytest
from papers import assert_is_the_paper, sizes

from graphs import TopologyError, families, start_up
from graphs.matrix import connection_rows
from graphs.weights import parameters


@pytest.mark.parametrize("depth", [1, 2, 6])
def test_a_chain_with_every_output_in_the_sum(depth):
    expected = np.eye(depth + 1)
    expected[-1] = 1
    assert families.to_output(depth).matrix().tolist() == expected.tolist()
    assert families.to_output(depth).settings == (("period", 1),)


def test_with_a_period_only_the_end_of_a_published_block_is_connected():
    matrix = families.to_output(5, period=2).matrix()
    assert matrix[:-1].tolist() == np.eye(6)[:-1].tolist()
    assert matrix[-1].tolist() == [1, 0, 1, 0, 1, 1]
    assert families.to_output(2, period=9).matrix()[-1].tolist() == [1, 0, 1]


@pytest.mark.parametrize("bad", [{"depth": 0}, {"depth": True}, {"depth": 3, "period": 0}, {"depth": 3, "period": 1.5}])
@pytest.mark.parametrize("family", ["to_output", "to_output_hybrid"])
def test_bad_arguments(family, bad):
    with pytest.raises(TopologyError, match=r"depth is|period is"):
        getattr(families, family)(**bad)


def hybrid(period):
    """The released loop, its mixer layer taken apart: m from the sub-layers before the last, g from the last."""

    def forward(blocks, w, x0):
        out = current = x0
        for index, first in enumerate(range(0, len(blocks), period), start=1):
            *early, last = blocks[first : first + period]
            m = 0
            for block in early:
                m = m + block(out + m)
            g = last(out + m)
            a = w[f"share{index}"][0, 0] if f"share{index}" in w else 0  # not read: one sub-layer at the end
            current = current + g + a * m
            out = g + a * (m + out)
        return current

    return forward


@pytest.mark.parametrize(
    ("depth", "period", "shares"), [(1, 2, 0), (2, 2, 1), (6, 2, 3), (5, 2, 2), (4, 1, 3), (7, 3, 2), (6, 3, 2)]
)
def test_the_hybrid_is_the_released_loop(depth, period, shares):
    topology = families.to_output_hybrid(depth, period=period)
    assert_is_the_paper(topology, hybrid(period))
    assert sizes(topology, 8) == shares
    assert topology.block_hints == {}
    assert {p.initial for mix in topology.mixes for p in parameters(mix.weight)} <= {((Fraction(1, 4),),)}


def test_the_hybrid_by_hand():
    q = Fraction(1, 4)
    assert connection_rows(families.to_output_hybrid(4)) == (
        {0: 1},
        {0: 1, 1: 1},
        {0: q, 1: q, 2: 1},
        {0: q, 1: q, 2: 1, 3: 1},
        {0: 1, 1: q, 2: 1, 3: q, 4: 1},
    )
    assert families.to_output_hybrid(4).settings == (("period", 2),)
    assert start_up(families.to_output_hybrid(4)).residual == "no"


@pytest.mark.parametrize("period", [1, 2, 3])
def test_the_hybrid_lies_between_to_output_and_the_residual_network(period):
    topology = families.to_output_hybrid(6, period=period)
    ones = connection_rows(topology, {f"share{i}": ((1,),) for i in range(1, 7)})
    assert ones == connection_rows(families.residual(6))
    zeros = connection_rows(topology, {f"share{i}": ((0,),) for i in range(1, 7)})
    assert zeros[-1] == connection_rows(families.to_output(6, period=period))[-1]
    if period == 1:
        assert zeros == connection_rows(families.to_output(6))
