import random
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_space.document import read
from search_space.domain import Choice, IntRange
from search_space.enumeration import continuous, count, points, with_edges
from search_space.space import Space
from search_space.wiring import EDITS, Encoding


@pytest.fixture(scope="module")
def parse(tmp_path_factory):
    path = tmp_path_factory.mktemp("space") / "file.yaml"

    def parse(text):
        path.write_text(f"space: {text}\n")
        return Space.parse(read(path))

    return parse


@pytest.mark.parametrize(
    ("text", "size", "topologies"),
    [
        ("{depth: 3, families: {residual: {}}}", 1, 1),
        ("{depth: {low: 2, high: 4}, families: {residual: {}, dense: {period: [1, 2]}}}", 9, None),
        ("{depth: 3, families: {wiring: {edges: {low: 0, high: 6}}}}", 64, 64),
        ("{depth: 4, families: {wiring: {edges: {low: 0, high: 10}}}}", 1024, 1024),
        ("{depth: 3, families: {wiring: {edges: 2}}}", 15, 15),
        ("{depth: 3, families: {wiring: {edges: {low: 0, high: 99}, in_degree: 2}}}", 24, 24),
        ("{depth: 3, families: {residual: {}}, edits: {edges: 2}}", 22, 22),
        ("{depth: 2, families: {residual: {}, wiring: {edges: {low: 0, high: 3}}}, edits: {edges: 1}}", 12, 8),
        ("{depth: 2, families: {wiring: {edges: 1}}, gates: {low: 0.5, high: 0.5}}", 3, 3),
    ],
)
def test_every_point_comes_once(parse, text, size, topologies):
    space = parse(text)
    every = list(points(space))
    assert count(space) == size == len(every) == len(set(every))
    digests = {space.topology(point).digest for point in every}
    assert topologies is None or len(digests) == topologies


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("{depth: 3, families: {ancre: {temperature: {low: 0.1, high: 1}}}}", "ancre.temperature"),
        ("{depth: 3, families: {wiring: {edges: 1}}, gates: {low: 0.5, high: 1}}", "gates"),
        ("{depth: 3, families: {wiring: {edges: 1}}}", None),
    ],
)
def test_what_cannot_be_counted_has_a_name(parse, text, name):
    space = parse(text)
    assert continuous(space) == name
    assert (count(space) is None) == (name is not None)


@given(
    st.integers(1, 4),
    st.none() | st.integers(1, 4),
    st.sampled_from(
        [IntRange(low=0, high=3), IntRange(low=1, high=9, step=4), Choice((4, 1)), IntRange(low=2, high=99)]
    ),
)
def test_sets_are_those_of_brute_force(depth, in_degree, budgets):
    encoding = Encoding(budgets, in_degree)
    optional = list(combinations(range(depth + 2), 2))
    optional = [edge for edge in optional if edge[1] - edge[0] >= 2]
    room = (in_degree or 99) - 1
    legal = [
        edges
        for size in range(len(optional) + 1)
        for edges in combinations(optional, size)
        if all(sum(j == node for _, j in edges) <= room for node in range(depth + 2))
    ]
    capacity = max(len(edges) for edges in legal)
    wanted = {min(int(budget), capacity) for budget in budgets.every()}
    expected = {edges for edges in legal if len(edges) in wanted}
    assert {tuple(sorted(edges)) for edges in encoding.every(depth)} == {tuple(sorted(edges)) for edges in expected}
    assert encoding.sets(depth) == len(expected) == len(list(encoding.every(depth)))
    for edges in legal:
        encoded = encoding.encode(depth, edges)
        assert (encoded is not None) == (len(edges) in wanted)
        if encoded is not None:
            assert encoding.decode(depth, encoded) == tuple(sorted(edges))
            assert encoded["wiring.edges"] in budgets.every()


def test_too_many_into_one_node_cannot_be_encoded():
    assert Encoding(IntRange(low=0, high=9), 2).encode(3, [(0, 4), (1, 4)]) is None


def test_an_empty_edit_needs_no_priorities():
    assert Encoding(IntRange(low=0, high=2), layer=EDITS).encode(3, []) == {"edits.edges": 0}


def test_kept_gates_stay_and_new_ones_start_near_one(parse):
    space = parse("{depth: 3, families: {wiring: {edges: {low: 0, high: 6}}}, gates: {low: 1.5, high: 2}}")
    values = {"wiring.learned": False}
    point = with_edges(space.families[0], 3, values, ((0, 2), (0, 3)), {"gates.0-2": 1.75, "gates.1-3": 2.0})
    assert {name: value for name, value in point.values if name.startswith("gates")} == {
        "gates.0-2": 1.75,
        "gates.0-3": 1.5,
    }


def test_counting_a_deep_space_is_quick(parse):
    space = parse("{depth: 200, families: {wiring: {edges: {low: 0, high: 2}}}}")
    optional = 200 * 201 // 2
    assert count(space) == 1 + optional + optional * (optional - 1) // 2
    assert space.topology(space.random(random.Random(0))).depth == 200
