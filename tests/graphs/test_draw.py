"""Pictures as a whole: files, bytes, what is on the sheet and whether it fits."""

import contextlib
import hashlib
import io
import itertools
import os
import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from graph_samples import FAMILIES

from graphs import Block, Constant, Mix, Parameter, Topology, TopologyError, UserError, draw, families, lower

SVG = "{http://www.w3.org/2000/svg}"


def ported(depth):
    """Blocks of three ports: q reads the block before and can learn more, k a mean, v all with a falling weight."""
    ops, history = [], ["x0"]
    for n in range(1, depth + 1):
        count = len(history)
        rows = {
            "q": [0] * (count - 1) + [1],
            "k": [1 / count] * count,
            "v": [-1 / (1 + j) for j in range(count)],
        }
        ops += [Mix(tuple(history), (f"{p}{n}",), Parameter(f"w{p}{n}", (tuple(row),))) for p, row in rows.items()]
        ops.append(Block(n, tuple(f"{p}{n}" for p in rows), f"y{n}", tuple(rows)))
        history.append(f"y{n}")
    ops.append(Mix(tuple(history), ("out",), Constant(((1,) * len(history),))))
    return Topology(tuple(ops), "out", depth, family="ported")


def size(data):
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", data[16:24])


def words(svg):
    """The text in an SVG, one string per text element, its hard spaces softened."""
    return [re.sub("\u00a0", " ", "".join(text.itertext())) for text in ET.fromstring(svg).iter(f"{SVG}text")]


def extents(canvas):
    """(artist, left, bottom, right, top) of every text on a sheet that is drawn, in shares of the sheet."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    FigureCanvasAgg(canvas).draw()
    legend = canvas.axes[0].get_legend()
    named = [*canvas.axes[0].texts, *(legend.get_texts() if legend else [])]
    for text in canvas.findobj(Text):
        # The ticks of switched-off axes have no place on the sheet; what annotates the arcs has.
        hidden = text.axes is not None and not text.axes.axison and text not in named
        if text.get_text().strip() and text.get_visible() and not hidden:
            box = text.get_window_extent()
            yield text, *canvas.transFigure.inverted().transform(box).ravel()


@pytest.mark.parametrize("name", FAMILIES)
def test_pictures_are_files_of_their_kind(name):
    topology = FAMILIES[name]()
    assert min(size(draw.picture(topology))) > 300
    svg = draw.picture(topology, kind="svg")
    assert ET.fromstring(svg).tag == f"{SVG}svg"
    assert draw.picture(topology, kind="svg") == svg, "the same file every time"


@pytest.mark.parametrize("depth", [1, 2, 17, 130])
def test_any_depth(depth):
    size(draw.picture(families.to_output(depth)))
    size(draw.thumbnail(families.residual(min(depth, 48))))


def test_nothing_to_show():
    """A program of zeros has no largest weight to scale by."""
    nothing = Topology((Block(1, ("x0",), "y1"), Mix(("y1",), ("o",), Constant(((0,),)))), "o", 1)
    size(draw.picture(nothing, np.zeros((2, 2))))
    size(draw.thumbnail(nothing))
    canvas = draw.figure(nothing, np.zeros((2, 2)))
    assert "0 connections: none; 1 block not on a way to the output" in [text.get_text() for text in canvas.texts]
    assert draw.text(Topology((Mix(("x0",), ("o",), Constant(((0,),))),), "o", 1)).count("·") == 2


def test_the_same_bytes_in_other_processes_and_under_other_settings():
    topology = families.ancre(5)
    script = """
import sys, hashlib, matplotlib
from graphs import draw, families
changed = {"axes.facecolor": "black", "font.size": 20, "savefig.bbox": "tight", "lines.linewidth": 9}
matplotlib.rcParams.update(changed)
before = matplotlib.rcParams.copy()
t = families.ancre(5)
for data in (draw.picture(t), draw.picture(t, kind="svg"), draw.thumbnail(t)):
    print(hashlib.sha256(data).hexdigest())
assert matplotlib.rcParams.copy() == before
assert "matplotlib.pyplot" not in sys.modules
"""
    pictures = (draw.picture(topology), draw.picture(topology, kind="svg"), draw.thumbnail(topology))
    here = [hashlib.sha256(data).hexdigest() for data in pictures]
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        ran = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
        )
        assert ran.stdout.split() == here


def test_global_settings_are_left_alone():
    before = mpl.rcParams.copy()
    for kind in ("png", "svg"):
        draw.picture(families.hyper(3), kind=kind)
    draw.thumbnail(families.hyper(3))
    assert mpl.rcParams.copy() == before


def test_an_svg_can_be_searched():
    """Title, counts, legend, ticks and every line of the plan are text; only runs of spaces are hard ones."""
    topology = families.dense(4, inner=False)
    svg = draw.picture(topology, kind="svg")
    found = words(svg)
    assert found[-len(str(lower(topology)).splitlines()) :] == str(lower(topology)).splitlines()
    operation = str(lower(topology)).splitlines()[-2].split("   free")[0].split("  ")[-1]
    assert " = " in operation
    assert operation in svg.decode(), "as it is printed, without hard spaces"
    assert {f"{topology}   {topology.digest}".replace("   ", " "), "x0", "out"} <= {re.sub(" +", " ", w) for w in found}
    assert "15 connections: 1 fixed, 14 learned; 10 zero now" in found
    assert {"a reader's largest weight", "zero now, can be learned", "read by", "output of"} <= set(found)
    assert b"Date" not in svg
    assert b"<dc:date>" not in svg


@pytest.mark.parametrize("name", families.FAMILIES)
def test_everything_is_on_the_sheet(name):
    for depth in (4, 14, 48):
        with contextlib.suppress(TopologyError):  # not every family has every depth
            canvas = draw.figure(families.FAMILIES[name](depth))
            placed = list(extents(canvas))
            assert len(placed) > 10
            for text, left, bottom, right, top in placed:
                assert -1e-3 <= left < right <= 1.001, text
                assert -1e-3 <= bottom < top <= 1.001, text


def test_a_long_legend_and_a_long_title_stay_on_a_small_sheet(monkeypatch):
    """Every kind of edge there is, on the smallest sheet."""
    monkeypatch.setattr("graphs.topology.Topology.matrix", lambda topology, port="in": unlike)
    unlike = np.array([[1, 0, 0, 0], [-0.5, 1, 0, 0], [np.nan, 0.1, 1, 0], [0, 0, 0, 1]])
    canvas = draw.figure(families.dense(3, inner=False), title="long " * 99, plan=False)
    assert len(canvas.axes[0].get_legend().get_texts()) == 6
    for text, left, bottom, right, top in extents(canvas):
        assert -1e-3 <= left < right <= 1.001, text
        assert -1e-3 <= bottom < top <= 1.001, text
    rows = sorted(
        {round(box[1], 2) for text, *box in extents(canvas) if text in canvas.axes[0].get_legend().get_texts()}
    )
    below = max(box[3] for text, *box in extents(canvas) if text.axes in canvas.axes[1:] and text.get_text())
    assert len(rows) == 2
    assert rows[0] > below, "the legend ends above the heat map"


@pytest.mark.parametrize("depth", [1, 8, 48])
def test_a_thumbnail_is_not_cut(depth):
    from matplotlib.image import imread

    pixels = imread(io.BytesIO(draw.thumbnail(families.ancre(depth))))
    assert pixels.shape[1] > pixels.shape[0] > 60
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge == 1).all(), "the border is white"


@pytest.mark.parametrize("depth", [4, 12, 48])
def test_labels_of_one_axis_do_not_overlap(depth):
    for topology in (families.ancre(depth), ported(depth)):
        canvas = draw.figure(topology)
        placed = {id(text): (left, bottom, right, top) for text, left, bottom, right, top in extents(canvas)}
        assert len(canvas.axes) > 2
        for axes in canvas.axes[1:]:
            across = [placed[id(tick)] for tick in axes.get_xticklabels() if id(tick) in placed]
            down = [placed[id(tick)] for tick in axes.get_yticklabels() if id(tick) in placed]
            assert all(a[2] < b[0] for a, b in itertools.pairwise(across))
            assert all(a[1] > b[3] - 0.002 for a, b in itertools.pairwise(down))
        nodes = [placed[id(text)] for text in canvas.axes[0].texts]
        assert len(nodes) == depth + 2, "every block has its number, at every depth here"


def test_the_plan_is_on_the_sheet_unless_it_is_not_wanted():
    topology = families.hyper(3)
    plan = [text.get_text().replace("\u00a0", " ") for text in draw.figure(topology).texts if text.get_gid()]
    assert plan == str(lower(topology)).splitlines()
    without = draw.figure(topology, plan=False)
    assert not [text for text in without.texts if text.get_gid()]
    assert without.get_figwidth() < draw.figure(topology).get_figwidth()
    assert len(draw.picture(topology, plan=False)) < len(draw.picture(topology))


def test_a_long_plan_says_how_much_is_left_out():
    topology = families.dense(48)
    plan = lower(topology)
    lines = [text.get_text().replace("\u00a0", " ") for text in draw.figure(topology).texts if text.get_gid()]
    assert len(lines) == 2 + 20 + 1 + 20 + 1
    assert lines[22].split() == ["…", str(len(plan.steps) - 40), "steps", "left", "out"]
    assert lines[:22] == str(plan).splitlines()[:22] or "more" in "".join(lines[:22])
    assert [int(line.split()[0]) for line in (*lines[2:22], *lines[23:43])] == [*range(20), *range(124, 144)]


def test_a_given_matrix_replaces_the_initial_one():
    topology = families.residual(2)
    plain = draw.picture(topology, kind="svg")
    assert draw.picture(topology, topology.matrix(), kind="svg") == plain
    other = topology.matrix()
    other[2, 1] = -3
    assert draw.picture(topology, other, kind="svg") != plain
    canvas = draw.figure(topology, other, "a $title")
    assert canvas.get_suptitle() == "a $title"
    shown = canvas.axes[1].images[1].get_array()
    assert shown.filled(0).tolist() == [[1, 0, 0], [1, 1, 0], [1 / 3, -1, 1 / 3]]
    assert draw.figure(topology).get_suptitle() == f"{topology}   {topology.digest}"


def test_one_heat_map_per_port():
    topology = ported(4)
    canvas = draw.figure(topology)
    maps = canvas.axes[1:4]
    assert [axes.get_title(loc="left") for axes in maps] == ["port q", "port k", "port v"]
    for axes, port in zip(maps, "qkv", strict=True):
        matrix = topology.matrix(port)
        shares = matrix / np.abs(matrix).max(axis=1, keepdims=True)
        assert np.allclose(axes.images[1].get_array().filled(0), shares)
    given = draw.figure(topology, {"v": topology.matrix("k")})
    same = [axes.images[1].get_array().filled(0).tolist() for axes in given.axes[1:4]]
    assert same[1] == same[2] != same[0]


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".svg"])
def test_save(tmp_path, suffix):
    path = draw.save(families.residual(2), tmp_path / f"picture{suffix}")
    assert path == tmp_path / f"picture{suffix}"
    assert path.read_bytes() == draw.picture(families.residual(2), kind=suffix.lower()[1:])
    assert draw.save(families.residual(2), str(path)) == path


@pytest.mark.parametrize("name", ["a.jpg", "a.pdf", "a", "png"])
def test_a_picture_has_one_of_two_suffixes(tmp_path, name):
    with pytest.raises(UserError, match=rf"{name}: a picture is a .png or an .svg file"):
        draw.save(families.residual(2), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match=r"a.png: cannot be written: No such file"):
        draw.save(families.residual(2), tmp_path / "missing" / "a.png")
    (tmp_path / "b.svg").mkdir()
    with pytest.raises(UserError, match="cannot be written: Is a directory"):
        draw.save(families.residual(2), tmp_path / "b.svg")


def test_names_of_any_kind():
    """Names come from users' files; a font may lack their letters and $ is no formula."""
    block = Block(1, ("x0",), "y1", ("$q^", "入"), "注意$_$")
    topology = Topology((Block(1, ("x0", "x0"), "y1", block.ports, block.name),), "y1", 1, family="famille$_$é入")
    for kind in ("png", "svg"):
        draw.picture(topology, kind=kind)
    draw.thumbnail(topology)
    found = words(draw.picture(topology, kind="svg"))
    assert any("??$_$($q^=x0" in word for word in found)
    assert {"port $q^", "port ?"} <= set(found)
    assert "port $q^" in draw.text(topology)
