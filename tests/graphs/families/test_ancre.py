import itertools

import numpy as np
import pytest

from graphs import Softmax, Sum, TopologyError, families, lower
from graphs.cost import wiring_sizes
from graphs.matrix import connection_rows
from graphs.weights import parameters


def _published(depth, logits, temperature, inner, period):
    """u = Block(h), block with or without its own residuals; h_next = u + sum_i softmax(c / tau)_i h_i."""
    unit = np.eye(depth + 1)
    history, reads = [unit[0]], []
    for start in range(1, depth + 1, period):
        u = history[-1]
        for number in range(start, min(start + period, depth + 1)):
            reads.append(u)
            u = u + unit[number] if inner else unit[number]
        c = np.array(logits.get(number, [0.0] * len(history)))
        gates = np.exp((c - c.max()) / temperature)
        history.append(u + (gates / gates.sum()) @ np.stack(history))
    return np.stack([*reads, history[-1]])


def _matrix(topology, values=None):
    rows = connection_rows(topology, values)
    return np.array([[float(row.get(j, 0)) for j in range(topology.depth + 1)] for row in rows])


CASES = list(itertools.product((1, 2, 5), (True, False), (1, 2, 3)))


@pytest.mark.parametrize(("depth", "inner", "period"), CASES)
def test_the_published_recursion_at_the_start(depth, inner, period):
    topology = families.ancre(depth, inner=inner, period=period)
    np.testing.assert_allclose(topology.matrix(), _published(depth, {}, 0.01, inner, period), rtol=1e-13)


@pytest.mark.parametrize(("depth", "inner", "period"), CASES)
def test_the_published_recursion_at_random_logits(depth, inner, period):
    topology = families.ancre(depth, temperature=0.7, inner=inner, period=period)
    rng = np.random.default_rng(3)
    rules = [p for mix in topology.mixes for p in parameters(mix.weight)]
    logits = {p.name: rng.standard_normal(p.shape[1]).tolist() for p in rules}
    got = _matrix(topology, {name: (tuple(row),) for name, row in logits.items()})
    by_site = {int(name.removeprefix("gates")): row for name, row in logits.items()}
    np.testing.assert_allclose(got, _published(depth, by_site, 0.7, inner, period), rtol=1e-12)


def test_the_growth_of_the_stream_that_the_reference_computes():
    """With blocks that write nothing the stream is x + mean(x), 35.8 times the stem at 8 sites, 111 at 12."""
    assert families.ancre(8).matrix()[-1, 0] == pytest.approx(35.8, abs=0.05)
    assert families.ancre(12).matrix()[-1, 0] == pytest.approx(111, abs=0.5)


@pytest.mark.parametrize("inner", [True, False])
@pytest.mark.parametrize("sites", [1, 2, 3, 8])
def test_count_of_weights(sites, inner):
    assert sum(wiring_sizes(lower(families.ancre(sites, inner=inner))).values()) == sites * (sites + 1) // 2 - 1
    grouped = lower(families.ancre(2 * sites, inner=inner, period=2))
    assert sum(wiring_sizes(grouped).values()) == sites * (sites + 1) // 2 - 1


def test_initial_values_and_temperature():
    topology = families.ancre(3)
    gates = [p for mix in topology.mixes for p in parameters(mix.weight)]
    assert [(p.name, p.initial, p.learned) for p in gates] == [
        ("gates2", ((0, 0),), None),
        ("gates3", ((0,) * 3,), None),
    ]
    rule = topology.producers["h3"].weight
    assert isinstance(rule, Sum)
    assert isinstance(rule.terms[1].left, Softmax)
    assert rule.terms[1].left.temperature == 0.01
    assert topology.settings == (("temperature", 0.01), ("inner", True), ("period", 1))
    assert families.ancre(1).matrix().tolist() == [[1, 0], [2, 1]], "the total weight of h_0 is exactly 2"
    assert families.ancre(1, inner=False).matrix().tolist() == [[1, 0], [1, 1]]


@pytest.mark.parametrize(
    "bad",
    [
        {"depth": 0},
        {"depth": True},
        {"depth": 3, "period": 0},
        {"depth": 3, "temperature": 0},
        {"depth": 1, "temperature": 0},
        {"depth": 3, "temperature": True},
        {"depth": 3, "temperature": -1.0},
        {"depth": 3, "temperature": float("nan")},
    ],
)
def test_bad_arguments(bad):
    with pytest.raises(TopologyError, match=r"depth is|period is|temperature is"):
        families.ancre(**bad)
