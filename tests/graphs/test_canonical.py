import functools
import math
import os
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from fractions import Fraction as F
from pathlib import Path

import networkx as nx
import pytest
from graph_pairs import ALIKE_HERE, DIFFERENT, PERMUTED_START, SAME
from graph_samples import FAMILIES, permuted, rebuilt, respelled, sample, with_hops
from graph_training import losses, wired

from graphs import Block, Constant, Mix, Parameter, Product, Softmax, Sum, Topology, TopologyError, families, lower
from graphs.families.wiring import candidates
from graphs.topology import Norm
from graphs.weights import (
    CHANNEL,
    SCALAR,
    Bernoulli,
    Generated,
    Sigmoid,
    Sinkhorn,
    Tanh,
    Times,
    beside,
    generators,
    identity,
    ones,
    pick,
    stacked,
    transpose,
    walk,
)

ALL = {name: build() for name, build in FAMILIES.items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_families_written_differently_are_equal(name):
    for seed in range(5):
        assert respelled(ALL[name], seed) == ALL[name]
        assert with_hops(ALL[name], seed) == ALL[name]


def _options(seed):
    """Which features a sample has, so that all of them meet."""
    return {"uniform": False, "per_token": seed % 2 == 0, "fine": seed % 3 > 0, "normed": seed % 5 == 1}


@pytest.mark.parametrize("learned", [False, True])
def test_samples_written_differently_are_equal(learned):
    for seed in range(60 if learned else 30):
        topology = sample(seed, **_options(seed)) if learned else sample(seed, learned=False)
        assert respelled(topology, seed) == topology
        assert with_hops(topology, seed) == topology
        assert respelled(with_hops(topology, seed), seed).digest == topology.digest


def test_families_differ_from_each_other():
    assert len({topology.digest for topology in ALL.values()}) == len(ALL)


def test_samples_differ_from_each_other():
    samples = [sample(seed) for seed in range(150)]
    by_digest: dict[str, Topology] = {}
    for topology in samples:
        other = by_digest.setdefault(topology.digest, topology)
        if other is not topology:  # the same by chance: then the lowered programs are small and say the same
            assert str(lower(other)).splitlines()[1:] == str(lower(topology)).splitlines()[1:]
    assert len(by_digest) > 120


def test_samples_written_differently_train_alike():
    """Equal digests: every loss of a short training run agrees to rounding."""
    compared = 0
    for seed in range(20):
        topology = sample(seed, **_options(seed))
        rules = [rule for mix in topology.mixes for rule in generators(mix.weight)]
        if any((rule.hidden or rule.start == "normal") and len(rule.keys) > 1 for rule in rules):
            continue  # random first weights would have to be permuted with the keys that they are for
        start = {f"other_{name}": p.detach() for name, p in wired(topology).weights.named_parameters()}
        expected = losses(topology)
        assert losses(respelled(topology, seed), start=start) == pytest.approx(expected, rel=1e-11)
        assert losses(with_hops(topology, seed)) == pytest.approx(expected, rel=1e-11)
        compared += 1
    assert compared > 10


def _mutants(topology, rng):
    """What the program could be confused with: one thing at one place is another."""

    def change(rule):
        match rule:
            case Constant(entries=((first, *row), *rows)):
                return "constant", Constant(((first + 2, *row), *rows))
            case Parameter(initial=((first, *row), *rows)):
                first = ((first + 2, *row), *rows)
                other = {"initial": first, "name": f"{rule.name}x", "group": "tenth", "grain": CHANNEL}
                what = rng.choice(["initial", "name", "group"] + ["grain"] * (rule.grain == SCALAR))
                return f"parameter {what}", replace(rule, **{what: other[what]})
            case Bernoulli(keep=((first, *row), *rows)):
                return "keep", Bernoulli(rule.name, ((F(1, 4) if first != F(1, 4) else 1, *row), *rows))
            case Generated():
                other = {
                    "norm": "layer" if rule.norm == "rms" else "rms",
                    "gain": not rule.gain and rule.norm != "none",
                    "hidden": rule.hidden + (not rule.each),
                    "start": "zeros" if rule.start == "normal" else "normal",
                    "group": "tenth",
                    "name": f"{rule.name}x",
                    "keys": rule.keys[::-1],
                }
                what = rng.choice(list(other))
                return f"generated {what}", replace(rule, **{what: other[what]})
            case Softmax():
                return "temperature", replace(rule, temperature=3 * rule.temperature)
            case Sigmoid():
                return "scale", replace(rule, scale=3 * rule.scale)
            case Sinkhorn():
                return "iterations", replace(rule, iterations=rule.iterations + 1)
            case Times(left=left, right=right) if left.shape == right.shape:
                return "order of factors", Times(right, left)
            case Product(left=left, right=right) if left.shape == right.shape:
                return "order of products", Product(right, left)
            case Sum(terms=terms) if len(terms) > 1:
                return "terms", Sum(terms[1:])
        return "", rule

    ops = list(topology.ops)
    for place, op in enumerate(ops):
        if isinstance(op, Block):
            continue
        if op.norm is not None:
            kind = "layer" if op.norm.kind == "rms" else "rms"
            yield "norm", [*ops[:place], replace(op, norm=Norm(f"{op.norm.name}x", kind)), *ops[place + 1 :]]
        if len(op.keys) > 1:
            yield "key", [*ops[:place], replace(op, keys=(op.keys[1], *op.keys[1:])), *ops[place + 1 :]]
        inside = list(walk(op.weight))
        for _ in range(2):
            victim = rng.choice(inside)
            what, other = change(victim)
            weight = rebuilt(op.weight, lambda rule, a=victim, b=other: b if rule == a else rule)
            yield what, [*ops[:place], replace(op, weight=weight), *ops[place + 1 :]]


def test_mutants_with_the_same_digest_train_alike():
    """No collision: where a change leaves the digest, it was of something that cannot matter."""
    differ, same = Counter(), 0
    for seed in range(40):
        topology = sample(seed, **_options(seed))
        equal = []
        for what, ops in _mutants(topology, random.Random(seed)):
            try:
                other = topology.with_ops(ops)
                if other.digest == topology.digest:
                    equal.append((what, other))
                else:
                    differ[what] += 1
            except TopologyError:  # no program at all, such as ties to what is now another
                continue
        given = {
            n: p.detach() for n, p in wired(topology).weights.named_parameters() if n.endswith(("_map", "_hidden"))
        }
        for what, other in equal[:1]:
            expected = losses(topology, 2, start=given)
            assert losses(other, 2, start=given) == pytest.approx(expected, rel=1e-9), f"{what} in sample {seed}"
            same += 1
    assert set(differ) >= {"constant", "keep", "temperature", "scale", "iterations", "terms", "norm", "key"}
    assert set(differ) >= {f"parameter {what}" for what in ("initial", "name", "group", "grain")}
    assert set(differ) >= {f"generated {what}" for what in ("norm", "gain", "hidden", "start", "group", "keys")}
    assert differ.total() > 180
    assert same > 20


def _two_streams(order):
    """Streams a and b with weights of their own, listed in the order given."""
    h, g = [f"h_{s}" for s in order], [f"g_{s}" for s in order]
    width = tuple({"a": 2, "b": 3}[s] for s in order), *(tuple(int(s == t) for t in order) for s in order)
    depth = (1, *({"a": 4, "b": 5}[s] for s in order))
    ops = (
        Mix(("x0",), tuple(h), ones(2, 1)),
        Mix(tuple(h), ("u", *g), Parameter("w", width)),
        Block(1, ("u",), "y1"),
        Mix(("y1", *g), ("o",), Parameter("d", (depth,))),
    )
    return Topology(ops, "o", 1)


def test_streams_may_be_permuted():
    assert _two_streams("ab") == _two_streams("ba")
    one = families.hyper(3, streams=3)
    ops = []
    order = [2, 0, 1]
    for op in one.ops:
        if isinstance(op, Block) or len(op.writes) == 1:
            ops.append(op)
            continue
        rows = list(range(len(op.writes) - 3)) + [len(op.writes) - 3 + s for s in order]
        writes = tuple(op.writes[i] for i in rows)
        ops.append(Mix(op.reads, writes, permuted(op.weight, rows, list(range(len(op.reads))))))
    assert one.with_ops(tuple(ops)) == one


START = {"a": (1, 2, 3), "b": (5, 7, 11), "c": (13, 17, 19)}  # every stream has first weights of its own


def _dynamic(order, *, tied=True):
    """Dynamic hyper-connections over streams listed in some order, told apart by their first weights.

    Their static weights are scalars each, so that nothing but the order of rows, columns and keys changes.
    """
    n = len(order)
    h, g, x = ([f"{what}_{s}" for s in order] for what in "hgx")

    def row(what, place):
        return beside(*(Parameter(f"{what}_{s}", ((START[s][place],),)) for s in order))

    def seen(name, rows):
        made = Generated(name, (rows, n), tuple(range(n)), each=True, norm="layer")
        return Times(Parameter(f"{name}_scale", ((F(1, 100),),)), Tanh(made))

    width = stacked(Sum((row("read", 0), seen("width", 1))), identity(n))
    write = beside(transpose(Sum((row("write", 1), seen("depth", 1)))), identity(n))
    ops = (
        Mix(("x0",), tuple(h), transpose(row("expand", 2))),
        Mix(tuple(h), ("u", *g), width, tuple(h)),
        Block(1, ("u",), "y1"),
        Mix(("y1", *g), tuple(x), write, tuple(h if tied else reversed(h))),
        Mix(tuple(x), ("o",), row("collapse", 1)),
    )
    return Topology(ops, "o", 1)


def _manifold(order, *, residual="abc"):
    """The same for manifold-constrained connections: maps that read all streams at once, and Sinkhorn."""
    n = len(order)
    h, x = [f"h_{s}" for s in order], [f"x_{s}" for s in order]

    def table(name):
        one = Parameter(name, tuple(START[s] for s in "abc"))
        return pick(one, ["abc".index(s) for s in order], [residual.index(s) for s in order])

    def logits(name):
        return beside(*(Parameter(f"{name}_{s}", ((START[s][0],),)) for s in order))

    # The places of keys are those of the listing: the map of each stream and key is a vector of its own.
    seen = Generated("residual_map", (n, n), tuple(range(n)))
    mixing = Sinkhorn(Sum((table("residual"), Times(Parameter("alpha", ((F(1, 100),),)), seen))), 3)
    read = Sigmoid(Sum((logits("read"), Generated("read_map", (1, n), tuple(range(n))))))
    ops = (
        Mix(("x0",), tuple(h), transpose(logits("expand"))),
        Mix(tuple(h), ("u",), read, tuple(h)),
        Block(1, ("u",), "y1"),
        Mix(("y1", *h), tuple(x), beside(Sigmoid(transpose(logits("write")), 2), mixing), tuple(h)),
        Mix(tuple(x), ("o",), ones(1, n)),
    )
    return Topology(ops, "o", 1)


@pytest.mark.parametrize("order", ["acb", "bac", "bca", "cab", "cba"])
@pytest.mark.parametrize("build", [_dynamic, _manifold])
def test_computed_streams_may_be_permuted(build, order):
    assert build(order) == build("abc")
    assert losses(build(order)) == pytest.approx(losses(build("abc")), rel=1e-11)


def test_streams_are_told_apart():
    assert len({START[s][i] for s in START for i in range(3)}) == 9
    assert _dynamic("abc") != _dynamic("abc", tied=False), "a stream's write looks at another stream"
    assert _manifold("abc") != _manifold("abc", residual="bac")
    assert _dynamic("abc") != _dynamic("ab")


def test_fixed_sums_may_be_factored_in_any_way():
    for depth in (1, 2, 3, 6):
        running = families.residual(depth)
        dag = nx.DiGraph((i, j) for j in range(depth + 2) for i in range(j))
        assert families.wiring(depth, edges=candidates(depth)) == running
        assert Topology.from_networkx(dag) == running
        assert families.to_output(depth) == families.wiring(depth, edges=[(i, depth + 1) for i in range(depth)])
    assert families.dense(3, inner=False) != families.wiring(3)


def test_fixed_sums_before_learned_weights_may_be_factored_in_any_way():
    w = Parameter("w", ((1, 2, 3),))
    ops = (
        Mix(("x0",), ("a",), Constant(((2,),))),
        Block(1, ("x0",), "y1"),
        Mix(("x0", "y1"), ("z",), ones(1, 2)),
        Block(2, ("z",), "y2"),
        Mix(("a", "x0", "z"), ("u",), w),
        Mix(("u", "y2"), ("o",), ones(1, 2)),
    )
    flat = Product(w, Constant(((2, 0), (1, 0), (1, 1))))
    direct = (ops[1], ops[2], ops[3], Mix(("x0", "y1"), ("u",), flat), ops[5])
    assert Topology(ops, "o", 2) == Topology(direct, "o", 2)
    twice = Mix(("z",), ("z2",), ones(1, 1))
    hops = (*ops[:4], twice, Mix(("a", "z2", "z"), ("u",), w), ops[5])
    merged = (*ops[:4], Mix(("a", "z"), ("u",), Product(w, Constant(((1, 0), (0, 1), (0, 1))))), ops[5])
    assert Topology(hops, "o", 2) == Topology(merged, "o", 2)


def test_sources_whose_weights_cancel_do_not_matter():
    y1, y2 = Block(1, ("x0",), "y1"), Block(2, ("x0",), "y2")
    difference = Mix(("y1", "y2"), ("a",), Constant(((1, -1),)))
    for last in (Constant(((1, 1),)), Parameter("p", ((1, 1, 1),), ((False, False, True),))):
        sources = ("a", "y2", "x0")[: last.shape[1]]
        cancelled = Topology((y1, y2, difference, Mix(sources, ("o",), last)), "o", 2)
        if last.shape[1] == 2:
            plain = Topology((y1,), "y1", 2)
        else:
            plain = Topology((y1, Mix(("y1", "x0"), ("o",), Parameter("q", ((1, 1),), ((False, True),)))), "o", 2)
        assert cancelled == plain


@pytest.mark.parametrize("case", SAME)
def test_what_is_the_same_is_equal(case):
    one, other = SAME[case]
    assert one == other
    assert one.digest == other.digest
    if case not in PERMUTED_START:
        assert losses(one, training=True) == pytest.approx(losses(other, training=True), rel=1e-11)


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_differs_is_different(case):
    one, other = DIFFERENT[case]
    assert one != other
    assert one.digest != other.digest


@functools.cache
def _both(case):
    return [losses(topology, 4, training=True) for topology in DIFFERENT[case]]


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_differs_trains_differently(case):
    """Also where both are equal at the start: the losses part within a few steps."""
    one, other = _both(case)
    gap = max(abs(a - b) for a, b in zip(one, other, strict=True))
    assert gap < 1e-12 if case in ALIKE_HERE else gap > 1e-9


def test_many_differences_do_not_show_at_the_start():
    firsts = [[run[0] for run in _both(case)] for case in DIFFERENT if case not in ALIKE_HERE]
    assert sum(abs(one - other) < 1e-12 for one, other in firsts) > 30


def test_equal_at_the_start_but_shared_otherwise():
    """Same connection matrix at step 0, same number of parameters, other ties: a Merkle hash would confuse them."""

    def streams(first, second):
        return Topology(
            (
                Mix(("x0",), ("a",), Parameter(first[0], ((1,),))),
                Mix(("x0",), ("b",), Parameter(first[1], ((1,),))),
                Block(1, ("a",), "y1"),
                Block(2, ("b",), "y2"),
                Mix(("y1",), ("c",), Parameter(second[0], ((1,),))),
                Mix(("y2",), ("d",), Parameter(second[1], ((1,),))),
                Mix(("c", "d"), ("o",), ones(1, 2)),
            ),
            "o",
            2,
        )

    together, crossed = streams("pq", "pq"), streams("pq", "qp")
    assert (together.matrix() == crossed.matrix()).all()
    assert together != crossed
    assert streams("rs", "rs") == together


def test_ports_are_positional():
    """A block is called with one argument per port, so exchanging both ports and reads is another call."""
    for weight in (ones(1, 1), Parameter("p", ((1,),))):
        one, other = (
            Topology(
                (Block(1, ("x0",), "a"), Mix(("a",), ("b",), weight), Block(2, reads, "y", ports)),
                "y",
                2,
            )
            for reads, ports in ((("b", "x0"), ("q", "k")), (("x0", "b"), ("k", "q")))
        )
        assert one != other


def test_block_names_take_no_part():
    assert Topology((Block(1, ("x0",), "y", name="attention"),), "y", 1) == Topology((Block(1, ("x0",), "z"),), "z", 1)


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
def test_tied_streams_are_quick(depth):
    start = time.perf_counter()
    one = families.hyper(depth, streams=8)
    assert respelled(one, 0) == one
    assert time.perf_counter() - start < 10


def test_digests_do_not_depend_on_the_process():
    """Nor on the order of sets: every family and rule, in fresh processes with other hash seeds."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from graph_samples import FAMILIES, sample\n"
        "for build in FAMILIES.values(): print(build().digest)\n"
        "for seed in range(24):\n"
        "    print(sample(seed, uniform=False, per_token=True, fine=True, normed=seed % 2 == 0).digest)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(Path(__file__).parent)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("0", "1234")
    ]
    here = [topology.digest for topology in ALL.values()]
    here += [sample(seed, uniform=False, per_token=True, fine=True, normed=seed % 2 == 0).digest for seed in range(24)]
    assert len(set(here)) > len(ALL) + 20
    for process in processes:
        output, _ = process.communicate()
        assert output.split() == here


def test_digests_do_not_depend_on_how_a_machine_rounds(monkeypatch):
    """A file carries its digest to other machines, whose exp may differ in the last bit."""
    fixed = Constant(((1, 2), (3, F(1, 3))))
    rules = [Sigmoid(fixed), Tanh(fixed), Sinkhorn(fixed), Softmax(fixed, 0.3), Sum((Sigmoid(fixed), ones(2, 2)))]

    def digests():
        ops = [Block(1, ("x0",), "y1"), Mix(("a", "b"), ("o",), Constant(((1, 2),)))]
        return [Topology((*ops, Mix(("x0", "y1"), ("a", "b"), rule)), "o", 1).digest for rule in rules]

    before = digests()
    assert len(set(before)) == len(rules)
    exact = math.exp, math.tanh, math.log
    monkeypatch.setattr(math, "exp", lambda x: exact[0](x) * (1 + 1e-15))
    monkeypatch.setattr(math, "tanh", lambda x: exact[1](x) * (1 + 1e-15))
    monkeypatch.setattr(math, "log", lambda x: exact[2](x) * (1 + 1e-15))
    assert digests() == before


@pytest.mark.parametrize("depth", [8, 40])
def test_long_products_are_quick(depth):
    """Each entry of each factor is spelled out once."""
    weight = Parameter("p0", ((1, 2, 3),) * 3)
    for n in range(1, depth):
        weight = Product(Parameter(f"p{n}", ((1, 2, 3),) * 3), weight)
    start = time.perf_counter()
    topology = Topology(
        (
            Block(1, ("x0",), "y1"),
            Block(2, ("y1",), "y2"),
            Mix(("x0", "y1", "y2"), ("a", "b", "c"), weight),
            Mix(("a", "b", "c"), ("o",), ones(1, 3)),
        ),
        "o",
        2,
    )
    assert respelled(topology, 3) == topology
    assert time.perf_counter() - start < 10


def test_fixed_programs_have_one_text_however_they_are_spelled():
    """Plain constants take a shorter way to the text; sums and placements of constants the whole one."""
    for seed in range(60):
        topology = sample(seed, learned=False)
        ops = [op if isinstance(op, Block) else replace(op, weight=Sum((op.weight,))) for op in topology.ops]
        spelled = topology.with_ops(tuple(ops))
        assert spelled.certificate == topology.certificate
        assert topology.certificate.startswith(f"matrix of depth {topology.depth}\n")


def test_the_text_of_a_fixed_program_is_its_matrix():
    assert families.wiring(2, edges=[(0, 3)]).certificate == (
        "matrix of depth 2\n1 in: 0*1\n2 in: 1*1\noutput: 0*1 2*1"
    )
