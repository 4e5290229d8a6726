import itertools

import numpy as np
import pytest

from graphs import Parameter, TopologyError, families, lower
from graphs.cost import wiring_sizes
from graphs.matrix import connection_rows
from graphs.weights import parameters


def _published(depth, weights, inner, period, dilation):
    """The equations by hand: X_0 = Y_0, X_i = Y_{i-1} + f_i(Y_{i-1}), Y_i = sum over j = i mod k of a_ij X_j.

    Vectors over outputs 0..depth; returns what each sub-layer reads and Y at the end.
    """
    unit = np.eye(depth + 1)
    x, y, reads = [unit[0]], unit[0], []
    numbers = list(range(1, depth + 1))
    for i, start in enumerate(range(0, depth, period), start=1):
        stream = y
        for number in numbers[start : start + period]:
            reads.append(stream)
            stream = stream + unit[number] if inner else unit[number]
        x.append(stream)
        own = weights[f"average{numbers[start : start + period][-1]}"]
        sources = [j for j in range(i + 1) if j % dilation == i % dilation]
        assert len(own) == len(sources)
        y = sum(a * x[j] for a, j in zip(own, sources, strict=True))
    return np.stack([*reads, y])


@pytest.mark.parametrize(
    ("depth", "inner", "period", "dilation"),
    list(itertools.product((1, 2, 5), (True, False), (1, 2), (1, 2, 4))),
)
def test_the_published_recursion_at_random_weights(depth, inner, period, dilation):
    topology = families.dense(depth, inner=inner, period=period, dilation=dilation)
    rng = np.random.default_rng(depth)
    values = {p.name: rng.standard_normal(p.shape).tolist() for m in topology.mixes for p in parameters(m.weight)}
    rows = connection_rows(topology, {name: tuple(map(tuple, v)) for name, v in values.items()})
    got = np.array([[float(row.get(j, 0)) for j in range(depth + 1)] for row in rows])
    expected = _published(depth, {name: v[0] for name, v in values.items()}, inner, period, dilation)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("depth", [1, 2, 3, 8])
def test_count_of_weights(depth):
    assert sum(wiring_sizes(lower(families.dense(depth))).values()) == depth * (depth + 3) // 2


@pytest.mark.parametrize(("period", "dilation"), [(1, 1), (2, 1), (1, 2), (2, 3)])
def test_it_starts_as_the_residual_network(period, dilation):
    topology = families.dense(6, period=period, dilation=dilation)
    assert topology.matrix().tolist() == np.tri(7).tolist()
    assert families.dense(6, inner=False, period=period, dilation=dilation).matrix().tolist() == np.eye(7).tolist()
    for mix in topology.mixes:
        if isinstance(mix.weight, Parameter):
            assert mix.weight.initial == ((0,) * (len(mix.reads) - 1) + (1,),)
            assert mix.weight.learned is None


def test_defaults_and_settings():
    assert families.dense(2).settings == (("inner", True), ("period", 1), ("dilation", 1))


@pytest.mark.parametrize("dilation", [0, -1, True, 1.0, "2"])
def test_bad_dilation(dilation):
    with pytest.raises(TopologyError, match="dilation is"):
        families.dense(3, dilation=dilation)


@pytest.mark.parametrize(
    "bad", [{"depth": 0}, {"depth": True}, {"depth": 3, "period": 0}, {"depth": 3, "period": True}]
)
def test_bad_arguments(bad):
    with pytest.raises(TopologyError, match=r"depth is|period is"):
        families.dense(**bad)
