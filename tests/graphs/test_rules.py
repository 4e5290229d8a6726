import math
import time

import networkx as nx
import pytest

from graphs import Block, Constant, Mix, Parameter, Softmax, Sum, Topology, TopologyError, families
from graphs.rules import RULES, verify
from graphs.topology import Norm
from graphs.weights import CHANNEL, Bernoulli, Generated, Times, ones

BLOCK = Block(1, ("x0",), "y1")
SUM = Mix(("x0", "y1"), ("h1",), ones(1, 2))


def _hinted(*hints):
    return ((Block(1, ("x0",), "y1", hints=hints),), "y1", 1)


def _mixed(weight, *, keys=(), norm=None):
    return ((BLOCK, Mix(("x0", "y1"), tuple(f"h{i}" for i in range(weight.shape[0])), weight, keys, norm)), "h0", 1)


def _named(value, family="custom", settings=(), block="block1", port="in"):
    return (Block(1, ("x0",), value, (port,), block),), value, 1, "x0", family, settings


SEEN = Generated("g", (1, 2), (0, 2))

BROKEN = {
    "value written twice": ((BLOCK, Mix(("x0",), ("y1",), ones(1, 1))), "y1", 1, "value 'y1' is written twice"),
    "one mix writes a value twice": ((Mix(("x0",), ("a", "a"), ones(2, 1)), BLOCK), "a", 1, "'a' is written twice"),
    "stem written": ((BLOCK, Mix(("y1",), ("x0",), ones(1, 1))), "y1", 1, "value 'x0' is written twice"),
    "the same block object twice": ((BLOCK, BLOCK), "y1", 1, "'y1' is written twice"),
    "depth zero": ((), "x0", 0, "depth is 0; a topology has at least one block"),
    "depth true": ((BLOCK,), "y1", True, "depth is True"),
    "depth a fraction": ((BLOCK,), "y1", 1.0, "depth is 1.0"),
    "depth a word": ((BLOCK,), "y1", "1", "depth is '1'"),
    "number above the depth": ((Block(3, ("x0",), "y"),), "y", 2, r"block number 3 is outside 1..2"),
    "number zero": ((Block(0, ("x0",), "y"),), "y", 2, r"block number 0 is outside 1..2"),
    "number true": ((Block(True, ("x0",), "y"),), "y", 2, "block number True is outside"),
    "number a word": ((BLOCK, Block("b", ("x0",), "y")), "y", 2, "block number 'b' is outside"),
    "numbers repeat": ((BLOCK, Block(1, ("x0",), "y", name="b")), "y", 2, "two blocks share the number 1"),
    "names repeat": ((BLOCK, Block(2, ("x0",), "y", name="block1")), "y", 2, "two blocks share the name block1"),
    "block reads nothing": ((Block(1, (), "y1"),), "y1", 1, "block 1 reads nothing"),
    "mix reads nothing": ((BLOCK, Mix((), ("h",), ones(1, 1))), "h", 1, "the mix that writes h reads nothing"),
    "block nobody feeds": ((Block(1, ("z",), "y1"),), "y1", 1, "block 1 reads 'z', which nobody writes"),
    "mix nobody feeds": ((BLOCK, Mix(("y1", "q"), ("h",), ones(1, 2))), "h", 1, "writes h reads 'q', which nobody"),
    "output nobody writes": ((BLOCK,), "h7", 1, "the output 'h7' is written by nobody"),
    "a source twice": ((BLOCK, Mix(("y1", "x0", "y1"), ("h",), ones(1, 3))), "h", 1, "writes h reads y1 twice; add"),
    "weight too narrow": ((BLOCK, Mix(("x0", "y1"), ("h",), ones(1, 1))), "h", 1, r"writes h .*\(1, 2\), not \(1, 1\)"),
    "weight transposed": ((BLOCK, Mix(("x0", "y1"), ("h",), ones(2, 1))), "h", 1, r"\(1, 2\), not \(2, 1\)"),
    "mix writes nothing": ((BLOCK, Mix(("x0",), (), ones(1, 1))), "y1", 1, "the mix that writes nothing has 1 source"),
    "too few reads": ((Block(1, ("x0",), "y1", ("q", "k")),), "y1", 1, r"block 1 has ports \['q', 'k'\]"),
    "too many reads": ((Block(1, ("x0", "x0"), "y1"),), "y1", 1, "one value per port"),
    "a port twice": ((Block(1, ("x0", "x0"), "y1", ("q", "q")),), "y1", 1, "one value per port"),
    "tied parameters differ": (
        (
            BLOCK,
            Mix(("x0",), ("a",), Parameter("p", ((1,),))),
            Mix(("a", "y1"), ("b",), Parameter("p", ((1, 1),))),
        ),
        "b",
        1,
        "two different parameters are called 'p'",
    ),
    "tied groups differ": (
        (
            BLOCK,
            Mix(("x0",), ("a",), Parameter("p", ((1,),))),
            Mix(("y1",), ("b",), Parameter("p", ((1,),), group="g")),
        ),
        "b",
        1,
        "two different parameters are called 'p'",
    ),
    "cycle": (
        (Mix(("x0", "y2"), ("h",), ones(1, 2)), Block(1, ("h",), "y1"), Block(2, ("y1",), "y2")),
        "y2",
        2,
        r"a cycle: (h -> y1 -> y2 -> h|y1 -> y2 -> h -> y1|y2 -> h -> y1 -> y2);",
    ),
    "a mix reads itself": ((BLOCK, Mix(("y1", "h"), ("h",), ones(1, 2))), "h", 1, "a cycle: h -> h"),
    "a later block first": (
        (Block(1, ("y2",), "y1"), Block(2, ("x0",), "y2")),
        "y1",
        2,
        "a block of number below 2 needs block 2's output",
    ),
    "a mix is one of its keys": (
        (BLOCK, Mix(("x0", "y1"), ("h",), Generated("g", (1, 2), (0,)), ("h",))),
        "h",
        1,
        "a cycle: h -> h",
    ),
    "a cycle through a key": (
        (
            Mix(("x0",), ("u",), Generated("g", (1, 1), (0,)), ("y2",)),
            Block(1, ("u",), "y1"),
            Block(2, ("y1",), "y2"),
        ),
        "y2",
        2,
        "a cycle: .*y2 -> .*; a topology has no loops",
    ),
    "a later block as a key": (
        (
            Mix(("x0",), ("u",), Generated("g", (1, 1), (0,)), ("y2",)),
            Block(1, ("u",), "y1"),
            Block(2, ("x0",), "y2"),
            Mix(("y1", "y2"), ("o",), ones(1, 2)),
        ),
        "o",
        2,
        "a block of number below 2 needs block 2's output",
    ),
    "a weight that is none": (
        (BLOCK, Mix(("x0", "y1"), ("h",), 3)),
        "h",
        1,
        "writes h has the weight 3; a weight rule",
    ),
    "a weight of rows": (
        (BLOCK, Mix(("x0", "y1"), ("h",), ((1, 1),))),
        "h",
        1,
        r"writes h has the weight \(\(1, 1\),\);",
    ),
    "no weight": ((BLOCK, Mix(("x0", "y1"), ("h",), None)), "h", 1, "writes h has the weight None"),
    "too few keys": (*_mixed(SEEN, keys=("x0", "y1")), "writes h0 computes its weights from 3 keys, but lists 2"),
    "no keys": (*_mixed(Softmax(SEEN)), "writes h0 computes its weights from 3 keys, but lists 0"),
    "keys for nothing": (*_mixed(ones(1, 2), keys=("x0",)), "writes h0 lists keys, but its weights are not computed"),
    "keys for a parameter": (*_mixed(Parameter("p", ((1, 1),)), keys=("y1",)), "writes h0 lists keys, but its"),
    "a key nobody writes": (*_mixed(SEEN, keys=("x0", "y1", "z")), "writes h0 reads 'z', which nobody writes"),
    "a norm of two outputs": (*_mixed(ones(2, 2), norm=Norm("n")), "writes h0, h1 has a norm and 2 outputs; give each"),
    "a norm that is none": (
        *_mixed(ones(1, 2), norm="rms"),
        "writes h0 has the norm 'rms'; a Norm or None was expected",
    ),
    "a hint twice": (*_hinted(("scale", 1), ("scale", 2)), "block 1 has the hint 'scale' twice"),
    "a hint twice, and no number": (*_hinted(("scale", "big"), ("scale", 2)), "block 1 has the hint 'scale' twice"),
    "a hint that is not a number": (*_hinted(("scale", "2")), "block 1 has the hint 'scale': '2'; a word and a number"),
    "a hint that is true": (*_hinted(("scale", True)), "block 1 has the hint 'scale': True; a word and a number"),
    "a hint that is nothing": (*_hinted(("scale", None)), "block 1 has the hint 'scale': None"),
    "a hint of nan": (*_hinted(("scale", math.nan)), "block 1 has the hint scale: nan; a finite number"),
    "a hint beyond floats": (*_hinted(("scale", 10**400)), "block 1 has the hint scale: 1000.*; a finite number"),
    "an endless hint": (*_hinted(("scale", -math.inf)), "block 1 has the hint scale: -inf; a finite number"),
    "a hint that is two": (*_hinted(("a=1 b", 2)), "block 1 has the hint 'a=1 b': 2; a word and a number"),
    "a hint without a name": (*_hinted(("", 2)), "block 1 has the hint '': 2"),
    "a hint with a number for a name": (*_hinted((3, 2), ("a", 1)), "block 1 has the hint 3: 2; a word"),
    "a hint with control characters": (*_hinted(("a\x1b[2J", 2)), r"block 1 has the hint 'a\\x1b\[2J': 2"),
    "control characters in a value": (
        *_named("y\x07"),
        r"the name 'y\\x07' is empty, has spaces .* or characters that cannot",
    ),
    "a line break in a value": (*_named("y\n1"), r"the name 'y\\n1'"),
    "a space before a value": (*_named(" y"), "the name ' y' is empty, has spaces at its ends"),
    "a value without a name": (*_named(""), "the name ''"),
    "a number for a value": (*_named(7), "the name 7 is empty, has"),
    "control characters in a family": (*_named("y", family="a\x1b[31m"), r"the name 'a\\x1b\[31m'"),
    "control characters in a block": (*_named("y", block="b\x00"), r"the name 'b\\x00'"),
    "a number for a block": (*_named("y", block=5), "the name 5"),
    "control characters in a port": (*_named("y", port="in\r"), r"the name 'in\\r'"),
    "control characters in a setting": (*_named("y", settings=(("a\x1b", 1),)), r"the name 'a\\x1b'"),
    "control characters in a setting's text": (
        *_named("y", settings=(("a", 1), ("b", "\x1b[2J"))),
        r"the setting b is '\\x1b\[2J', which has characters that cannot be printed",
    ),
    "a name for two kinds of weight": (
        *_mixed(Sum((Parameter("p", ((1, 1),)), Generated("p", (1, 2), (0,)))), keys=("x0",)),
        "two different parameters are called 'p'",
    ),
    "a name for a draw and a weight": (
        *_mixed(Times(Parameter("p", ((1, 1),)), Bernoulli("p", ((1, 1),)))),
        "two different parameters are called 'p'",
    ),
    "two draws of one name": (
        *_mixed(Sum((Bernoulli("b", ((1, 1),)), Bernoulli("b", ((1, 0),))))),
        "two different parameters are called 'b'",
    ),
    "a norm with the name of a weight": (
        *_mixed(Parameter("n", ((1, 1),)), norm=Norm("n")),
        "two different parameters are called 'n'",
    ),
    "tied norms differ": (
        (
            BLOCK,
            Mix(("x0",), ("a",), ones(1, 1), norm=Norm("n")),
            Mix(("a", "y1"), ("b",), ones(1, 2), norm=Norm("n", "layer")),
        ),
        "b",
        1,
        "two different parameters are called 'n'",
    ),
    "tied grains differ": (
        *_mixed(Sum((Parameter("p", ((1, 1),)), Parameter("p", ((1, 1),), grain=CHANNEL)))),
        "two different parameters are called 'p'",
    ),
    "tied masks differ": (
        *_mixed(Sum((Parameter("p", ((1, 1),)), Parameter("p", ((1, 1),), ((True, False),))))),
        "two different parameters are called 'p'",
    ),
    "a later block first, in a dead end": (
        (Block(1, ("x0",), "y1"), Block(2, ("y3",), "y2"), Block(3, ("y1",), "y3")),
        "y1",
        3,
        "needs block 3's output",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_breaks_a_rule_is_named(case):
    *program, says = BROKEN[case]
    with pytest.raises(TopologyError, match=says):
        Topology(*program)


def test_every_rule_is_run():
    assert len(RULES) == len(set(RULES)) == 12


def test_every_rule_is_broken_by_some_case():
    """A rule that never speaks would not be missed otherwise."""
    spoke = set()
    for *program, _ in BROKEN.values():
        broken = object.__new__(Topology)
        names = ("ops", "output", "depth", "stem", "family", "settings")
        given = (*program, *("x0", "custom", ())[len(program) - 3 :])
        for name, value in zip(names, given, strict=True):
            object.__setattr__(broken, name, value)
        spoke.add(next(rule.__name__ for rule in RULES if next(rule(broken), None)))
    assert spoke == {rule.__name__ for rule in RULES}


@pytest.mark.parametrize("depth", [10_001, 1_000_000, 10**30])
def test_a_depth_beyond_reason_is_refused_at_once(depth):
    data = {"depth": depth, "output": "y1", "ops": [{"block": 1, "reads": ["x0"], "writes": "y1"}]}
    calls = [
        lambda: Topology((BLOCK,), "y1", depth),
        lambda: Topology.from_dict(data),
        *(lambda build=build: build(depth) for build in families.FAMILIES.values()),
    ]
    for call in calls:
        start = time.perf_counter()
        with pytest.raises(TopologyError, match=f"depth is {depth}; at most 10000"):
            call()
        assert time.perf_counter() - start < 1


def test_a_long_plain_dag_is_refused_at_once():
    graph = nx.path_graph(20_000, create_using=nx.DiGraph)
    start = time.perf_counter()
    with pytest.raises(TopologyError, match="a plain DAG of 19998 blocks; at most 10000"):
        Topology.from_networkx(graph)
    assert time.perf_counter() - start < 1


def test_names_that_repeat_are_found_at_once():
    """Also at the greatest depth, and the last of them."""
    blocks = [Block(n, ("x0",), f"y{n}") for n in range(1, 10_000)]
    start = time.perf_counter()
    with pytest.raises(TopologyError, match="two blocks share the name block9999"):
        Topology((*blocks, Block(10_000, ("x0",), "y", name="block9999")), "y", 10_000)
    reads = [block.writes for block in blocks]
    with pytest.raises(TopologyError, match="writes h reads y9999 twice"):
        Topology((*blocks, Mix((*reads, "y9999"), ("h",), ones(1, 10_000))), "h", 10_000)
    assert time.perf_counter() - start < 2


def test_legal_topologies_pass():
    verify(families.residual(3))
    Topology((BLOCK, SUM), "h1", 1)
    Topology((BLOCK,), "x0", 1)
    Topology((Block(2, ("x0",), "y2"),), "y2", 3)
    Topology((Block(1, ("x0", "x0"), "y1", ("q", "k")),), "y1", 1)
    tied = Parameter("p", ((1,),))
    Topology((BLOCK, Mix(("x0",), ("a",), tied), Mix(("y1",), ("b",), Parameter("p", ((1.0,),)))), "b", 1)
    Topology((BLOCK, Mix(("x0",), ("a",), Constant(((0,),)))), "a", 1)
    Topology(*_mixed(SEEN, keys=("x0", "y1", "x0", "y1"))), "keys may repeat, and more than enough is no harm"
    Topology(*_mixed(ones(1, 2), norm=Norm("n", "layer")))
    Topology(*_hinted(("scale", 0), ("rate", 0.5)))
    Topology(*_named("a value", family="a family", settings=(("text", ""), ("more text", "any thing "))))
