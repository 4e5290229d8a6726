from fractions import Fraction as F
from importlib import import_module

import pytest
from pass_samples import all_pairs, differences, edges, meanings, number, reads, sums

from graphs import Block, Constant, Mix, Parameter, Topology, families, lower
from graphs.passes import PIPELINE, factor, fold, prune
from graphs.traffic import traffic

module = import_module("graphs.passes.factor")  # the package's attribute of that name is the pass


def _topology(depth, *rows):
    """Block l reads row l (weights by number of output), the output the last row."""
    ops = []
    for block, row in enumerate(rows, start=1):
        values = tuple("x0" if j == 0 else f"y{j}" for j in row)
        ops.append(Mix(values, (f"u{block}",), Constant((tuple(row.values()),))))
        if block <= depth:
            ops.append(Block(block, (f"u{block}",), f"y{block}"))
    return Topology(tuple(ops), f"u{len(rows)}", depth)


def _combinations(topology):
    return {mix.writes[0]: dict(zip(mix.reads, mix.weight.entries[0], strict=True)) for mix in topology.mixes}


@pytest.mark.parametrize("depth", [2, 7, 50])
def test_all_pairs_become_one_running_sum(depth):
    topology = all_pairs(depth)
    assert edges(topology) == (depth + 1) * (depth + 2) // 2
    lowered = lower(topology).topology
    assert reads(lowered) == edges(lowered) == 2 * depth
    assert all(mix.weight == Constant(((1, 1),)) for mix in lowered.mixes)
    assert lowered == topology == families.residual(depth)
    assert traffic(lowered) == 6 * depth, "the residual network's"


def test_ratios_are_exact_where_floats_would_drift():
    """h_l = h_{l-1} / 3 + y_l: a weight of age a is 3^-a, in Fractions the same running sum with 1/3."""
    topology = all_pairs(40, lambda age: F(1, 3) ** age)
    lowered = lower(topology).topology
    assert reads(lowered) == 2 * 40
    assert {mix.weight for mix in lowered.mixes} == {Constant(((F(1, 3), 1),))}
    assert list(differences(topology, lowered, 0)) == []
    assert lowered == topology


def test_floats_stand_for_the_rationals_they_are():
    """0.1 * 3 is not 0.3: a multiple that is none is not taken."""
    topology = _topology(2, {0: 1}, {0: 0.1, 1: 0.1}, {0: 0.1 * 3, 1: 0.3, 2: 1})
    assert 0.1 * 3 != 0.3
    assert factor(prune(fold(topology))) is prune(fold(topology)) or reads(factor(topology)) == reads(topology)
    exact = all_pairs(6, lambda age: 0.5**age)
    assert reads(lower(exact).topology) == 12, "halves are exact"
    assert list(differences(exact, lower(exact).topology, 0)) == []


def test_a_multiple_is_read_with_its_factor():
    topology = _topology(3, {0: 1}, {0: 1, 1: 2}, {0: F(1, 2), 1: 1, 2: 5}, {0: -3, 1: -6, 2: -30, 3: 1})
    assert _combinations(factor(prune(fold(topology)))) == {
        "u2": {"x0": 1, "y1": 2},
        "u3": {"u2": F(1, 2), "y2": 5},
        "u4": {"u3": -6, "y3": 1},
    }


def test_what_is_contained_need_not_come_first():
    """u4 contains u3 but for x0, which is older."""
    topology = _topology(4, {0: 1}, {1: 1}, {1: 1, 2: 1}, {1: 1, 2: 1, 3: 1}, {0: 7, 1: 2, 2: 2, 3: 2, 4: 1})
    assert _combinations(factor(prune(fold(topology))))["u5"] == {"x0": 7, "u4": 2, "y4": 1}


def test_a_partial_sum_that_nobody_writes_is_made_for_those_who_profit():
    """Three ports that end differently share four sources."""
    history = [Block(k, ("x0" if k == 1 else f"y{k - 1}",), f"y{k}") for k in range(1, 7)]
    rows = [Mix(("x0", "y1", "y2", "y3", f"y{4 + i}"), (f"u{i}",), Constant(((1, 2, 1, 1, 3),))) for i in range(3)]
    last = Block(7, ("u0", "u1", "u2"), "y7", ("k", "q", "v"))
    topology = Topology((*history, *rows, last), "y7", 7)
    after = factor(topology)
    (made,) = [mix for mix in after.mixes if mix.writes[0] not in topology.producers]
    assert _combinations(after)[made.writes[0]] == {"x0": 1, "y1": 2, "y2": 1, "y3": 1}
    assert all(len(mix.reads) == 2 for mix in after.mixes if mix is not made)
    assert traffic(after) < traffic(topology)
    assert list(differences(topology, after, 0)) == []
    assert after == topology


def test_two_sources_for_two_consumers_are_not_worth_a_value():
    history = [Block(k, ("x0" if k == 1 else f"y{k - 1}",), f"y{k}") for k in range(1, 4)]
    rows = [Mix(("x0", "y1", f"y{2 + i}"), (f"u{i}",), Constant(((1, 1, 1),))) for i in range(2)]
    topology = Topology((*history, *rows, Block(4, ("u0", "u1"), "y4", ("k", "v"))), "y4", 4)
    assert factor(topology) is topology


def test_equal_combinations_are_computed_once():
    rows = [Mix(("x0", "y1"), (f"u{i}",), Constant(((2 * i, 3 * i),))) for i in (1, 1, 2)]
    rows = [Mix(mix.reads, (f"u{i}",), mix.weight) for i, mix in enumerate(rows)]
    topology = Topology((Block(1, ("x0",), "y1"), *rows, Block(2, ("u0", "u1", "u2"), "y2", ("k", "q", "v"))), "y2", 2)
    after = _combinations(factor(topology))
    assert (after["u1"], after["u2"]) == ({"u0": 1}, {"u0": 2})


def test_a_consumer_that_reads_the_sum_and_its_parts():
    """Its own reading of the sum and what the sum replaces add up; where both cancel nothing is left of them."""
    ops = (
        Block(1, ("x0",), "y1"),
        Mix(("x0", "y1"), ("u",), Constant(((4, 5),))),
        Block(2, ("u",), "y2"),
        Mix(("x0", "y1", "u", "y2"), ("o",), Constant(((8, 10, F(1, 2), 3),))),
    )
    topology = Topology(ops, "o", 2)
    after = factor(topology)
    assert _combinations(after)["o"] == {"u": F(5, 2), "y2": 3}
    assert meanings(after) == meanings(topology)
    cancels = topology.with_ops((*ops[:3], Mix(ops[3].reads, ("o",), Constant(((8, 10, -2, 3),)))))
    assert _combinations(factor(cancels))["o"] == {"y2": 3}
    nothing = topology.with_ops((*ops[:3], Mix(("x0", "y1", "u"), ("o",), Constant(((8, 10, -2),)))))
    assert meanings(factor(nothing)) == meanings(nothing)


def test_learned_sums_are_left_alone():
    topology = families.dense(6)
    assert factor(topology) is topology
    row = Mix(("x0", "y1", "y2"), ("o",), Parameter("p", ((1, 1, 1),)))
    ops = (
        Block(1, ("x0",), "y1"),
        Mix(("x0", "y1"), ("u",), Constant(((1, 1),))),
        Block(2, ("u",), "y2"),
        row,
    )
    assert factor(Topology(ops, "o", 2)).mixes[-1] is row


def test_a_forgotten_coefficient_is_caught(monkeypatch):
    """The mutant reads every shared combination with the weight one."""
    monkeypatch.setattr(module, "_reading", lambda value, factor, rest: {**rest, value: 1})
    changed = [(topology, factor(topology)) for topology in map(sums, range(120))]
    changed = [(one, other) for one, other in changed if other is not one]
    scaled = [meanings(one) != meanings(other) for one, other in changed]
    assert len(changed) > 60
    assert sum(scaled) > 20
    topology = all_pairs(8, lambda age: F(1, 2) ** age)
    assert list(differences(topology, factor(topology), 0)) != []


def test_a_source_too_many_is_caught(monkeypatch):
    """The mutant keeps what the shared combination already holds."""
    monkeypatch.setattr(module, "_above", lambda node: module._Node(None, "", 1, max(node.size - 2, 0), value="x0"))
    topology = all_pairs(8)
    assert list(differences(topology, factor(topology), 0)) != []


def test_work_is_linear_in_edges(monkeypatch):
    """Ratios taken, one for each edge and a few for each candidate: twice the depth is four times the edges."""
    calls = {}
    for depth in (100, 200):
        count = 0
        plain = module.ratio

        def counted(one, other, plain=plain):
            nonlocal count
            count += 1
            return plain(one, other)

        with monkeypatch.context() as patch:
            patch.setattr(module, "ratio", counted)
            factor(all_pairs(depth))
        calls[depth] = count / edges(all_pairs(depth))
    assert calls[200] < 1.1 * calls[100] < 3


def test_it_stands_where_chains_can_still_be_folded_after_it():
    names = [run.__name__ for run in PIPELINE]
    assert names.index("fold") < names.index("factor") < len(names) - 1 - names[::-1].index("fold")


def test_random_numbers_have_factors_to_forget():
    import random

    assert len({number(random.Random(seed)) for seed in range(50)}) > 4
