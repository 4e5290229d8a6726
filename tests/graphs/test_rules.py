import pytest

from graphs import Block, Constant, Mix, Parameter, Topology, TopologyError, families
from graphs.rules import RULES, verify
from graphs.weights import ones

BLOCK = Block(1, ("x0",), "y1")
SUM = Mix(("x0", "y1"), ("h1",), ones(1, 2))

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
    "a later block first, in a dead end": (
        (Block(1, ("x0",), "y1"), Block(2, ("y3",), "y2"), Block(3, ("y1",), "y3")),
        "y1",
        3,
        "needs block 3's output",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_breaks_a_rule_is_named(case):
    ops, output, depth, says = BROKEN[case]
    with pytest.raises(TopologyError, match=says):
        Topology(ops, output, depth)


def test_every_rule_is_run():
    assert len(RULES) == len(set(RULES)) == 12


def test_legal_topologies_pass():
    verify(families.residual(3))
    Topology((BLOCK, SUM), "h1", 1)
    Topology((BLOCK,), "x0", 1)
    Topology((Block(2, ("x0",), "y2"),), "y2", 3)
    Topology((Block(1, ("x0", "x0"), "y1", ("q", "k")),), "y1", 1)
    tied = Parameter("p", ((1,),))
    Topology((BLOCK, Mix(("x0",), ("a",), tied), Mix(("y1",), ("b",), Parameter("p", ((1.0,),)))), "b", 1)
    Topology((BLOCK, Mix(("x0",), ("a",), Constant(((0,),)))), "a", 1)
