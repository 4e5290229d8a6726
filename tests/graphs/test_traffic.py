import random
from collections import defaultdict
from dataclasses import replace

import pytest
from graph_samples import FAMILIES, sample
from pass_samples import SAMPLES

from graphs import Block, Constant, Mix, Parameter, Topology, families, lower
from graphs.attention import attention
from graphs.topology import Norm
from graphs.traffic import Traffic, traffic
from graphs.weights import Generated, ones


def _recounted(ops):
    """Forward, backward and kept once more, from the definition and one operation at a time."""
    mixes = [op for op in ops if isinstance(op, Mix)]
    looks = sum(attention(mix) is not None for mix in mixes)  # sources are their own keys, the output is kept
    ops = [replace(op, keys=()) if isinstance(op, Mix) and attention(op) else op for op in ops]
    mixes = [op for op in ops if isinstance(op, Mix)]
    forward = sum(len(mix.reads) + len(mix.keys) + len(mix.writes) for mix in mixes)
    readers = defaultdict(int)
    for op in ops:
        live = op.reads if isinstance(op, Block) else [v for v, (n, _) in zip(op.reads, op.columns, strict=True) if n]
        for value in (*live, *(op.keys if isinstance(op, Mix) else ())):
            readers[value] += 1
    gathered, scaled, learned, kept = defaultdict(int), set(), set(), set()
    backward = norms = 0
    for op in ops:
        if isinstance(op, Block):
            for value in op.reads:
                gathered[value] += 1
            continue
        norms += op.norm is not None
        edges = [(v, n, s) for v, (n, s) in zip(op.reads, op.columns, strict=True) if n]
        kept |= {v for v, _, s in edges if s and op.trains} | set(op.keys)
        joint = len(op.writes) + sum(2 + (s and op.trains) for v, _, s in edges if readers[v] > 1)
        apart = sum(n for v, n, s in edges if readers[v] > 1 or n > 1 or s)
        if len(op.writes) > 1 and joint < apart:
            backward += len(op.writes)
            for value, count, scales in edges:
                shared = readers[value] > 1
                gathered[value] += shared
                backward += (1 + (scales and op.trains)) if shared or count > 1 or scales else 0
        else:
            for value, count, scales in edges:
                gathered[value] += count
                if scales:
                    scaled.add(value)
                    if op.trains:
                        learned.add(value)
        for value in op.keys:
            gathered[value] += 1
            scaled.add(value)
            learned.add(value)
    backward += sum(n + 1 + (v in learned) for v, n in gathered.items() if n > 1 or (n and v in scaled))
    return forward, backward + 2 * (norms + looks), len(kept) + norms + looks


def _counts(count):
    return count.forward, count.backward, count.kept


@pytest.mark.parametrize("name", FAMILIES)
def test_families_are_counted_by_the_definition(name):
    for topology in (FAMILIES[name](), lower(FAMILIES[name]()).topology):
        assert _counts(Traffic(topology.ops)) == _recounted(topology.ops)


@pytest.mark.parametrize("draw", [*SAMPLES.values(), sample, lambda seed: sample(seed, per_token=True, normed=True)])
def test_adding_and_removing_leaves_the_count_of_what_is_there(draw):
    """In any order: a mix of several outputs changes its mind when a source gains or loses its other reader."""
    for seed in range(25):
        rng = random.Random(seed)
        topology = draw(seed)
        count, there = Traffic(), []
        for _ in range(50):
            if there and rng.random() < 0.45:
                count.remove(there.pop(rng.randrange(len(there))))
            else:
                rest = [op for op in topology.ops if all(op is not other for other in there)]
                if rest:
                    there.append(rng.choice(rest))
                    count.add(there[-1])
            assert _counts(count) == _recounted(there)


def test_the_table_of_the_design():
    """Plain residual 3 + 3 a block; an average 1 + 1 an edge; a seam of n streams 2 n + 2 and 3 n + 3."""
    one, two = (Traffic(families.residual(depth).ops) for depth in (10, 11))
    assert (two.forward - one.forward, two.backward - one.backward) == (3, 3)
    short, long = (Traffic(families.dense(depth, inner=False).ops) for depth in (40, 41))
    assert (long.forward - short.forward, long.backward - short.backward) == (42 + 1, 42 + 2)
    for n in (2, 4, 8):
        seam = Parameter("s", ((1,) * (n + 1),) * (n + 1))
        sources, outputs = tuple(f"y{i}" for i in range(n + 1)), tuple(f"u{i}" for i in range(n + 1))
        count = Traffic([Mix(sources, outputs, seam), *(Block(i + 1, (u,), f"z{i}") for i, u in enumerate(outputs))])
        assert (count.forward, count.backward, count.kept) == (2 * n + 2, 3 * n + 3, n + 1)


def test_a_group_writes_a_gradient_for_each_source_that_others_read():
    """Eight consumers at once: eight gradients read, and for each source itself, its part written and read again."""
    mix = Mix(tuple(f"y{j}" for j in range(20)), tuple(f"u{i}" for i in range(8)), Parameter("p", ((1,) * 20,) * 8))
    alone = Traffic([mix])
    assert alone.backward == 8 + 20 * 2, "with no other reader the part is the gradient"
    others = Traffic([mix, *(Block(j + 1, (f"y{j}",), f"z{j}") for j in range(20))])
    assert others.backward == 8 + 20 * (2 + 3), "a part and the block's gradient are read, and the sum is written"
    few = Mix(mix.reads, mix.writes[:2], Parameter("p", ((1,) * 20,) * 2))
    edge_by_edge = Traffic([few, *(Block(j + 1, (f"y{j}",), f"z{j}") for j in range(20))])
    assert edge_by_edge.backward == 20 * (2 + 1 + 1 + 1), "two gradients, the block's, itself, and one written"


def test_unit_weights_cost_nothing_backward_where_one_reader_is_left():
    for weight, backward in ((ones(1, 2), 0), (Constant(((1, -1),)), 0), (Constant(((1, 2),)), 2)):
        assert Traffic([Mix(("a", "b"), ("c",), weight)]).backward == backward
    swap = Mix(("a", "b"), ("c", "d"), Constant(((0, 1), (1, 0))))
    assert Traffic([swap]).backward == 0


def test_keys_and_norms():
    mix = Mix(("a",), ("b",), Generated("g", (1, 1), (0,)), ("k",), Norm("n"))
    count = Traffic([mix])
    assert _counts(count) == (3, 3 + 3 + 2, 3)


def test_of_a_topology():
    topology = families.residual(4)
    assert traffic(topology) == 6 * 4
    assert traffic(Topology((Block(1, ("x0",), "y1"),), "y1", 1)) == 0
