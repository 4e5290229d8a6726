"""Pictures: blocks on a line with their connections as arcs, and the connection matrix as a heat map."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphs.errors import UserError
from graphs.topology import Topology

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]

POSITIVE, NEGATIVE, CHAIN = "#2f6fb0", "#c4572c", "#8a8f98"


def figure(topology: Topology, matrix: Array | None = None, title: str | None = None) -> "Figure":
    """Arcs and heat map side by side; ``matrix`` (depth + 1, depth + 1) replaces the one at the initial weights."""
    from matplotlib.figure import Figure

    weights = topology.matrix() if matrix is None else matrix
    depth = topology.depth
    width = min(6 + 0.28 * depth, 16)
    canvas = Figure(figsize=(width + 4.2, 4.2), layout="constrained")
    left, right = canvas.subplots(1, 2, width_ratios=[width, 4.2])
    _arcs(left, weights)
    _heat_map(right, weights)
    canvas.suptitle(title or f"{topology}   {topology.digest}", fontsize=10)
    return canvas


def picture(topology: Topology, matrix: Array | None = None, *, kind: str = "png", title: str | None = None) -> bytes:
    """:func:`figure` as the bytes of a PNG or SVG file (``kind``)."""
    buffer = io.BytesIO()
    # A fixed salt and no date make the SVG of one topology the same file every time.
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "wireloom"}):
        figure(topology, matrix, title).savefig(buffer, format=kind, dpi=110, metadata=metadata)
    return buffer.getvalue()


def thumbnail(topology: Topology) -> bytes:
    """The arcs alone as a small PNG, several times faster than :func:`picture`: one a trial adds up."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(min(4 + 0.2 * topology.depth, 12), 3))
    axes = canvas.add_axes((0, 0, 1, 0.9))
    _arcs(axes, topology.matrix())
    canvas.suptitle(f"{topology}   {topology.digest}", fontsize=8)
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", dpi=80, metadata={"Software": None})
    return buffer.getvalue()


def save(topology: Topology, path: str | Path, matrix: Array | None = None) -> Path:
    """Write the picture; the suffix ``.png`` or ``.svg`` says which kind."""
    target = Path(path)
    kind = target.suffix.lower().lstrip(".")
    if kind not in ("png", "svg"):
        raise UserError(f"{target}: a picture is a .png or an .svg file")
    data = picture(topology, matrix, kind=kind)
    try:
        target.write_bytes(data)
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error.strerror}") from error
    return target


def text(topology: Topology, limit: int = 24) -> str:
    """The connection matrix for a terminal: one row per reader, darker marks for larger weights."""
    weights = topology.matrix()
    if len(weights) > limit:
        return f"(the connection matrix has {len(weights)} rows; --png FILE draws it)"
    top = np.abs(weights).max() or 1.0
    lines = ["          " + "".join(f"{_node(j, len(weights)):>4}" for j in range(len(weights)))]
    for r, row in enumerate(weights):
        cells = "".join(f"{_mark(value, top):>4}" for value in row)
        lines.append(f"{_reader(r, len(weights)):>9} {cells}")
    return "\n".join(lines)


def _mark(value: float, top: float) -> str:
    if value == 0:
        return "·"
    shade = "░▒▓█"[min(int(abs(value) / top * 4), 3)]
    return f"-{shade}" if value < 0 else shade


def _node(index: int, size: int) -> str:
    return "x0" if index == 0 else str(index)


def _reader(row: int, size: int) -> str:
    return "output" if row == size - 1 else f"block {row + 1}"


def _arcs(axes: "Axes", weights: Array) -> None:
    """Node 0 is the stem, 1..L the blocks, L + 1 the output.

    An arc's width is its weight relative to the largest of its reader: readers normalise what they read.
    """
    from matplotlib.patches import Arc

    last = len(weights)
    highest = 0.5
    for reader in range(1, last + 1):
        top = np.abs(weights[reader - 1]).max() or 1.0
        for source in range(reader):
            weight = weights[reader - 1, source]
            if weight == 0:
                continue
            line = 0.4 + 2.2 * abs(weight) / top
            colour = POSITIVE if weight > 0 else NEGATIVE
            if reader - source == 1:
                axes.plot([source, reader], [0, 0], color=CHAIN, lw=line, zorder=1)
                continue
            span = reader - source
            alpha = 0.35 + 0.6 * abs(weight) / top if last <= 16 else 0.15 + 0.75 * abs(weight) / top
            arc = Arc(((source + reader) / 2, 0), span, span, theta1=0, theta2=180, color=colour, lw=line, alpha=alpha)
            axes.add_patch(arc)
            highest = max(highest, span / 2)
    size = 180 if last <= 16 else 60
    nodes = np.arange(last + 1)
    faces = ["#e9eef5"] + ["#ffffff"] * (last - 1) + ["#e9eef5"]
    axes.scatter(nodes, np.zeros(last + 1), s=size, c=faces, edgecolors="#30343a", zorder=3)
    step = 1 if last <= 16 else 4
    for node in range(last + 1):
        label = "x0" if node == 0 else "out" if node == last else str(node)
        if node in (0, last) or node % step == 0:
            below = last > 16
            y = -0.06 * highest - 0.35 if below else 0
            axes.text(node, y, label, ha="center", va="center", fontsize=7, zorder=4)
    axes.set_xlim(-0.8, last + 0.8)
    axes.set_ylim(-0.12 * highest - 0.6, highest * 1.08)
    axes.set_aspect("equal" if last <= 16 else "auto")
    axes.axis("off")


def _heat_map(axes: "Axes", weights: Array) -> None:
    size = len(weights)
    top = np.abs(weights).max() or 1.0
    shown = np.where(np.tri(size, dtype=bool), weights, np.nan)
    image = axes.imshow(shown, cmap="RdBu", vmin=-top, vmax=top, interpolation="nearest")
    step = 1 if size <= 17 else max(size // 8, 1)
    ticks = list(range(0, size, step))
    axes.set_xticks(ticks, [_node(j, size) for j in ticks], fontsize=7)
    axes.set_yticks(ticks, ["out" if r == size - 1 else str(r + 1) for r in ticks], fontsize=7)
    axes.set_xlabel("output of", fontsize=8)
    axes.set_ylabel("read by", fontsize=8)
    axes.figure.colorbar(image, ax=axes, shrink=0.8).ax.tick_params(labelsize=7)
