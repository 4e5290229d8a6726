"""The connection matrix as a heat map, every row relative to its largest entry."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from graphs.draw.arcs import INK, NEGATIVE, PER_TOKEN, POSITIVE, SOFT, UNKNOWN, tint
from graphs.draw.connections import Array, Connections
from graphs.draw.labels import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

NOTHING = "#eeeff1"  # a cell that could hold an edge and holds none
VALUES_UP_TO = 13  # rows of a matrix whose cells are large enough for numbers


def draw(axes: "Axes", shown: Connections, *, side: float, title: str = "") -> None:
    """The heat map on square axes of ``side`` inches; rows of readers without the port stay blank."""
    size = len(shown.weights)
    cell = 72 * side / size  # points
    possible = np.tri(size, dtype=bool) & shown.rows[:, None]
    known = possible & ~shown.unknown
    background = np.full((size, size, 3), 1.0)
    background[possible] = tint(NOTHING, 1)
    background[possible & shown.unknown] = tint(UNKNOWN, PER_TOKEN)
    axes.imshow(background, interpolation="nearest", gid="cells")
    shares = np.ma.masked_where(~known | (shown.weights == 0), shown.shares)
    axes.imshow(shares, cmap=colours(), vmin=-1, vmax=1, interpolation="nearest", gid="weights")
    if cell > 12:
        between = np.arange(size - 1) + 0.5
        axes.vlines(between, between, size - 0.5, colors="white", linewidths=0.8)
        axes.hlines(between, -0.5, between + 1, colors="white", linewidths=0.8)
    rows, columns = np.nonzero(shown.latent & possible)
    if len(rows):
        dot = min(max(0.22 * cell, 0.9), 3.5)
        axes.scatter(columns, rows, s=dot**2, c=SOFT, linewidths=0, gid="latent")
    if _numbered(size, side):
        _values(axes, shown, known, cell)
    elif _bounded(shown, side):
        _largest(axes, shown, cell)
    ticks = list(range(0, size, every(cell)))
    axes.set_xticks(ticks, ["x0" if j == 0 else str(j) for j in ticks], fontsize=7)
    ticks = reader_ticks(size, cell)
    axes.set_yticks(ticks, [_reader(r, size) for r in ticks], fontsize=7)
    axes.tick_params(length=2, pad=2, width=0.6)
    axes.set_xlabel("output of", fontsize=8, labelpad=2)
    axes.set_ylabel("read by", fontsize=8, labelpad=2)
    axes.set_title(title, fontsize=9, loc="left", parse_math=False)
    axes.spines[:].set_visible(False)


def _numbered(size: int, side: float) -> bool:
    return size <= VALUES_UP_TO and 72 * side / size > 20


def _bounded(shown: Connections, side: float) -> bool:
    return shown.uneven and not _numbered(len(shown.weights), side)


def colours() -> "Colormap":
    """From -1 to 1; the smallest weight of either sign is set apart from no weight."""
    from matplotlib.colors import LinearSegmentedColormap

    parts = [
        (0.0, tint(NEGATIVE, 1)),
        (0.5, tint(NEGATIVE, -0.2)),
        (0.5, tint(POSITIVE, -0.2)),
        (1.0, tint(POSITIVE, 1)),
    ]
    return LinearSegmentedColormap.from_list("wireloom", parts, N=512)


def bar(axes: "Axes", shown: Sequence[Connections], side: float) -> None:
    """The colour bar, lying; the half for negative weights only where there are some."""
    negative = any((one.shares < 0).any() for one in shown)
    bounds = " (≤)" if any(_bounded(one, side) for one in shown) else ""
    scale = np.linspace(-1 if negative else 0, 1, 256)[None]
    axes.imshow(scale, cmap=colours(), vmin=-1, vmax=1, extent=(scale[0, 0], 1, 0, 1), aspect="auto")
    axes.set_yticks([])
    axes.set_xticks([-1, 0, 1] if negative else [0, 0.5, 1])
    axes.tick_params(labelsize=6.5, length=2, pad=1.5, width=0.6)
    axes.set_title(f"weight / largest of its row{bounds}", fontsize=7, loc="right", pad=2.5)
    axes.spines[:].set_visible(False)


def every(cell: float) -> int:
    """Label every so many rows, that labels of 7 points keep apart."""
    return next(k for k in (1, 2, 4, 5, 8, 10, 20, 50, 100, 1000) if k * cell >= 15)


def reader_ticks(size: int, cell: float) -> list[int]:
    """Rows to label: blocks of round numbers, the first, and the output."""
    step = every(cell)
    inner = [r for r in range(size - 1) if (r + 1) % step == 0]
    apart = [r for r in inner if (r == 0 or r * cell >= 10) and (size - 1 - r) * cell >= 10]
    return sorted({0, *apart, size - 1})


def _reader(row: int, size: int) -> str:
    return "out" if row == size - 1 else str(row + 1)


def _values(axes: "Axes", shown: Connections, known: Array, cell: float) -> None:
    for r, j in zip(*np.nonzero(known & (shown.weights != 0)), strict=True):
        label = number(float(shown.weights[r, j]))
        axes.text(
            j,
            r,
            label,
            ha="center",
            va="center_baseline",
            fontsize=min(8, 1.45 * cell / max(len(label), 2)),
            color="white" if abs(shown.shares[r, j]) > 0.6 else INK,
        )


def _largest(axes: "Axes", shown: Connections, cell: float) -> None:
    """At the end of a row, the weight that a full-strength cell stands for, where it is another than above."""
    before = ""
    for r in reader_ticks(len(shown.weights), cell):
        label = f"≤ {number(float(shown.largest[r]))}"
        if shown.largest[r] and label != before:
            before = label
            axes.text(r + 0.5 + 3 / cell, r, label, ha="left", va="center_baseline", fontsize=6.5, color=INK)
