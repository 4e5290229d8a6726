import itertools

import numpy as np
import pytest

from graphs import draw, families
from graphs.draw.arcs import NEGATIVE, POSITIVE, THINNEST, UNKNOWN, Edges, full_width, legend, tint
from graphs.draw.connections import Connections, connections


def groups(canvas):
    """The collections of edges in the arcs panel, by kind."""
    found = {c.get_gid(): c for c in canvas.axes[0].collections if c.get_gid()}
    return {name.removeprefix("edges-"): group for name, group in found.items()}


def ends(group):
    return [(path.vertices[0][0], path.vertices[-1][0]) for path in group.get_paths()]


def shown(weights, *, learned=0, varies=0):
    weights = np.array(weights, dtype=float)
    learned, varies = (np.broadcast_to(np.array(flags, dtype=bool), weights.shape) for flags in (learned, varies))
    return Connections("in", weights, learned, varies | np.isnan(weights), np.ones(len(weights), dtype=bool))


def test_every_edge_is_an_arc_or_a_link_of_the_chain():
    canvas = draw.figure(families.wiring(3, edges=[(0, 2), (1, 4)]))
    (edges,) = groups(canvas).values()
    assert sorted(ends(edges)) == [(0, 1), (0, 2), (1, 2), (1, 4), (2, 3), (3, 4)]
    heights = {pair: path.vertices[:, 1].max() for pair, path in zip(ends(edges), edges.get_paths(), strict=True)}
    assert heights[0, 1] == heights[2, 3] == 0
    assert 0 < heights[0, 2] < heights[1, 4] < canvas.axes[0].get_ylim()[1]


@pytest.mark.parametrize("depth", [4, 12, 48])
def test_dense_is_no_chain(depth):
    """Weights of zero that can be learned are hairlines under everything else."""
    kinds = groups(draw.figure(families.dense(depth, inner=False)))
    assert set(kinds) == {"known", "latent"}
    pairs = set(itertools.combinations(range(depth + 2), 2))
    chain = {(i, i + 1) for i in range(depth + 1)}
    assert set(ends(kinds["known"])) == chain
    assert set(ends(kinds["latent"])) == pairs - chain
    assert len(ends(kinds["latent"])) == depth * (depth + 1) // 2
    assert kinds["latent"].get_zorder() < kinds["known"].get_zorder()
    assert max(kinds["latent"].get_linewidth()) < min(kinds["known"].get_linewidth())


@pytest.mark.parametrize("name", ["residual", "to_output", "dense", "hyper", "ancre", "wiring"])
def test_as_many_arcs_as_weights(name):
    for depth in (4, 12, 48):
        topology = families.FAMILIES[name](depth)
        kinds = groups(draw.figure(topology, plan=False))
        assert len(ends(kinds["known"])) == np.count_nonzero(topology.matrix())


def test_width_is_weight_and_strong_ones_lie_above_weak_ones():
    matrix = np.eye(5)
    matrix[4] = [0.5, -0.25, 0.01, -1, 0.75]
    edges = groups(draw.figure(families.dense(4), matrix))["known"]
    widths = dict(zip(ends(edges), edges.get_linewidth(), strict=True))
    full = widths[0, 1]
    assert widths[0, 5] == pytest.approx(full / 2)
    assert widths[1, 5] == pytest.approx(full / 4)
    assert widths[3, 5] == pytest.approx(full)
    assert widths[2, 5] == THINNEST
    assert list(edges.get_linewidth()) == sorted(edges.get_linewidth())
    colours = dict(zip(ends(edges), map(tuple, edges.get_edgecolor()[:, :3]), strict=True))
    assert colours[3, 5] == pytest.approx(tint(NEGATIVE, 1))
    assert colours[4, 5] == pytest.approx(tint(POSITIVE, 0.75))
    assert colours[1, 5] == pytest.approx(tint(NEGATIVE, 0.25))
    assert (edges.get_edgecolor()[:, 3] == 1).all(), "opaque, so that weak ones do not show through"


def test_many_equal_arcs_are_thin_and_few_strong_among_many_weak_are_not():
    few, many = (full_width(Edges(connections(families.residual(depth)))) for depth in (4, 48))
    weak = np.tril(np.full((49, 49), 0.3)) + 0.7 * np.eye(49)
    assert many < few / 4
    assert full_width(Edges((shown(weak),))) > 2.5 * many


def test_weak_edges_are_pale_and_the_strongest_have_the_colour_itself():
    assert tint(POSITIVE, 1) == pytest.approx((0, 0x72 / 255, 0xB2 / 255))
    assert sum(tint(POSITIVE, 0.1)) > sum(tint(POSITIVE, 0.5)) > sum(tint(POSITIVE, 1))
    assert sum(tint(POSITIVE, 0)) < 2.7, "still seen on white"


def test_the_legend_names_what_there_is_and_nothing_else():
    def labels(weights, **more):
        return [label for label, _ in legend(Edges((shown(weights, **more),)))]

    assert labels([[0, 0], [0, 0]]) == []
    assert labels([[1, 0], [1, 1]]) == labels([[1, 0], [1, 1 - 1e-9]]) == ["a reader's largest weight"]
    scale = ["a reader's largest weight", "half of it", "a tenth"]
    assert labels([[1, 0], [0.5, 1]]) == scale
    assert labels([[1, 0], [-0.5, 1]]) == [*scale, "negative"]
    assert labels([[1, 0], [np.nan, np.nan]]) == ["a reader's largest weight", "per token, of no fixed weight"]
    assert labels([[1, 0], [1, 1]], varies=[[0, 0], [0, 1]]) == ["a reader's largest weight", "per token or random"]
    assert labels([[1, 0], [0, 1]], learned=[[0, 0], [1, 0]])[-1] == "zero now, can be learned"
    looks = dict(legend(Edges((shown([[1, 0], [np.nan, 1]], varies=[[0, 0], [0, 1]]),))))
    assert looks["per token, of no fixed weight"]["color"] == UNKNOWN
    assert looks["per token or random"]["color"] == POSITIVE
    assert [name for name, look in looks.items() if look.get("linestyle") == "dashed"] == list(looks)[-2:]


def test_a_weight_per_token_is_dashed():
    from matplotlib.figure import Figure

    from graphs.draw import arcs

    axes = Figure().add_subplot()
    varies = [[0, 0, 0], [0, 1, 0], [1, 0, 0]]
    arcs.draw(axes, Edges((shown([[1, 0, 0], [np.nan, -1, 0], [0, np.nan, 1]], varies=varies),)), step=1, unit=1)
    kinds = {c.get_gid(): c for c in axes.collections if c.get_gid()}
    assert {kind: set(ends(group)) for kind, group in kinds.items()} == {
        "edges-known": {(0, 1), (2, 3)},
        "edges-varying": {(1, 2)},
        "edges-unknown": {(0, 2), (1, 3)},
    }
    dashed = {kind for kind, group in kinds.items() if all(dashes is not None for _, dashes in group.get_linestyle())}
    assert dashed == {"edges-varying", "edges-unknown"}
    assert kinds["edges-varying"].get_edgecolor()[0, :3] == pytest.approx(tint(NEGATIVE, 1)), "as at the start"


def test_the_ports_are_drawn_together_by_the_one_that_reads_most():
    first = shown([[1, 0], [0.5, 1]], learned=[[0, 0], [1, 1]])
    second = shown([[0, 0], [-2, 0]], learned=[[0, 0], [1, 1]])
    edges = Edges((first, second))
    assert edges.share.tolist() == [[1, 0], [-1, 1]]
    assert edges.count() == "3 connections: 1 fixed, 2 learned"
    assert not edges.latent.any(), "zero in one port, not in the other"
    assert Edges((first, shown([[np.nan, 0], [0, 0]]))).unknown.tolist() == [[True, False], [False, False]]


def test_counts():
    assert Edges(connections(families.residual(48))).count() == "1,225 connections: 1,225 fixed"
    assert Edges(connections(families.dense(4))).count() == "15 connections: 1 fixed, 14 learned"
    unknown = shown([[1, 0], [np.nan, np.nan]])
    assert Edges((unknown,)).count() == "3 connections: 1 fixed, 2 per token or random"
    assert Edges(connections(families.dense(4, inner=False))).count().endswith("1 fixed, 14 learned; 10 zero now")
    generated = shown([[1, 0], [0, 1]], learned=[[0, 0], [1, 1]], varies=[[0, 0], [1, 1]])
    assert Edges((generated,)).count() == "3 connections: 1 fixed, 2 per token or random; 1 zero now"
    idle = shown([[1, 0, 0], [1, 0, 0], [0, 1, 0]])
    assert Edges((idle,)).count() == "3 connections: 3 fixed; 1 block not on a way to the output"


def test_blocks_that_nothing_needs_are_pale():
    canvas = draw.figure(families.wiring(2), np.array([[1.0, 0, 0], [1, 0, 0], [0, 1, 0]]))
    blocks = next(c for c in canvas.axes[0].collections if c.get_gid() is None)
    live, idle = blocks.get_edgecolor()
    assert live.sum() < idle.sum()
