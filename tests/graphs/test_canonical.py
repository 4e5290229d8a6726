import os
import subprocess
import sys
import time
from fractions import Fraction as F

import networkx as nx
import pytest
from graph_samples import FAMILIES, permuted, respelled, sample, with_hops

from graphs import Block, Constant, Mix, Parameter, Product, Softmax, Sum, Topology, families, lower
from graphs.families.wiring import candidates
from graphs.weights import ones

ALL = {name: build() for name, build in FAMILIES.items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_families_written_differently_are_equal(name):
    for seed in range(5):
        assert respelled(ALL[name], seed) == ALL[name]
        assert with_hops(ALL[name], seed) == ALL[name]


@pytest.mark.parametrize("learned", [False, True])
def test_samples_written_differently_are_equal(learned):
    for seed in range(100):
        topology = sample(seed, learned=learned, uniform=False)
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


def _edge(weight, *, sources=("x0", "y1")):
    return Topology((Block(1, ("x0",), "y1"), Mix(sources, ("o",), weight)), "o", 1)


def _pair(first, second):
    """Two mixes of two sources each, for ties."""
    return Topology(
        (
            Block(1, ("x0",), "y1"),
            Mix(("x0", "y1"), ("h",), first),
            Block(2, ("h",), "y2"),
            Mix(("h", "y2"), ("o",), second),
        ),
        "o",
        2,
    )


def _p(name, *row, **kw):
    return Parameter(name, (row,), **kw)


DIFFERENT = {
    "constant value": (_edge(ones(1, 2)), _edge(Constant(((1, 2),)))),
    "nearly equal constants": (_edge(Constant(((1, 0.1),))), _edge(Constant(((1, F(1, 10)),)))),
    "initial value": (_edge(_p("p", 1, 1)), _edge(_p("p", 1, 2))),
    "initial values exchanged": (_edge(_p("p", 1, 2)), _edge(_p("p", 2, 1))),
    "fixed or learned one": (_edge(ones(1, 2)), _edge(_p("p", 1, 1))),
    "partly learned": (_edge(_p("p", 1, 1)), _edge(Parameter("p", ((1, 1),), ((True, False),)))),
    "which part is learned": (
        _edge(Parameter("p", ((1, 1),), ((False, True),))),
        _edge(Parameter("p", ((1, 1),), ((True, False),))),
    ),
    "optimiser group": (_edge(_p("p", 1, 1)), _edge(_p("p", 1, 1, group="slow"))),
    "group of one of two": (_pair(_p("p", 1, 1), _p("q", 1, 1)), _pair(_p("p", 1, 1), _p("q", 1, 1, group="slow"))),
    "temperature": (_edge(Softmax(_p("p", 0, 0))), _edge(Softmax(_p("p", 0, 0), 0.5))),
    "softmax or parameter": (_edge(Softmax(_p("p", 0, 0))), _edge(_p("p", F(1, 2), F(1, 2)))),
    "tied or not": (_pair(_p("p", 1, 1), _p("p", 1, 1)), _pair(_p("p", 1, 1), _p("q", 1, 1))),
    "tied crosswise": (
        _pair(_p("p", 1, 1), _p("p", 1, 1)),
        _pair(_p("p", 1, 1), Product(_p("p", 1, 1), Constant(((0, 1), (1, 0))))),
    ),
    "softmax axis": (
        _edge(Product(Constant(((1, 0),)), Softmax(Parameter("p", ((0, 0), (0, 0)))))),
        _edge(Product(Constant(((1, 0),)), Softmax(Parameter("p", ((0, 0), (0, 0))), over="destinations"))),
    ),
    "softmax shares its sum": (
        _edge(Sum((Softmax(_p("p", 0, 0)), Softmax(_p("p", 0, 0))))),
        _edge(Sum((Softmax(_p("p", 0, 0)), Softmax(_p("q", 0, 0))))),
    ),
    "product or sum": (
        _edge(Sum((_p("p", 1, 1), _p("q", 1, 1)))),
        _edge(Product(_p("p", 1), _p("q", 2, 2))),
    ),
    "which block is read": (families.wiring(3, edges=[(0, 2)]), families.wiring(3, edges=[(0, 3)])),
    "depth": (Topology((Block(1, ("x0",), "y"),), "y", 1), Topology((Block(1, ("x0",), "y"),), "y", 2)),
    "depth, learned": (families.dense(2), Topology(families.dense(2).ops, families.dense(2).output, 3)),
    "block number": (Topology((Block(1, ("x0",), "y"),), "y", 2), Topology((Block(2, ("x0",), "y"),), "y", 2)),
    "ports exchanged": (
        Topology((Block(1, ("x0",), "a"), Block(2, ("a", "x0"), "y", ("q", "k"))), "y", 2),
        Topology((Block(1, ("x0",), "a"), Block(2, ("x0", "a"), "y", ("q", "k"))), "y", 2),
    ),
    "stem or nothing": (_edge(Constant(((0, 1),))), _edge(Constant(((1, 0),)))),
    "sign": (_edge(Constant(((1, 1),))), _edge(Constant(((-1, 1),)))),
    "hyper, other read": (families.hyper(3, streams=2), families.hyper(3, streams=3)),
    "ancre inner": (families.ancre(3), families.ancre(3, inner=False)),
    "ancre temperature": (families.ancre(3), families.ancre(3, temperature=0.02)),
}  # fmt: skip


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_differs_is_different(case):
    one, other = DIFFERENT[case]
    assert one != other
    assert one.digest != other.digest


def test_equal_at_the_start_but_shared_otherwise():
    """Same connection matrix at step 0, same number of parameters, other ties: a Merkle hash would confuse them."""

    def streams(first, second):
        return Topology(
            (
                Mix(("x0",), ("a",), _p(first[0], 1)),
                Mix(("x0",), ("b",), _p(first[1], 1)),
                Block(1, ("a",), "y1"),
                Block(2, ("b",), "y2"),
                Mix(("y1",), ("c",), _p(second[0], 1)),
                Mix(("y2",), ("d",), _p(second[1], 1)),
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
    for weight in (ones(1, 1), _p("p", 1)):
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
    script = (
        "import graphs\n"
        "f = graphs.families\n"
        "for t in (f.residual(5), f.hyper(3, streams=4), f.hyper(2, streams=3), f.ancre(5), f.dense(4, dilation=2)):\n"
        "    print(t.digest)\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("0", "1234")
    }
    f = families
    here = (f.residual(5), f.hyper(3, streams=4), f.hyper(2, streams=3), f.ancre(5), f.dense(4, dilation=2))
    assert outputs == {"".join(f"{t.digest}\n" for t in here)}


def test_the_text_of_a_fixed_program_is_its_matrix():
    assert families.wiring(2, edges=[(0, 3)]).certificate == (
        "matrix of depth 2\n1 in: 0*1\n2 in: 1*1\noutput: 0*1 2*1"
    )
