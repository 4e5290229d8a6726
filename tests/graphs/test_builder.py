import pytest

from graphs import Block, Constant, Mix, TopologyError
from graphs.builder import Builder, sites


def test_builder_writes_operations_in_order():
    build = Builder(2)
    first = build.block(1, build.stem)
    total = build.add("t", build.stem, first)
    half, same = build.mixes(["half", "same"], [total], Constant(((0.5,), (1,))))
    second = build.block(2, build.weighted("w", [half, same], [2, 3]))
    topology = build.topology(build.mix("out", [second], Constant(((4,),))), "mine", size=3, flag=True)
    assert topology.ops == (
        Block(1, ("x0",), "y1"),
        Mix(("x0", "y1"), ("t",), Constant(((1, 1),))),
        Mix(("t",), ("half", "same"), Constant(((0.5,), (1,)))),
        Mix(("half", "same"), ("w",), Constant(((2, 3),))),
        Block(2, ("w",), "y2"),
        Mix(("y2",), ("out",), Constant(((4,),))),
    )
    assert (topology.family, topology.settings, topology.depth) == ("mine", (("size", 3), ("flag", True)), 2)


@pytest.mark.parametrize("depth", [0, -1, True, 2.0, "3", None])
def test_depth_is_a_whole_number_above_zero(depth):
    with pytest.raises(TopologyError, match="depth is"):
        Builder(depth)


def test_a_depth_beyond_reason_is_refused_before_anything_is_written():
    assert Builder(10_000).depth == 10_000
    with pytest.raises(TopologyError, match="depth is 10001; at most 10000 blocks"):
        Builder(10_001)


def test_sites():
    assert [list(site) for site in sites(5, 2)] == [[1, 2], [3, 4], [5]]
    assert [list(site) for site in sites(3, 1)] == [[1], [2], [3]]
    assert [list(site) for site in sites(3, 7)] == [[1, 2, 3]]
    for period in (0, -2, True, 1.5, "2"):
        with pytest.raises(TopologyError, match="period is"):
            sites(3, period)
