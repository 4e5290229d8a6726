import math
from fractions import Fraction

import pytest
import torch
from papers import Smooth, assert_is_the_paper, sizes

import graphs
from graphs import TopologyError, families, start_up
from graphs.matrix import connection_rows
from graphs.weights import CHANNEL, Bernoulli, generators, parameters


def highway(blocks, w, x):
    for k, block in enumerate(blocks, start=1):
        gate = 1 / (1 + torch.exp(-(x @ w[f"gate{k}_map"].T + w[f"bias{k}"][0, 0])))
        x = block(x) * gate + x * (1 - gate)
    return x


def test_highway_is_the_paper_s():
    assert_is_the_paper(families.highway(3), highway)
    assert_is_the_paper(families.highway(1, bias=-3.0), highway, dim=5)


def test_highway_starts_at_the_bias_alone():
    half = Fraction(1, 2)
    assert connection_rows(families.highway(3, bias=0)) == (
        {0: 1},
        {0: half, 1: half},
        {0: half**2, 1: half**2, 2: half},
        {0: half**3, 1: half**3, 2: half**2, 3: half},
    )
    first = 1 / (1 + math.exp(3))
    assert families.highway(2, bias=-3).matrix().tolist() == [
        [1, 0, 0],
        pytest.approx([1 - first, first, 0], rel=1e-12),
        pytest.approx([(1 - first) ** 2, (1 - first) * first, first], rel=1e-12),
    ]
    assert start_up(families.highway(2)).residual == "no"


@pytest.mark.parametrize(("depth", "dim"), [(1, 3), (3, 8)])
def test_highway_counts_and_initial_values(depth, dim):
    topology = families.highway(depth)
    assert sizes(topology, dim) == depth * (dim * dim + dim)
    assert topology.settings == (("bias", -1.0),)
    assert topology.block_hints == {}
    for k, mix in enumerate(topology.mixes, start=1):
        assert mix.keys == mix.reads[:1], "the gate is computed from what the block reads"
        (bias,), (gate,) = parameters(mix.weight), generators(mix.weight)
        assert (bias.name, bias.initial, bias.learned, bias.grain) == (f"bias{k}", ((-1.0,),), None, CHANNEL)
        assert (gate.norm, gate.gain, gate.hidden, gate.start, gate.grain) == ("none", False, 0, "zeros", CHANNEL)


@pytest.mark.parametrize(
    ("depth", "last", "period", "keeps"),
    [
        (4, 0.5, 1, [Fraction(7, 8), Fraction(3, 4), Fraction(5, 8), Fraction(1, 2)]),
        (3, 0.5, 1, [Fraction(5, 6), Fraction(2, 3), Fraction(1, 2)]),
        (5, 0.25, 2, [Fraction(3, 4), Fraction(3, 4), Fraction(1, 2), Fraction(1, 2), Fraction(1, 4)]),
        (2, 0, 1, [Fraction(1, 2), 0]),
        (1, 0.5, 1, [Fraction(1, 2)]),
    ],
)
def test_stochastic_depth_keeps_fall_linearly(depth, last, period, keeps):
    topology = families.stochastic_depth(depth, last=last, period=period)
    rows = connection_rows(topology)
    for r, row in enumerate(rows):
        assert row == {0: 1, **{k: keep for k, keep in enumerate(keeps[:r], start=1) if keep}}
    assert sizes(topology, 8) == 0
    assert [mix.weight.name for mix in topology.mixes] == [f"drop{(k - 1) // period + 1}" for k in range(1, depth + 1)]
    assert all(isinstance(mix.weight, Bernoulli) for mix in topology.mixes)


def test_stochastic_depth_that_keeps_everything_is_the_residual_network():
    assert families.stochastic_depth(4, last=1) == families.residual(4)
    assert families.stochastic_depth(2).settings == (("last", 0.5), ("period", 1))
    assert start_up(families.stochastic_depth(2)).residual == "no"
    assert families.stochastic_depth(4, period=2) != families.stochastic_depth(4)


def model_of(topology):
    torch.manual_seed(0)
    blocks = [Smooth(6, 1) for _ in range(topology.depth)]
    return graphs.compile(topology, blocks, dim=6).double()


def test_stochastic_depth_in_evaluation_is_the_mean():
    model = model_of(families.stochastic_depth(4)).eval()
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    expected = x
    for block, keep in zip(model.blocks, (7 / 8, 6 / 8, 5 / 8, 4 / 8), strict=True):
        expected = expected + keep * block(expected)
    torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)


def test_stochastic_depth_in_training_drops_whole_sites_as_often_as_it_should():
    model = model_of(families.stochastic_depth(4, last=0.25, period=2)).train()
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    outcomes = {}
    for first in (0, 1):
        for second in (0, 1):
            value = x
            for block, on in zip(model.blocks, (first, first, second, second), strict=True):
                value = value + on * block(value)
            outcomes[first, second] = value
    torch.manual_seed(1)
    counts = dict.fromkeys(outcomes, 0)
    with torch.no_grad():
        for _ in range(400):
            got = model(x)
            matching = [key for key, value in outcomes.items() if torch.allclose(got, value, rtol=1e-10, atol=1e-10)]
            assert len(matching) == 1
            counts[matching[0]] += 1
    keep = {1: 5 / 8, 2: 1 / 4}
    for (first, second), count in counts.items():
        p = (keep[1] if first else 1 - keep[1]) * (keep[2] if second else 1 - keep[2])
        assert abs(count / 400 - p) < 4 * math.sqrt(p * (1 - p) / 400)


@pytest.mark.parametrize(
    ("family", "settings", "says"),
    [
        ("highway", {"bias": math.inf}, "bias is inf; a finite number was expected"),
        ("highway", {"bias": "-1"}, "bias is '-1'"),
        ("stochastic_depth", {"last": 1.5}, "last is 1.5; a finite number from 0 to 1 was expected"),
        ("stochastic_depth", {"last": -0.1}, "last is -0.1"),
        ("stochastic_depth", {"last": math.nan}, "last is nan"),
        ("stochastic_depth", {"last": True}, "last is True"),
        ("stochastic_depth", {"period": 0}, "period is 0"),
    ],
)
def test_bad_settings(family, settings, says):
    with pytest.raises(TopologyError, match=says):
        getattr(families, family)(4, **settings)


@pytest.mark.parametrize("depth", [0, True, 2.0, "3"])
@pytest.mark.parametrize("family", ["highway", "stochastic_depth"])
def test_bad_depth(family, depth):
    with pytest.raises(TopologyError, match="depth is"):
        getattr(families, family)(depth)
