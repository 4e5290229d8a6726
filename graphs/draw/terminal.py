"""The connection matrix for a terminal, in at most 80 columns."""

from textwrap import wrap

import numpy as np

from graphs.draw.connections import Connections, connections
from graphs.draw.labels import number, printable
from graphs.topology import Topology

SHADES = "░▒▓█"
NEGATIVE = "-~=#"  # the same four strengths of a negative weight where a cell is one character wide
NOTHING, LATENT, UNKNOWN = "·", "∘", "?"


def text(topology: Topology, limit: int = 24, columns: int = 80) -> str:
    """The connection matrix: one row per reader, darker marks for weights nearer to the largest of their row.

    Up to ``limit`` rows every source is named, as far as ``columns`` allow. Beyond it a weight is one character, and
    where that is too wide a character stands for the strongest weight of a square of neighbours.
    """
    shown = connections(topology)
    indent = max(9, len(f"block {topology.depth}")) + 1
    parts = []
    for one in shown:
        room = max(columns - indent - _margin(one), 10)
        fitting = [cell for cell in (4, 3) if cell * len(one.weights) <= room]
        named = bool(fitting) and len(one.weights) <= limit
        step = -(-len(one.weights) // room)
        head, rows = _named(one, fitting[0]) if named else _packed(one, step)
        lines = [f"port {printable(one.port)}"] if len(shown) > 1 else []
        lines += [f"{'':{indent}}{head}", *(f"{name:>{indent - 1}} {marks}" for name, marks in rows)]
        lines += [f"{'':{indent}}{line}" for line in wrap(_key(one, named, step), max(columns - indent, 10))]
        parts.append("\n".join(line.rstrip() for line in lines))
    return "\n\n".join(parts)


def _named(shown: Connections, cell: int) -> tuple[str, list[tuple[str, str]]]:
    """A named column per source, ``cell`` characters wide: their names, and a name and marks per reader."""
    size = len(shown.weights)
    rows = []
    for r in range(size):
        marks = (("-" if shown.weights[r, j] < 0 else "") + _mark(shown, r, j) for j in range(size))
        rows.append((_reader(r + 1, size), "".join(f"{mark:>{cell}}" for mark in marks) + _largest(shown, r)))
    return "".join(f"{_source(j):>{cell}}" for j in range(size)), rows


def _packed(shown: Connections, step: int) -> tuple[str, list[tuple[str, str]]]:
    """A character per weight or, with a ``step`` above 1, per square of weights."""
    size = len(shown.weights)
    parts = [range(start, min(start + step, size)) for start in range(0, size, step)]
    ruler = "".join(f"{_source(part[0]):<5}" for part in parts[::5])
    rows = []
    for readers in parts:
        # Nothing reads what comes after it, so that corner is left blank.
        marks = [_strongest(shown, readers, sources) for sources in parts if sources[0] <= readers[-1]]
        largest = max(readers, key=lambda r: float(shown.largest[r]))
        rows.append((_reader(readers[-1] + 1, size), f"{''.join(marks):<{len(parts)}}{_largest(shown, largest)}"))
    return ruler, rows


def _strongest(shown: Connections, readers: range, sources: range) -> str:
    """One character for a square: its largest share, else a weight without a number, else one to be learned."""
    r, j = max(((r, j) for r in readers for j in sources), key=lambda cell: _strength(shown, *cell))
    mark = _mark(shown, r, j)
    return NEGATIVE[SHADES.index(mark)] if shown.weights[r, j] < 0 else mark


def _strength(shown: Connections, r: int, j: int) -> tuple[float, bool, bool]:
    share = abs(float(np.nan_to_num(shown.shares[r, j])))
    return share, bool(shown.unknown[r, j]), bool(shown.latent[r, j])


def _reader(number: int, size: int) -> str:
    return "output" if number == size else f"block {number}"


def _source(column: int) -> str:
    return str(column) if column else "x0"


def _mark(shown: Connections, r: int, j: int) -> str:
    if not shown.rows[r]:
        return " "
    if shown.unknown[r, j]:
        return UNKNOWN
    share = abs(float(shown.shares[r, j]))
    if share == 0:
        return LATENT if shown.latent[r, j] else NOTHING
    return SHADES[min(int(share * 4), 3)]


def _largest(shown: Connections, r: int) -> str:
    """What the darkest mark of the row stands for, where it is not the same in all rows."""
    return f"  ≤ {number(float(shown.largest[r]))}" if _margin(shown) and shown.largest[r] else ""


def _margin(shown: Connections) -> int:
    return 4 + max(len(number(float(one))) for one in shown.largest) if shown.uneven else 0


def _key(shown: Connections, named: bool, step: int) -> str:
    """What the marks mean; nothing where plain shades are all there is and every source is named."""
    there = shown.rows[:, None] & np.tri(len(shown.rows), dtype=bool)
    words = []
    if not named:
        words.append(f"{SHADES} of the row's largest weight")
        words += [f"{NEGATIVE} negative"] if (shown.weights < 0).any() else []
    elif shown.uneven:
        words.append("≤ the row's largest weight")
    words += [f"{UNKNOWN} per token, of no fixed weight"] if (shown.unknown & there).any() else []
    words += [f"{LATENT} zero now, can be learned"] if (shown.latent & there).any() else []
    if step > 1 and not named:
        words.append(f"each mark the strongest of {step} x {step} weights, each row named by its last block")
    return ", ".join(words)
