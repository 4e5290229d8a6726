from itertools import pairwise

import numpy as np
import pytest

from graphs import draw, families
from graphs.draw import heat
from graphs.draw.arcs import PER_TOKEN, UNKNOWN, tint
from graphs.draw.connections import Connections, connections


def drawn(one, side=4.0):
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    heat.draw(axes, one, side=side)
    return axes


def test_rows_are_relative_to_their_largest():
    """The weights of ancre grow with depth by orders of magnitude; each row still spans the colours."""
    (one,) = connections(families.ancre(48))
    axes = drawn(one)
    shown = axes.images[1].get_array()
    assert np.allclose(shown.max(axis=1), 1)
    assert axes.images[1].get_clim() == (-1, 1)
    bounds = [text.get_text() for text in axes.texts]
    assert bounds[0] == "≤ 1"
    assert bounds[-1] == "≤ 74057"
    assert len(bounds) == len(set(bounds)) > 10


def test_a_bound_is_written_where_it_changes():
    assert [text.get_text() for text in drawn(connections(families.hyper(48))[0]).texts] == ["≤ 1", "≤ 4"]
    assert not drawn(connections(families.residual(48))[0]).texts


def test_small_matrices_have_their_numbers():
    (one,) = connections(families.ancre(4))
    texts = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in drawn(one).texts}
    assert texts[4, 0] == "8.7"
    assert texts[2, 1] == "1.5"
    assert len(texts) == 15


def test_kinds_of_cells():
    weights = np.array([[1, 0, 0], [np.nan, 0, 0], [0.5, 0, -1.0]])
    learned = np.array([[0, 0, 0], [0, 0, 0], [1, 1, 1]], dtype=bool)
    axes = drawn(Connections("in", weights, learned, np.isnan(weights), np.array([True, True, True])))
    cells, shares = axes.images
    colours = np.asarray(cells.get_array())
    assert np.allclose(colours[1, 0], tint(UNKNOWN, PER_TOKEN))
    assert np.allclose(colours[0, 1], 1), "nothing reads what comes after it"
    assert np.allclose(colours[1, 1], tint(heat.NOTHING, 1))
    assert shares.get_array().mask.tolist() == [[False, True, True], [True, True, True], [False, True, False]]
    (dots,) = [c for c in axes.collections if c.get_gid() == "latent"]
    assert dots.get_offsets().tolist() == [[1, 2]]
    assert [text.get_text() for text in axes.texts] == ["1", "0.5", "-1"]


def test_readers_without_the_port_stay_blank():
    none = np.zeros((3, 3), dtype=bool)
    axes = drawn(Connections("q", np.eye(3), none, none, np.array([False, True, True])))
    assert (axes.images[0].get_array()[0] == 1).all()
    assert axes.images[1].get_array().mask[0].all()


def test_colours_are_symmetric_and_no_weight_is_none_of_them():
    colours = heat.colours()
    faint, strong = colours(0.5001)[:3], colours(1.0)[:3]
    assert sum(strong) < sum(faint) < 3 * 0.97
    assert sum(colours(0.0)[:3]) < sum(colours(0.4999)[:3]) < 3 * 0.97
    assert colours(0.0) != colours(1.0)


@pytest.mark.parametrize("side", [2.1, 3.4, 5.0])
def test_ticks_keep_apart(side):
    for size in range(2, 200):
        cell = 72 * side / size
        ticks = heat.reader_ticks(size, cell)
        assert (ticks[0], ticks[-1]) == (0, size - 1)
        assert all((later - tick) * cell >= 10 for tick, later in pairwise(ticks)), size
        assert len(ticks) >= min(size, 6)


def test_a_negative_half_of_the_bar_only_where_it_is_needed():
    def ticks(matrix=None):
        return draw.figure(families.dense(3), matrix).axes[-1].get_xticks().tolist()

    assert ticks() == [0, 0.5, 1]
    assert ticks(-np.eye(4)) == [-1, 0, 1]
