from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_space.domain import IntRange
from search_space.point import Answers
from search_space.wiring import Encoding, priority


def encoding(in_degree=None):
    return Encoding(IntRange(low=0, high=100), in_degree)


def values(depth, budget, chosen=()):
    nodes = range(depth + 2)
    named = {priority(edge, depth): 0.0 for edge in combinations(nodes, 2) if edge[1] - edge[0] >= 2}
    return named | {priority(edge, depth): 1.0 - i / 10 for i, edge in enumerate(chosen)} | {"wiring.edges": budget}


@pytest.mark.parametrize(
    ("edge", "depth", "name"),
    [
        ((0, 2), 4, "wiring.priority.0-2"),
        ((0, 5), 4, "wiring.priority.0-out"),
        ((0, 5), 5, "wiring.priority.0-5"),
    ],
)
def test_a_priority_means_the_same_at_every_depth(edge, depth, name):
    assert priority(edge, depth) == name


def test_highest_priorities_win_and_ties_go_by_position():
    assert encoding().decode(3, values(3, 2, [(1, 4), (0, 3)])) == ((0, 3), (1, 4))
    assert encoding().decode(3, values(3, 1, [(1, 4), (0, 3)])) == ((1, 4),)
    assert encoding().decode(3, values(3, 2)) == ((0, 2), (0, 3))


def test_an_edge_into_a_full_node_is_skipped_for_the_next_one():
    # Node 4 has its chain edge and room for one more.
    assert encoding(in_degree=2).decode(3, values(3, 2, [(0, 4), (1, 4), (0, 2)])) == ((0, 2), (0, 4))


@pytest.mark.parametrize(("depth", "in_degree", "room"), [(1, None, 1), (8, None, 36), (8, 1, 0), (8, 2, 8), (3, 3, 5)])
def test_a_budget_beyond_the_capacity_takes_all_there_is_room_for(depth, in_degree, room):
    assert encoding(in_degree).capacity(depth) == room
    assert len(encoding(in_degree).decode(depth, values(depth, 100))) == room


@given(st.integers(1, 10), st.none() | st.integers(1, 5), st.integers(0, 60), st.randoms(use_true_random=False))
def test_decoded_edges_are_legal_and_as_many_as_asked_or_possible(depth, in_degree, budget, rng):
    named = {name: rng.random() for name in values(depth, 0)} | {"wiring.edges": budget}
    edges = encoding(in_degree).decode(depth, named)
    assert len(edges) == min(budget, encoding(in_degree).capacity(depth))
    assert edges == tuple(sorted(set(edges)))
    assert all(i >= 0 and i + 2 <= j <= depth + 1 for i, j in edges)
    for node in range(1, depth + 2):
        assert 1 + sum(j == node for _, j in edges) <= (in_degree or depth + 1)


def test_asks_the_budget_then_each_edge_with_ranges_that_do_not_depend_on_depth():
    asked = []

    class Spy(Answers):
        def integer(self, name, low, high, *, log=False, step=1):
            asked.append((name, low, high))
            return super().integer(name, low, high, log=log, step=step)

        def real(self, name, low, high, *, log=False):
            asked.append((name, low, high))
            return super().real(name, low, high, log=log)

    found = dict(encoding().ask(2, Spy({"wiring.edges": 100}, otherwise=0.5)))
    assert asked == [
        ("wiring.edges", 0, 100),
        ("wiring.priority.0-2", 0.0, 1.0),
        ("wiring.priority.0-out", 0.0, 1.0),
        ("wiring.priority.1-out", 0.0, 1.0),
    ]
    assert list(found) == [name for name, _, _ in asked]
