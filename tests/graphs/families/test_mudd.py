import numpy as np
import pytest
import torch
from papers import assert_is_the_paper, compiled, rms_norm, sizes

from graphs import TopologyError, families, lower
from graphs.cost import wiring_sizes
from graphs.facts import start_up
from graphs.weights import generators, parameters


def paper(period, *, multiway=True, dynamic=True):
    """X_i = B_i(U^Q, U^K, U^V, U^R), U^c_i = sum_j A^c_ij X_j, A_i = GELU(RMSNorm(X_i) W1) W2 + a."""

    def site(layers, q, k, v, r):
        h = r + (layers[0](q, k, v) if multiway else layers[0](r))
        for layer in layers[1:]:
            h = h + layer(h)
        return h

    def forward(blocks, w, x0):
        hidden = [x0]
        ways = (x0, x0, x0, x0)
        groups = [blocks[start : start + period] for start in range(0, len(blocks), period)]
        for i, layers in enumerate(groups, start=1):
            x = site(layers, *ways)
            hidden.append(x)
            a = w[f"static{i}"]  # (C, i + 1)
            if dynamic:
                inner = rms_norm(x) @ w[f"dynamic{i}_hidden"].T
                gelu = 0.5 * inner * (1 + torch.erf(inner / 2**0.5))
                a = a + (gelu @ w[f"dynamic{i}_map"].T).unflatten(-1, a.shape)
            stacked = torch.stack(hidden, -2)  # (..., i + 1, d)
            mixed = (a @ stacked).unbind(-2)
            ways = mixed if len(mixed) == 4 else (mixed[-1],) * 4
        return ways[3]

    return forward


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("multiway", [True, False])
@pytest.mark.parametrize(("depth", "period"), [(1, 1), (3, 1), (4, 2), (5, 2), (3, 4)])
def test_it_is_the_paper_s(depth, period, multiway, dynamic):
    topology = families.mudd(depth, period=period, multiway=multiway, dynamic=dynamic)
    assert_is_the_paper(topology, paper(period, multiway=multiway, dynamic=dynamic))


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize(("depth", "period"), [(1, 1), (4, 1), (4, 2), (5, 2)])
def test_it_starts_as_the_residual_network_on_every_way(depth, period, dynamic):
    expected = np.tri(depth + 1)
    assert families.mudd(depth, period=period, multiway=False, dynamic=dynamic).matrix().tolist() == expected.tolist()
    topology = families.mudd(depth, period=period, dynamic=dynamic)
    first = [number % period == 0 for number in range(depth)]
    for port in ("q", "k", "v"):
        kept = expected * np.array([*first, True])[:, None]
        assert topology.matrix(port).tolist() == kept.tolist()
    if period > 1:
        kept = expected * np.array([*np.logical_not(first), True])[:, None]
        assert topology.matrix("in").tolist() == kept.tolist()


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("multiway", [True, False])
@pytest.mark.parametrize("period", [1, 2])
def test_start_up_facts(period, multiway, dynamic):
    facts = start_up(families.mudd(5, period=period, multiway=multiway, dynamic=dynamic))
    assert (facts.residual, facts.dead, facts.redundant) == ("yes", 0, 0)


@pytest.mark.parametrize(("depth", "period"), [(1, 1), (3, 1), (4, 2), (5, 2)])
def test_count_of_weights(depth, period):
    d, count = 10, -(-depth // period)
    static = [4 * (i + 1) for i in range(1, count)] + [count + 1]
    hidden = [4 * (i + 1) for i in range(1, count + 1)]  # one way with four times the units at the last site
    maps = sum(d * k + k * a for k, a in zip(hidden, static, strict=True))
    assert sizes(families.mudd(depth, period=period, dynamic=False), d) == sum(static)
    assert sizes(families.mudd(depth, period=period), d) == sum(static) + maps
    one = [i + 1 for i in range(1, count + 1)]
    hidden = [*one[:-1], 4 * one[-1]]
    maps = sum(d * k + k * a for k, a in zip(hidden, one, strict=True))
    assert sizes(families.mudd(depth, period=period, multiway=False, dynamic=False), d) == sum(one)
    assert sizes(families.mudd(depth, period=period, multiway=False), d) == sum(one) + maps


@pytest.mark.parametrize(("blocks", "d", "percent"), [(24, 2048, 0.22), (32, 2560, 0.23), (32, 4096, 0.14)])
def test_the_published_share_of_parameters(blocks, d, percent):
    """1.4B, 2.8B and 6.9B: of the 12 d^2 weights of each block."""
    counted = sum(wiring_sizes(lower(families.mudd(blocks)), d).values())
    assert 100 * counted / (12 * d * d * blocks) == pytest.approx(percent, abs=0.01)


def test_ports():
    topology = families.mudd(4, period=2)
    assert [block.ports for block in topology.blocks] == [("q", "k", "v"), ("in",)] * 2
    assert {block.ports for block in families.mudd(3, multiway=False).blocks} == {("in",)}
    assert topology.blocks[0].reads == ("x0",) * 3
    assert topology.blocks[2].reads == ("q1", "k1", "v1")


def test_initial_values_and_settings():
    topology = families.mudd(2)
    first, last = (g for mix in topology.mixes for g in generators(mix.weight))
    assert (first.outputs, first.hidden, last.outputs, last.hidden) == ((4, 2), 8, (1, 3), 12)
    assert (first.norm, first.gain, first.start, first.group, first.each) == ("rms", False, "zeros", "decayed", False)
    rules = [p for mix in topology.mixes for p in parameters(mix.weight)]
    assert [p.initial for p in rules] == [((0, 1),) * 4, ((0, 0, 1),)]
    assert dict(topology.settings) == {"period": 1, "multiway": True, "dynamic": True}
    hidden = compiled(families.mudd(2), 256, noise=0.0).weights.dynamic2_hidden
    assert hidden.std().item() == pytest.approx(256**-0.5, rel=0.1)


@pytest.mark.parametrize("bad", [{"depth": 0}, {"depth": True}, {"depth": 3, "period": 0}, {"depth": 3, "period": 1.5}])
def test_bad_arguments(bad):
    with pytest.raises(TopologyError, match=r"depth is|period is"):
        families.mudd(**bad)
