from graphs.dag import dag
from nas.proposal import CUSTOM, from_outside
from search_space.space import Point

CHAIN = [(0, 1), (1, 2), (2, 3)]


def test_from_outside_it_is_a_point_where_the_space_has_one(make):
    space = make().space
    inside = from_outside(space, dag(2, [*CHAIN, (0, 2)]), "gates", name="a", proposal={"name": "a"})
    assert inside.point.family == "wiring"
    assert inside.topology == space.topology(inside.point)
    assert inside.extra == {"proposal": {"name": "a"}}
    outside = from_outside(space, dag(2, [(0, 1), (0, 2), (2, 3)]), "gates", name="a")
    assert outside.point == Point((("family", CUSTOM), ("depth", 2), ("proposal", "a")))
