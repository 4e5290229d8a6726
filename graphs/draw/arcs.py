"""Blocks on a line, what each reads as arcs from the left."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from graphs.draw.connections import Array, Connections, needed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart by every kind of colour vision.
POSITIVE, NEGATIVE, UNKNOWN = "#0072B2", "#D55E00", "#009E73"
LATENT, INK, SOFT = "#c3c8d0", "#30343a", "#6a6f78"
UNKNOWN_SHARE = 0.6  # the width of an edge that has no single weight
THINNEST = 0.3  # points
PER_TOKEN = 0.45  # and how strong its colour is in the heat map


@dataclass(frozen=True, eq=False)
class Edges:
    """The edges of all ports together; entry (r, j) of an array is what reader r + 1 has of source j."""

    shown: tuple[Connections, ...]

    @cached_property
    def share(self) -> Array:
        """Signed, relative to the reader's largest; of several ports the one that reads most."""
        shares = np.nan_to_num(np.stack([one.shares for one in self.shown]))
        most = np.abs(shares).argmax(axis=0)
        return np.asarray(np.take_along_axis(shares, most[None], axis=0)[0])

    @cached_property
    def unknown(self) -> Array:
        return np.asarray(np.any([one.unknown for one in self.shown], axis=0))

    @cached_property
    def learned(self) -> Array:
        return np.asarray(np.any([one.learned for one in self.shown], axis=0))

    @cached_property
    def varies(self) -> Array:
        return np.asarray(np.any([one.varies for one in self.shown], axis=0))

    @cached_property
    def latent(self) -> Array:
        """Zero in every port now, learned in some."""
        return np.asarray(self.learned & (self.share == 0) & ~self.unknown)

    @cached_property
    def all(self) -> Array:
        return np.asarray((self.share != 0) | self.unknown | self.latent)

    @property
    def longest(self) -> int:
        """The span of the longest arc; 0 where every block reads the one before and nothing else."""
        reader, source = np.nonzero(self.all)
        spans = reader + 1 - source
        return int(spans[spans > 1].max(initial=0))

    def count(self) -> str:
        """One line: how many edges there are, and how many of them training can change; blocks that do nothing."""
        kinds = {
            "fixed": self.all & ~self.learned & ~self.varies,
            "learned": self.all & self.learned & ~self.varies,
            "per token or random": self.all & self.varies,
        }
        parts = [f"{int(kind.sum()):,} {name}" for name, kind in kinds.items() if kind.any()]
        total, latent = int(self.all.sum()), int(self.latent.sum())
        idle = int((~needed(self.shown)[1:]).sum())
        notes = [f"{total:,} connection{'s' if total != 1 else ''}: {', '.join(parts) or 'none'}"]
        notes += [f"{latent:,} zero now"] if latent else []
        notes += [f"{idle} block{'s' if idle > 1 else ''} not on a way to the output"] if idle else []
        return "; ".join(notes)


def height(span: float) -> float:
    """Of an arc over ``span`` blocks, in a unit of its own: short arcs stay visible beside long ones."""
    return float(span**0.8)


def draw(axes: "Axes", edges: Edges, *, step: float, unit: float) -> None:
    """Node 0 is the stem, 1..L the blocks, L + 1 the output.

    A block is ``step`` inches from the next; an arc over ``span`` blocks is ``unit * height(span)`` inches high, and
    y runs in inches. Widths are relative to the largest weight of the reader, which normalises what it reads, and
    thinner where there are many arcs; weak ones are paler and lie below strong ones.
    """
    reader, source = np.nonzero(edges.all)
    share, unknown = edges.share[reader, source], edges.unknown[reader, source]
    latent, varies = edges.latent[reader, source], edges.varies[reader, source]
    share = np.where(unknown, UNKNOWN_SHARE, share)
    widest = full_width(edges)
    for kind, chosen in (
        ("latent", latent),
        ("unknown", unknown),
        ("varying", varies & ~unknown & ~latent),
        ("known", ~varies & ~latent),
    ):
        order = [k for k in np.argsort(np.abs(share), kind="stable") if chosen[k]]
        if order:
            ends = [(int(source[k]), int(reader[k]) + 1) for k in order]
            _add(axes, kind, ends, share[order], widest, unit)
    _nodes(axes, len(edges.share), needed(edges.shown), step)


def full_width(edges: Edges) -> float:
    """The width in points of a reader's strongest edge."""
    weight = float(np.square(edges.share).sum() + UNKNOWN_SHARE**2 * edges.unknown.sum())
    return float(np.clip(14 / max(weight, 1) ** 0.5, 0.35, 2.6))


def _add(axes: "Axes", kind: str, ends: list[tuple[int, int]], share: Array, widest: float, unit: float) -> None:
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path

    paths = [Path(*_curve(i, j, unit)) for i, j in ends]
    look: dict[str, Any] = {
        "linestyles": "dashed" if kind in ("unknown", "varying") else "solid",
        "linewidths": np.maximum(np.abs(share) * widest, THINNEST),
        "edgecolors": [tint(POSITIVE if value > 0 else NEGATIVE, abs(value)) for value in share],
        "zorder": 3,
    }
    if kind == "latent":
        look |= {"edgecolors": LATENT, "linewidths": 0.4, "zorder": 1}
    elif kind == "unknown":
        look |= {"edgecolors": UNKNOWN, "zorder": 2}
    # Without a transform of their own, paths are in data coordinates.
    axes.add_collection(PathCollection(paths, facecolors="none", gid=f"edges-{kind}", **look), autolim=False)


def _curve(start: int, end: int, unit: float) -> tuple[list[tuple[float, float]], list[int]]:
    """Half an ellipse as two cubic curves; a straight line to the next block."""
    if end - start == 1:
        return [(start, 0), (end, 0)], [1, 2]
    top, middle, half = unit * height(end - start), (start + end) / 2, (end - start) / 2
    k = 0.5522847498  # a quarter circle as a cubic curve
    points = [(start, 0), (start, k * top), (middle - k * half, top), (middle, top)]
    points += [(middle + k * half, top), (end, k * top), (end, 0)]
    return points, [1, 4, 4, 4, 4, 4, 4]


def tint(colour: str, strength: float) -> tuple[float, ...]:
    """The colour mixed with white: opaque, so that what lies below a strong edge does not show through."""
    from matplotlib.colors import to_rgb

    amount = 0.25 + 0.75 * strength
    return tuple(1 - amount * (1 - part) for part in to_rgb(colour))


def _nodes(axes: "Axes", last: int, alive: Array, step: float) -> None:
    size = float(np.clip(0.62 * 72 * step, 3, 17))
    blocks = range(1, last)
    edge = [INK if alive[n] else LATENT for n in blocks]
    axes.scatter(
        blocks, [0] * len(blocks), s=size**2, c="white", edgecolors=edge, linewidths=0.9, zorder=4, clip_on=False
    )
    axes.scatter([0, last], [0, 0], s=size**2, c=INK, marker="s", linewidths=0, zorder=4, clip_on=False)
    inside = size >= 10
    every = 1 if inside else next(k for k in (2, 4, 5, 8, 10, 20, 50, 100, 1000) if k * step * 72 > 16)
    for n in blocks:
        if n % every == 0:
            axes.annotate(
                str(n),
                (n, 0),
                (0, 0 if inside else -size / 2 - 6),
                textcoords="offset points",
                ha="center",
                va="center_baseline" if inside else "center",
                fontsize=min(8, 0.52 * size) if inside else 6.5,
                color=INK if alive[n] else SOFT,
                zorder=5,
            )
    for n, name, side in ((0, "x0", "right"), (last, "out", "left")):
        shift = (size / 2 + 3) * (-1 if side == "right" else 1)
        axes.annotate(name, (n, 0), (shift, 0), textcoords="offset points", ha=side, va="center", fontsize=8, zorder=5)


def legend(edges: Edges) -> list[tuple[str, dict[str, Any]]]:
    """A label and the look of a line for each kind of edge there is."""
    widest, share = full_width(edges), edges.share
    entries: list[tuple[str, dict[str, Any]]] = []
    strengths = {1.0: "a reader's largest weight"}
    if ((share != 0) & (np.abs(share) < 0.95)).any():
        strengths |= {0.5: "half of it", 0.1: "a tenth"}
    for value, name in strengths.items() if (share != 0).any() else ():
        colour = POSITIVE if (share > 0).any() else NEGATIVE
        entries.append((name, {"color": tint(colour, value), "lw": max(value * widest, THINNEST)}))
    if (share < 0).any():
        entries.append(("negative", {"color": NEGATIVE, "lw": widest}))
    if (edges.varies & (share != 0)).any():
        colour = POSITIVE if (share[edges.varies] > 0).any() else NEGATIVE
        entries.append(("per token or random", {"color": colour, "lw": widest, "linestyle": "dashed"}))
    if edges.unknown.any():
        look = {"color": UNKNOWN, "lw": UNKNOWN_SHARE * widest, "linestyle": "dashed"}
        look |= {"marker": "s", "ms": 6, "mfc": tint(UNKNOWN, PER_TOKEN), "mew": 0}
        entries.append(("per token, of no fixed weight", look))
    if edges.latent.any():
        look = {"color": LATENT, "lw": 0.8, "marker": "o", "ms": 2.5, "mfc": SOFT, "mec": SOFT}
        entries.append(("zero now, can be learned", look))
    return entries
