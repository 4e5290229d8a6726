import pytest

from graphs import families
from graphs.dag import dag
from search_space.document import parse
from search_space.recognise import wiring_point
from search_space.space import Space

CHAIN = [(0, 1), (1, 2), (2, 3), (3, 4)]


def space(text, tmp_path):
    return Space.parse(parse(f"space: {text}", tmp_path / "s.yaml"))


@pytest.fixture
def free(tmp_path):
    return space("{depth: [3, 4], families: {wiring: {edges: {low: 1, high: 2}, in_degree: 2}}}", tmp_path)


def test_a_wiring_of_the_space_is_its_point(free):
    topology = dag(3, [*CHAIN, (0, 2), (1, 4)])
    point = wiring_point(free, topology)
    assert point is not None
    assert point.family == "wiring"
    assert free.topology(point) == topology
    assert point.to_dict()["wiring.edges"] == 2


@pytest.mark.parametrize(
    "edges",
    [
        CHAIN,  # fewer edges than the budget
        [*CHAIN, (0, 2), (0, 3), (0, 4)],  # more
        [*CHAIN, (0, 3), (1, 3)],  # three into one node
        [*CHAIN, (0, 2, 0.5)],  # a weight
        [(0, 1), (0, 2), (2, 3), (3, 4)],  # no chain
    ],
)
def test_a_topology_beyond_it_is_not(free, edges):
    assert wiring_point(free, dag(3, edges)) is None


def test_another_depth_is_not(free):
    assert wiring_point(free, dag(2, [(0, 1), (1, 2), (2, 3), (0, 2)])) is None


def test_learned_weights_are_not(free):
    assert wiring_point(free, dag(3, [*CHAIN, (0, 2)], learned=True)) is None


def test_a_space_without_free_wiring_has_no_such_point(tmp_path):
    assert wiring_point(space("{depth: 3, families: {residual: {}}}", tmp_path), families.residual(3)) is None


def test_gates_that_can_be_one_are_one(tmp_path):
    gated = space("{depth: 3, families: {wiring: {edges: {low: 1, high: 3}}}, gates: {low: 0.5, high: 2.0}}", tmp_path)
    topology = dag(3, [*CHAIN, (0, 3)])
    point = wiring_point(gated, topology)
    assert point is not None
    assert gated.topology(point) == topology
    small = space("{depth: 3, families: {wiring: {edges: {low: 1, high: 3}}}, gates: {low: 0.25, high: 0.5}}", tmp_path)
    assert wiring_point(small, topology) is None
