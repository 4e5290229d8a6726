import pytest

from graphs import TopologyError, families
from graphs.dag import dag
from nas.proposal import CUSTOM, Proposal, from_outside
from search_space.space import Point

CHAIN = [(0, 1), (1, 2), (2, 3)]


def test_a_point_makes_its_topology_and_a_problem_none(make):
    space = make().space
    point = space.residual(2)
    assert Proposal(point, "baseline").made(space) == families.residual(2)
    other = dag(2, CHAIN)
    assert Proposal(point, "x", other).made(space) is other
    with pytest.raises(TopologyError, match="no good"):
        Proposal(point, "x", problem="no good").made(space)


def test_from_outside_it_is_a_point_where_the_space_has_one(make):
    space = make().space
    inside = from_outside(space, dag(2, [*CHAIN, (0, 2)]), "gates", name="a", proposal={"name": "a"})
    assert inside.point.family == "wiring"
    assert inside.made(space) == space.topology(inside.point)
    assert inside.extra == {"proposal": {"name": "a"}}
    outside = from_outside(space, dag(2, [(0, 1), (0, 2), (2, 3)]), "gates", name="a")
    assert outside.point == Point((("family", CUSTOM), ("depth", 2), ("proposal", "a")))
