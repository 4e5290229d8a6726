from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs import BlockCost, ModelCost, TopologyError, families, lower, price
from graphs.edits import edited
from graphs.families.wiring import candidates

FIXED = [
    families.residual(4),
    families.to_output(4),
    families.scaled(4),
    families.lns(4),
    families.wiring(4, edges=[(0, 3)]),
]
LEARNED = [
    families.dense(4),
    families.hyper(4, streams=2),
    families.ancre(4),
    families.highway(4),
    families.unet(4),
    families.mudd(4),
    families.wiring(4, edges=[(0, 3)], learned=True),
]


def sets(depth):
    return st.sets(st.sampled_from(candidates(depth)), max_size=6)


@given(sets(5), sets(5))
def test_switching_edges_of_a_free_wiring_is_the_symmetric_difference(edges, switched):
    changed = edited(families.wiring(5, edges=edges), dict.fromkeys(switched, 1))
    assert changed == families.wiring(5, edges=edges ^ switched)


@given(sets(6))
def test_the_residual_network_without_some_edges(switched):
    rest = [edge for edge in candidates(6) if edge not in switched]
    changed = edited(families.residual(6), dict.fromkeys(switched, 1))
    assert changed == families.wiring(6, edges=rest)
    # The compiler finds the running sums again, so that the spelling costs nothing.
    sizes = ModelCost(tokens=4, dim=8, blocks=(BlockCost(1000, 100),) * 6, fixed=BlockCost(10, 1))
    assert price(lower(changed), sizes) == price(lower(families.wiring(6, edges=rest)), sizes)


@pytest.mark.parametrize("topology", FIXED, ids=str)
def test_an_edit_twice_is_none(topology):
    edges = {(0, 3): 1, (1, 5): 1, (0, 2): 1}
    once = edited(topology, edges)
    assert once != topology
    missing = {edge: 1 for edge in edges if topology.matrix()[edge[1] - 1, edge[0]] == 0}
    assert edited(edited(topology, missing), missing) == topology


@pytest.mark.parametrize("topology", [*FIXED, *LEARNED], ids=str)
def test_the_matrix_changes_in_that_entry_alone(topology):
    changed = edited(topology, {(1, 4): 0.25})
    for port in topology.blocks[0].ports:
        before, after = topology.matrix(port), changed.matrix(port)
        expected = before.copy()
        gone = topology in FIXED and before[3, 1] != 0
        expected[3, 1] = 0 if gone else before[3, 1] + 0.25
        np.testing.assert_allclose(after, expected, atol=1e-12)
    assert lower(changed).topology.depth == 4
    assert changed.block_hints == topology.block_hints
    assert dict(changed.settings)["edits"] == "1-4"


@pytest.mark.parametrize("topology", LEARNED, ids=str)
def test_what_is_learned_stays_and_an_edge_into_the_output_is_added(topology):
    changed = edited(topology, {(0, 5): 2})
    assert changed != topology
    assert [mix for mix in topology.mixes if mix.trains] == [mix for mix in changed.mixes if mix.trains]
    before, after = topology.matrix(topology.blocks[0].ports[0]), changed.matrix(topology.blocks[0].ports[0])
    assert after[4, 0] - before[4, 0] == pytest.approx(2)


def test_weights_stay_exact():
    changed = edited(families.wiring(2), {(0, 2): Fraction(1, 3)})
    assert changed != edited(families.wiring(2), {(0, 2): 1 / 3})
    assert changed == edited(families.wiring(2), {(0, 2): Fraction(2, 6)})


def test_no_edit_is_the_topology_itself():
    topology = families.residual(3)
    assert edited(topology, {}) is topology


@pytest.mark.parametrize("edge", [(2, 2), (3, 1), (-1, 2), (0, 6)])
def test_edges_go_forward_and_inside(edge):
    with pytest.raises(TopologyError, match=r"edge \(.*it must go forward, within 0 \(stem\) .. 5 \(output\)"):
        edited(families.residual(4), {edge: 1})


def test_a_reader_is_not_left_with_nothing():
    with pytest.raises(TopologyError, match=r"leave block 2 of .* nothing to read"):
        edited(families.wiring(2), {(1, 2): 1})
    with pytest.raises(TopologyError, match=r"leave the output of .* nothing to read"):
        edited(families.wiring(2), {(2, 3): 1})
