"""The sheet: arcs above, heat maps and the plan below, sizes in inches that follow from what is shown."""

import io
import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphs.draw import arcs, heat
from graphs.draw.connections import Array, connections
from graphs.draw.labels import printable, shorten
from graphs.draw.listing import hard_spaces, listing
from graphs.errors import UserError
from graphs.plan import lower
from graphs.topology import Topology

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Matrices = Array | Mapping[str, Array]
Place = tuple[float, float, float, float]  # left, top, width, height in inches from the sheet's top left corner

MARGIN, HEAD, LEGEND = 0.25, 0.62, 0.38
LEFT, RIGHT, ABOVE, BELOW = 0.5, 0.45, 0.3, 0.42  # what labels take around a heat map
_STYLE = threading.RLock()  # matplotlib's settings are the whole process's, and a search draws in two threads
LINE, COLUMN = 9.2 / 72, 0.63 * 7 / 72  # a line and a character of the plan, 7 points DejaVu Sans Mono


def figure(
    topology: Topology, matrix: Matrices | None = None, title: str | None = None, *, plan: bool = True
) -> "Figure":
    """Arcs, the connection matrix as a heat map (one per port) and, unless ``plan`` is false, the plan.

    ``matrix`` (depth + 1, depth + 1), for the first port or a mapping by port, replaces the initial weights.
    """
    shown = connections(topology, matrix)
    edges = arcs.Edges(shown)
    lines = listing(lower(topology)) if plan else []
    sheet = _Sheet(edges, lines)
    canvas = sheet.canvas
    room = int((sheet.width - 2 * MARGIN) / 0.083)
    name = shorten(title or _name(topology), room)
    left, top = MARGIN / sheet.width, 1 - 0.3 / sheet.height
    canvas.suptitle(name, x=left, y=top, ha="left", va="baseline", fontsize=10.5, parse_math=False)
    _write(canvas, sheet, 0.52, edges.count(), fontsize=8, color=arcs.SOFT)
    arcs_axes = sheet.axes(sheet.arcs)
    _arcs(arcs_axes, edges, sheet.arcs)
    _legend(arcs_axes, sheet.legend, sheet.legend_columns)
    for one, place in zip(shown, sheet.maps, strict=True):
        name = f"port {printable(one.port)}" if len(shown) > 1 else ""
        heat.draw(sheet.axes(place), one, side=place[2], title=name)
    heat.bar(sheet.axes(sheet.bar), shown, sheet.maps[-1][2])
    for i, line in enumerate(lines):
        left, top = sheet.plan[0], sheet.plan[1] + (i + 1) * LINE
        _write(canvas, sheet, top, hard_spaces(line), left, fontsize=7, family="monospace", gid=f"plan-{i}")
    return canvas


def _name(topology: Topology) -> str:
    return f"{printable(str(topology))}   {topology.digest}"


class _Sheet:
    """Where everything goes. One heat map stands left of the plan, several stand above it."""

    def __init__(self, edges: arcs.Edges, lines: list[str]) -> None:
        from matplotlib.figure import Figure

        size = len(edges.share)
        side = float(np.clip(0.42 * size, 2.1, 5.0 if len(edges.shown) == 1 else 3.4))
        side = max(side, 1.5 * size / (size - 1))  # the colour bar beside the first row
        maps = len(edges.shown) * (LEFT + side + RIGHT)
        listed = max(map(len, lines), default=0) * COLUMN
        beside = len(edges.shown) == 1
        lower = maps + listed + 0.2 if beside and lines else max(maps, listed)
        self.width = 2 * MARGIN + max(lower, float(np.clip(0.26 * (size + 3), 6.0, 14.0)))
        span = min(self.width - 2 * MARGIN, 1.15 * (size + 2))
        self.arcs: Place = (MARGIN, HEAD, span, arcs_height(edges, span))
        self.legend = arcs.legend(edges)
        wide = sum(0.55 + 0.062 * len(label) for label, _ in self.legend)
        rows = max(1, math.ceil(wide / (self.width - 2 * MARGIN)))
        self.legend_columns = max(1, math.ceil(len(self.legend) / rows))
        top = HEAD + self.arcs[3] + LEGEND + 0.16 * (rows - 1) + ABOVE
        self.maps: list[Place] = [
            (MARGIN + LEFT + i * (LEFT + side + RIGHT), top, side, side) for i in range(len(edges.shown))
        ]
        # The colour bar lies in the last map's empty corner: nothing reads what comes after it.
        last, wide = self.maps[-1][0] + side, min(0.45 * side, 1.6)
        self.bar: Place = (last - wide, top + 0.14, wide, 0.1)
        under = top + side + BELOW
        self.plan = (MARGIN + maps + 0.2, top - 0.1) if beside else (MARGIN, under + 0.05)
        self.height = max(under, self.plan[1] + len(lines) * LINE) + MARGIN * 0.6
        self.canvas: Figure = Figure(figsize=(self.width, self.height), facecolor="white")

    def axes(self, place: Place) -> "Axes":
        left, top, width, height = place
        bottom = self.height - top - height
        return self.canvas.add_axes((left / self.width, bottom / self.height, width / self.width, height / self.height))


def arcs_height(edges: arcs.Edges, width: float) -> float:
    """Of the panel in inches: its longest arc, and room for the blocks."""
    full = float(np.clip(0.24 * width, 1.4, 3.2)) / arcs.height(len(edges.share) + 1)
    return 0.45 + full * arcs.height(edges.longest)


def _arcs(axes: "Axes", edges: arcs.Edges, place: Place) -> None:
    """The arcs in a panel of a known size, so that heights and markers are in inches."""
    _, _, width, height = place
    last = len(edges.share)
    side = 0.46 / width * (last + 1)  # room for the names of both ends
    step = width / (last + 2 * side)
    axes.set_xlim(-side, last + side)
    axes.set_ylim(-0.22, height - 0.22)
    axes.axis("off")
    arcs.draw(axes, edges, step=step, unit=(height - 0.3) / arcs.height(max(edges.longest, 1)))


def _legend(axes: "Axes", entries: list[tuple[str, dict[str, Any]]], columns: int) -> None:
    from matplotlib.lines import Line2D

    if entries:
        axes.legend(
            [Line2D([], [], **look) for _, look in entries],
            [label for label, _ in entries],
            loc="upper left",
            bbox_to_anchor=(0, 0),
            ncols=columns,
            frameon=False,
            fontsize=7.5,
            handlelength=2.2,
            columnspacing=1.6,
            borderaxespad=0,
            borderpad=0.2,
        )


def _write(canvas: "Figure", sheet: _Sheet, top: float, text: str, left: float = MARGIN, **look: Any) -> None:
    canvas.text(left / sheet.width, 1 - top / sheet.height, text, parse_math=False, **look)


def picture(
    topology: Topology,
    matrix: Matrices | None = None,
    *,
    kind: str = "png",
    title: str | None = None,
    plan: bool = True,
) -> bytes:
    """:func:`figure` as the bytes of a PNG or SVG file (``kind``): the same bytes for the same topology."""
    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with _house_style():
        figure(topology, matrix, title, plan=plan).savefig(buffer, format=kind, dpi=130, metadata=metadata)
    return buffer.getvalue()


def thumbnail(topology: Topology) -> bytes:
    """The arcs alone as a small PNG, many times faster than :func:`picture`: one a trial adds up."""
    from matplotlib.figure import Figure

    edges = arcs.Edges(connections(topology))
    width = min(4 + 0.2 * topology.depth, 12.0)
    height = arcs_height(edges, width)
    buffer = io.BytesIO()
    with _house_style():
        canvas = Figure(figsize=(width, height + 0.3))
        place = (0.0, 0.3, width, height)
        _arcs(canvas.add_axes((0, 0, 1, height / (height + 0.3))), edges, place)
        name = shorten(_name(topology), int(width / 0.07))
        canvas.text(0.1 / width, 1 - 0.2 / (height + 0.3), name, fontsize=8, parse_math=False)
        canvas.savefig(buffer, format="png", dpi=80, metadata={"Software": None})
    return buffer.getvalue()


def save(topology: Topology, path: str | Path, matrix: Matrices | None = None) -> Path:
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


@contextmanager
def _house_style() -> Iterator[None]:
    """matplotlib's defaults whatever the user set, text kept as text in an SVG, and a fixed salt for its ids."""
    from matplotlib.style import context

    with _STYLE, context(["default", {"svg.hashsalt": "wireloom", "svg.fonttype": "none"}]):
        yield
