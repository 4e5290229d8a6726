import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from papers import assert_is_the_paper, sizes

from graphs import Constant, Softmax, Sum, TopologyError, families, lower
from graphs.cost import wiring_sizes
from graphs.matrix import connection_rows
from graphs.weights import Place, evaluate, parameters


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
    assert sum(wiring_sizes(lower(families.ancre(sites, inner=inner)), 1).values()) == sites * (sites + 1) // 2 - 1
    grouped = lower(families.ancre(2 * sites, inner=inner, period=2))
    assert sum(wiring_sizes(grouped, 1).values()) == sites * (sites + 1) // 2 - 1


def paper(depth, temperature, normalise, inner, period):
    """The released code: u = Block(h), then h = u + the gated history; logits / temperature, softmax over the history
    of a reader, or over the readers of a state, the reader k of state i being entry k - 1 - i."""
    ends = [min(start + period, depth) for start in range(0, depth, period)]

    def forward(blocks, w, x0):
        count, history, h = len(ends), [x0], x0
        for k, (start, end) in enumerate(zip([0, *ends], ends, strict=False), start=1):
            u = h
            for block in blocks[start:end]:
                u = u + block(u) if inner else block(u)
            if normalise == "incoming":
                gates = torch.softmax(w[f"gates{end}"][0] / temperature, 0) if k > 1 else [1.0]
            else:
                shares = [w[f"shares{node}"][0] for node in [0, *ends][: count - 1]] + [torch.zeros(1).double()]
                gates = [torch.softmax(shares[i] / temperature, 0)[k - 1 - i] for i in range(k)]
            h = u
            for gate, state in zip(gates, history, strict=True):
                h = h + gate * state
            history.append(h)
        return h

    return forward


@pytest.mark.parametrize("normalise", ["incoming", "outgoing"])
@pytest.mark.parametrize(("depth", "inner", "period"), CASES)
def test_it_is_the_released_code_s(depth, inner, period, normalise):
    topology = families.ancre(depth, temperature=0.7, normalise=normalise, inner=inner, period=period)
    assert_is_the_paper(topology, paper(depth, 0.7, normalise, inner, period))


@pytest.mark.parametrize("inner", [True, False])
@pytest.mark.parametrize("sites", [1, 2, 3, 8])
def test_outgoing_gates(sites, inner):
    """As many weights; at the start each state gives every later one an equal share, and all of it together."""
    topology = families.ancre(sites, normalise="outgoing", inner=inner)
    assert sizes(topology, 1) == sites * (sites + 1) // 2 - 1
    rules = [p for mix in topology.mixes for p in parameters(mix.weight)]
    assert {p.name: p.initial for p in rules} == {f"shares{i}": ((0,) * (sites - i),) for i in range(sites - 1)}
    columns = [[] for _ in range(sites)]
    for k in range(1, sites + 1):
        row = evaluate(topology.producers[f"h{k}"].weight)
        gates = list(row[0][1:])
        gates[-1] -= int(inner)
        assert gates == [Fraction(1, sites - i) for i in range(k)]
        for i, gate in enumerate(gates):
            columns[i].append(gate)
    assert [sum(column) for column in columns] == [1] * sites
    assert dict(topology.settings)["normalise"] == "outgoing"
    assert families.ancre(sites, **dict(topology.settings)) == topology


def test_both_normalisations_are_one_where_there_is_one_gate():
    assert families.ancre(1, normalise="outgoing") == families.ancre(1)
    assert families.ancre(2, normalise="outgoing") != families.ancre(2)


def test_initial_values_and_temperature():
    topology = families.ancre(3)
    gates = [p for mix in topology.mixes for p in parameters(mix.weight)]
    assert [(p.name, p.initial, p.learned) for p in gates] == [
        ("gates2", ((0, 0),), None),
        ("gates3", ((0,) * 3,), None),
    ]
    rule = topology.producers["h3"].weight
    assert isinstance(rule, Sum)
    assert [type(term) for term in rule.terms] == [Constant, Place]
    assert isinstance(rule.terms[1].of, Softmax)
    assert rule.terms[1].of.temperature == 0.01
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
        {"depth": 3, "normalise": "both"},
    ],
)
def test_bad_arguments(bad):
    with pytest.raises(
        TopologyError, match=r"depth is|period is|temperature is|normalise is 'both'; one of incoming, outgoing"
    ):
        families.ancre(**bad)
