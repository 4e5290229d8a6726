import random

import pytest

from search_space.document import read
from search_space.enumeration import points, with_edges
from search_space.neighbours import neighbours
from search_space.point import Answers
from search_space.space import Space


@pytest.fixture(scope="module")
def parse(tmp_path_factory):
    path = tmp_path_factory.mktemp("space") / "file.yaml"

    def parse(text):
        path.write_text(f"space: {text}\n")
        return Space.parse(read(path))

    return parse


def edges_of(space, point):
    family = next(family for family in space.families if family.name == point.family)
    return family.edges_of(point)


def around(space, point, seed=0):
    return list(neighbours(space, point, random.Random(seed)))


def wiring(space, depth, edges, **values):
    return with_edges(space.families[0], depth, {"wiring.learned": False} | values, tuple(edges))


def test_one_edge_more_less_or_moved(parse):
    space = parse("{depth: 3, families: {wiring: {edges: {low: 0, high: 6}}}}")
    found = {edges_of(space, point) for point in around(space, wiring(space, 3, [(0, 2)]))}
    optional = {(0, 2), (0, 3), (0, 4), (1, 3), (1, 4), (2, 4)}
    more = {tuple(sorted({(0, 2), edge})) for edge in optional - {(0, 2)}}
    assert found == {(), *more, ((0, 3),), ((0, 4),)}  # moved: what shares an end with 0-2


def test_the_budget_and_the_in_degree_hold(parse):
    space = parse("{depth: 3, families: {wiring: {edges: {low: 1, high: 2}, in_degree: 2}}}")
    one, two = wiring(space, 3, [(0, 3)]), wiring(space, 3, [(0, 3), (1, 4)])
    assert {len(edges_of(space, point)) for point in around(space, one)} == {1, 2}
    assert {len(edges_of(space, point)) for point in around(space, two)} == {1, 2}
    assert ((0, 3), (1, 3)) not in {edges_of(space, point) for point in around(space, one)}


def test_parameters_and_depth_go_to_the_next_value(parse):
    space = parse(
        "{depth: {low: 2, high: 10, step: 4}, families: {hyper: {streams: [8, 2, 4], dynamic: [true, false]}}}"
    )
    middle = space.ask(Answers({"depth": 6, "hyper.streams": 4, "hyper.dynamic": True}))
    found = [{k: v for k, v in p.to_dict().items() if v != middle.to_dict()[k]} for p in around(space, middle)]
    key = str
    assert sorted(found, key=key) == sorted(
        [{"depth": 2}, {"depth": 10}, {"hyper.streams": 2}, {"hyper.streams": 8}, {"hyper.dynamic": False}], key=key
    )
    end = space.ask(Answers({"depth": 2, "hyper.streams": 8, "hyper.dynamic": True}))
    assert {p.depth for p in around(space, end)} == {2, 6}
    assert {p.to_dict()["hyper.streams"] for p in around(space, end)} == {8, 4}


def test_edges_into_the_output_follow_the_depth_and_what_does_not_fit_is_dropped(parse):
    space = parse("{depth: {low: 3, high: 4}, families: {wiring: {edges: {low: 0, high: 6}}}}")
    deep = wiring(space, 4, [(0, 2), (0, 4), (0, 5), (3, 5)])
    (shallow,) = [point for point in around(space, deep) if point.depth == 3]
    assert edges_of(space, shallow) == ((0, 2), (0, 4))  # 0-4 is 0-out now; 3-out is the chain
    (back,) = [point for point in around(space, shallow) if point.depth == 4]
    assert edges_of(space, back) == ((0, 2), (0, 5))


def test_other_families_at_their_published_values_and_edits_of_this_one(parse):
    families = "{residual: {}, dense: {period: [1, 2]}, wiring: {edges: {low: 1, high: 2}}}"
    space = parse(f"{{depth: 3, families: {families}, edits: {{edges: 1}}}}")
    found = around(space, space.residual(3))
    names = [point.family for point in found]
    assert (names.count("dense"), names.count("wiring")) == (1, 1)
    assert space.baselines()[1] in found
    assert names.count("residual") == 6  # one edit each
    assert all(space.topology(point) is not None for point in found)


def test_a_point_of_an_undeclared_family_leads_into_the_space(parse):
    space = parse("{depth: 3, families: {hyper: {streams: 2}}}")
    assert [point.family for point in around(space, space.residual(3))] == ["hyper"]


def test_continuous_values_move_a_little_and_stay_inside(parse):
    space = parse("{depth: 3, families: {wiring: {edges: 1}}, gates: {low: 0.25, high: 4, log: true}}")
    start = wiring(space, 3, [(0, 2)])
    gates = [p.to_dict().get("gates.0-2") for seed in range(200) for p in around(space, start, seed)]
    moved = [gate for gate in gates if gate not in (None, 1.0)]
    assert len(set(moved)) == len(moved) == 200
    assert 0.25 <= min(moved) < 0.7 < 1.4 < max(moved) <= 4
    ancre = parse("{depth: 3, families: {ancre: {temperature: {low: 0.1, high: 1}}}}")
    low = ancre.ask(Answers({"ancre.temperature": 0.1}))
    assert {p.to_dict()["ancre.temperature"] >= 0.1 for seed in range(20) for p in around(ancre, low, seed)} == {True}


def test_each_neighbour_once_in_an_order_that_chance_alone_decides(parse):
    space = parse("{depth: {low: 3, high: 4}, families: {wiring: {edges: {low: 0, high: 4}}, residual: {}}}")
    point = wiring(space, 3, [(0, 2), (1, 4)])
    first, again, other = (around(space, point, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert len(set(first)) == len(first)
    fixed = [{p for p in found if p.family == "wiring"} for found in (first, other)]
    assert fixed[0] == fixed[1]
    # An edit comes every second time on average, however few the other moves are.
    kinds = [next(neighbours(space, point, random.Random(seed))).depth for seed in range(300)]
    assert 0 < kinds.count(4) < 120


def test_every_wiring_can_be_reached(parse):
    space = parse("{depth: 3, families: {wiring: {edges: {low: 1, high: 4}}}}")
    seen, frontier = set(), [wiring(space, 3, [(0, 2)])]
    while frontier:
        point = frontier.pop()
        if point not in seen:
            seen.add(point)
            frontier += around(space, point)
    assert seen == set(points(space))
