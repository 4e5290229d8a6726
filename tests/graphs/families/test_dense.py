import itertools

import numpy as np
import pytest
import torch
from papers import assert_is_the_paper, sizes

from graphs import Parameter, TopologyError, families, lower, start_up
from graphs.cost import wiring_sizes
from graphs.matrix import connection_rows
from graphs.weights import MATRIX, parameters


def _published(depth, weights, inner, period, dilation, every=1):
    """The equations by hand: X_0 = Y_0, X_i = Y_{i-1} + f_i(Y_{i-1}), Y_i = sum over j = i mod k of a_ij X_j.

    With ``every`` p the sum is taken after every p-th block, and Y_i = X_i after the others.

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
        y = stream
        if i % every:
            continue
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


@pytest.mark.parametrize(
    ("depth", "period", "dilation", "every", "count"),
    [(6, 1, 1, 2, 3 + 5 + 7), (6, 1, 1, 4, 5), (5, 1, 2, 2, 2 + 3), (6, 2, 1, 2, 3), (3, 1, 1, 4, 0), (6, 1, 4, 5, 2)],
)
@pytest.mark.parametrize("inner", [True, False])
def test_an_average_after_every_so_many_blocks_only(depth, period, dilation, every, count, inner):
    topology = families.dense(depth, inner=inner, period=period, dilation=dilation, every=every)
    assert sizes(topology, 8) == count
    rng = np.random.default_rng(depth)
    values = {p.name: rng.standard_normal(p.shape).tolist() for m in topology.mixes for p in parameters(m.weight)}
    rows = connection_rows(topology, {name: tuple(map(tuple, v)) for name, v in values.items()})
    got = np.array([[float(row.get(j, 0)) for j in range(depth + 1)] for row in rows])
    expected = _published(depth, {name: v[0] for name, v in values.items()}, inner, period, dilation, every)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)
    assert start_up(families.dense(depth, every=every)).residual == "yes"


def test_every_keeps_the_sources_between_and_period_does_not():
    kept, left_out = families.dense(4, every=2), families.dense(4, period=2)
    assert [mix.reads for mix in kept.mixes if isinstance(mix.weight, Parameter)] == [
        ("x0", "x1", "x2"),
        ("x0", "x1", "x2", "x3", "x4"),
    ]
    assert [mix.reads for mix in left_out.mixes if isinstance(mix.weight, Parameter)] == [
        ("x0", "x2"),
        ("x0", "x2", "x4"),
    ]


@pytest.mark.parametrize("depth", [1, 2, 3, 8])
def test_count_of_weights(depth):
    assert sum(wiring_sizes(lower(families.dense(depth)), 1).values()) == depth * (depth + 3) // 2


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
    assert families.dense(2).settings == (("inner", True), ("period", 1), ("dilation", 1), ("every", 1))


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "2"])
@pytest.mark.parametrize("name", ["dilation", "every"])
def test_bad_dilation_and_every(name, value):
    with pytest.raises(TopologyError, match=f"{name} is"):
        families.dense(3, **{name: value})


@pytest.mark.parametrize(
    "bad", [{"depth": 0}, {"depth": True}, {"depth": 3, "period": 0}, {"depth": 3, "period": True}]
)
@pytest.mark.parametrize("family", ["dense", "densenet"])
def test_bad_arguments(family, bad):
    with pytest.raises(TopologyError, match=r"depth is|period is"):
        getattr(families, family)(**bad)


def densenet(inner, output, period):
    """Concatenate everything so far and project it; with ``inner`` the block keeps its residual."""

    def projected(nodes, weight):  # (1, k, dim, dim), destination first
        return torch.cat(nodes, dim=-1) @ torch.cat(list(weight[0]), dim=-1).T

    def forward(blocks, w, x0):
        nodes = [x0]
        for first in range(0, len(blocks), period):
            x = projected(nodes, w[f"project{first + 1}"])
            for block in blocks[first : first + period]:
                x = x + block(x) if inner else block(x)
            nodes.append(x)
        return nodes[-1] if output == "last" else projected(nodes, w["project_out"])

    return forward


@pytest.mark.parametrize("output", ["last", "all"])
@pytest.mark.parametrize("inner", [True, False])
@pytest.mark.parametrize(("depth", "period"), [(1, 1), (3, 1), (5, 2)])
def test_densenet_is_the_paper_s(depth, period, inner, output):
    topology = families.densenet(depth, inner=inner, output=output, period=period)
    assert_is_the_paper(topology, densenet(inner, output, period), dim=4)
    sites = -(-depth // period)
    assert sizes(topology, 4) == 16 * (sites * (sites + 1) // 2 + (sites + 1) * (output == "all"))
    assert topology.block_hints == {}


def test_the_count_that_the_reference_lists():
    assert sizes(families.densenet(10), 128) == 55 * 128**2


def test_densenet_starts_as_sums_of_everything():
    assert connection_rows(families.densenet(3)) == ({0: 1}, {0: 2, 1: 1}, {0: 4, 1: 2, 2: 1}, {0: 4, 1: 2, 2: 1, 3: 1})
    plain = ({0: 1}, {0: 1, 1: 1}, {0: 1, 1: 1, 2: 1})
    assert connection_rows(families.densenet(3, inner=False)) == (*plain, {3: 1})
    assert connection_rows(families.densenet(3, inner=False, output="all")) == connection_rows(families.residual(3))
    assert connection_rows(families.densenet(3, output="all"))[-1] == {0: 8, 1: 4, 2: 2, 3: 1}
    assert start_up(families.densenet(3)).residual == "no"
    assert start_up(families.densenet(3, inner=False, output="all")).residual == "yes"
    for mix in families.densenet(3, output="all").mixes:
        if isinstance(mix.weight, Parameter):
            assert (mix.weight.learned, mix.weight.grain) == (None, MATRIX)
            assert set(mix.weight.initial[0]) == {1}
    assert families.densenet(2).settings == (("inner", True), ("output", "last"), ("period", 1))


def test_bad_output():
    with pytest.raises(TopologyError, match="output is 'first'; one of last, all was expected"):
        families.densenet(3, output="first")
