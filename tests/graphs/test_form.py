import dataclasses
import gc
import random
import weakref

import pytest
from graph_samples import FAMILIES, rebuilt, sample

from graphs import Block, BlockCost, Constant, Mix, ModelCost, Parameter, Softmax, Sum, Topology, families, lower
from graphs.cost import _cost_of, cost_of, price
from graphs.weights import Weight


def _with_temperatures(topology: Topology, change) -> Topology:
    def rule(weight: Weight) -> Weight:
        if isinstance(weight, Softmax):
            return dataclasses.replace(weight, temperature=change(weight.temperature))
        return weight

    mixes = {op: dataclasses.replace(op, weight=rebuilt(op.weight, rule)) for op in topology.mixes}
    return topology.with_ops(tuple(mixes.get(op, op) if isinstance(op, Mix) else op for op in topology.ops))


def _two(*temperatures):
    """A mix of a softmax of one parameter at each of these temperatures."""
    gates = Parameter("gates", ((0, 1, 2),))
    rule = Sum(tuple(Softmax(gates, one) for one in temperatures))
    blocks = (Block(1, ("x0",), "y1"), Block(2, ("y1",), "y2"))
    return Topology((*blocks, Mix(("x0", "y1", "y2"), ("out",), rule)), "out", 2)


def test_temperatures_alone_are_left_out():
    assert families.ancre(4, temperature=0.5).form == families.ancre(4, temperature=2.0).form
    assert families.ancre(4, temperature=0.5).form.temperatures == (0.5,)
    assert _two(0.5, 2.0).form == _two(2.0, 0.5).form == _two(3.0, 4.0).form
    assert _two(0.5, 2.0).form.temperatures == (0.5, 2.0)
    assert _two(0.5, 0.5).form.temperatures == (0.5,)


@pytest.mark.parametrize(
    "other",
    [
        families.ancre(5),
        families.ancre(4, inner=False),
        families.ancre(4, normalise="outgoing"),
        families.ancre(4, period=2),
        families.attnres(4),
        families.hyper(4),
    ],
)
def test_everything_else_counts(other):
    assert families.ancre(4).form != other.form


def test_which_temperatures_are_equal_counts():
    assert _two(0.5, 2.0).form != _two(0.5, 0.5).form


def test_numbers_and_names_count():
    blocks = (Block(1, ("x0",), "y1"),)

    def one(weight, **kw):
        return Topology((*blocks, Mix(("x0", "y1"), ("out",), weight)), "out", 1, **kw).form

    base = one(Parameter("p", ((1, 2),)))
    assert base == one(Parameter("p", ((1.0, 2.0),)), family="other")
    assert base != one(Parameter("q", ((1, 2),)))
    assert base != one(Parameter("p", ((1, 3),)))
    assert base != one(Constant(((1, 2),)))
    assert base != one(Parameter("p", ((1, 2),), group="decayed"))


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_remembered_of_a_form_is_what_is_worked_out(name):
    _check(FAMILIES[name]())


@pytest.mark.parametrize("seed", range(40))
def test_random_programs_of_one_form(seed):
    _check(sample(seed, uniform=bool(seed % 2), per_token=seed % 3 == 0, normed=seed % 5 == 0))


def _check(topology: Topology) -> None:
    """Plans and digests of topologies of one form, in any order, are those that each has alone."""
    from graphs import canonical

    rng = random.Random(topology.digest)
    costs = ModelCost(4, 8, tuple(BlockCost(100.0 * i, i) for i in range(topology.depth)))
    others = [topology, *(_with_temperatures(topology, lambda t, by=by: t * by) for by in (rng.random() + 0.1, 3))]
    for cached in (canonical._frame, _cost_of):
        cached.cache_clear()
    found = [(one.certificate, cost_of(one, costs)) for one in others]
    for one, (text, cost) in zip(others, found, strict=True):
        assert one.form == topology.form
        for cached in (canonical._frame, _cost_of):
            cached.cache_clear()
        alone = one.with_ops(one.ops)
        assert (alone.certificate, price(lower(alone), costs)) == (text, cost)


def test_what_is_remembered_of_a_form_keeps_no_topology_alive():
    """Without the garbage collector, which a search calls seldom."""
    gc.disable()
    try:
        topology = families.ancre(4)
        costs = ModelCost(4, 8, (BlockCost(100, 10),) * 4)
        known = weakref.ref(topology), topology.form, cost_of(topology, costs), topology.digest
        assert known[1].topology is topology
        del topology
        assert known[0]() is None
    finally:
        gc.enable()
