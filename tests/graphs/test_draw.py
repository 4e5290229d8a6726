import struct
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from graph_samples import FAMILIES

from graphs import Block, Constant, Mix, Topology, UserError, draw, families

DIFFERENCE = Topology((Block(1, ("x0",), "y1"), Mix(("x0", "y1"), ("o",), Constant(((0.25, -1),)))), "o", 1)


def _size(data):
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", data[16:24])


@pytest.mark.parametrize("name", ["residual", "hyper", "ancre"])
def test_pictures_are_files_of_their_kind(name):
    topology = FAMILIES[name]()
    width, height = _size(draw.picture(topology))
    assert width > height > 100
    svg = draw.picture(topology, kind="svg")
    assert ET.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert draw.picture(topology, kind="svg") == svg, "the same file every time"


@pytest.mark.parametrize("depth", [1, 17, 40])
def test_any_depth(depth):
    _size(draw.picture(families.residual(depth)))
    _size(draw.thumbnail(families.residual(depth)))


def test_nothing_to_show():
    """A program of zeros has no largest weight to scale by."""
    nothing = Topology((Block(1, ("x0",), "y1"), Mix(("y1",), ("o",), Constant(((0,),)))), "o", 1)
    _size(draw.picture(nothing, np.zeros((2, 2))))
    assert draw.text(Topology((Mix(("x0",), ("o",), Constant(((0,),))),), "o", 1)).count("·") == 4


def test_a_given_matrix_replaces_the_initial_one():
    topology = families.residual(2)
    plain = draw.picture(topology, kind="svg")
    assert draw.picture(topology, topology.matrix(), kind="svg") == plain
    other = topology.matrix()
    other[2, 1] = -3
    assert draw.picture(topology, other, kind="svg") != plain
    canvas = draw.figure(topology, other, "a title")
    assert canvas.get_suptitle() == "a title"
    shown = canvas.axes[1].images[0].get_array()
    assert shown.filled(0).tolist() == other.tolist()
    assert draw.figure(topology).get_suptitle() == f"{topology}   {topology.digest}"


def test_every_edge_is_an_arc_or_a_link_of_the_chain():
    canvas = draw.figure(families.wiring(3, edges=[(0, 2), (1, 4)]))
    arcs = [patch for patch in canvas.axes[0].patches if type(patch).__name__ == "Arc"]
    assert sorted((arc.center[0] - arc.width / 2, arc.center[0] + arc.width / 2) for arc in arcs) == [(0, 2), (1, 4)]
    assert sorted(tuple(line.get_xdata()) for line in canvas.axes[0].lines) == [(0, 1), (1, 2), (2, 3), (3, 4)]


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


def test_text():
    assert draw.text(DIFFERENCE).splitlines() == [
        "            x0   1",
        "  block 1    █   ·",
        "   output    ▒  -█",
    ]
    assert len(draw.text(families.residual(23)).splitlines()) == 25
    assert draw.text(families.residual(24)) == "(the connection matrix has 25 rows; --png FILE draws it)"
    assert len(draw.text(families.residual(4), limit=5).splitlines()) == 6
    assert "--png" in draw.text(families.residual(5), limit=5)


def test_marks_by_weight():
    row = (1, 0.74, 0.5, 0.49, 0.25, 0.1, -0.6, 0)
    ops = [Block(n, ("x0",), f"y{n}") for n in range(1, 8)]
    mix = Mix(("x0", *(f"y{n}" for n in range(1, 8))), ("o",), Constant((row,)))
    last = draw.text(Topology((*ops, mix), "o", 7)).splitlines()[-1]
    assert last.split()[1:] == ["█", "▓", "▓", "▒", "▒", "░", "-▓", "·"]
