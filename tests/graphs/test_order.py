import random

import pytest
from graph_samples import FAMILIES, sample

from graphs import Block, Topology, families
from graphs.order import schedule
from graphs.passes import prune


@pytest.mark.parametrize("seed", range(40))
def test_every_operation_runs_once_after_what_it_reads(seed):
    topology = sample(seed)
    order = schedule(topology)
    assert sorted(map(id, order)) == sorted(map(id, topology.ops))
    known = {"x0"}
    for op in order:
        assert known.issuperset(op.reads)
        known.update(op.outputs)
    numbers = [op.number for op in order if isinstance(op, Block)]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_order_does_not_depend_on_the_listing(name):
    topology = FAMILIES[name]()
    shuffled = list(topology.ops)
    random.Random(1).shuffle(shuffled)
    assert schedule(topology.with_ops(tuple(shuffled))) == schedule(topology)


def test_the_order_of_samples_does_not_depend_on_the_listing():
    for seed in range(40):
        topology = prune(sample(seed))
        shuffled = list(topology.ops)
        random.Random(seed).shuffle(shuffled)
        assert schedule(topology.with_ops(tuple(shuffled))) == schedule(topology)


def test_a_mix_waits_for_its_first_reader():
    order = [op.outputs for op in schedule(families.to_output(3))]
    assert order == [("y1",), ("y2",), ("y3",), ("out",)]


def test_depth_does_not_meet_the_recursion_limit():
    blocks = [Block(n, ("x0" if n == 1 else f"y{n - 1}",), f"y{n}") for n in range(1, 3001)]
    topology = Topology(tuple(reversed(blocks)), "y3000", 3000)
    assert schedule(topology) == tuple(blocks)
