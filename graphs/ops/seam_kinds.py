"""Which seams the kernels know: the rules of dynamic hyper-connections and of mHC, read entry by entry. No torch."""

from dataclasses import dataclass, replace
from typing import Literal

from graphs.ops.seams import Link, Seam
from graphs.plan import Plan
from graphs.weights import (
    SCALAR,
    Constant,
    Generated,
    Parameter,
    Place,
    Sigmoid,
    Sinkhorn,
    Sum,
    Tanh,
    Times,
    Weight,
)

MAX_STREAMS = 8  # a token's weights are held in registers
At = tuple[str, int]  # a parameter's name and one of its learned numbers


@dataclass(frozen=True, slots=True)
class Entry:
    """``bend(fixed + learned + gain * seen)``, or, bent inside, ``fixed + learned + gain * tanh(seen)``.

    ``seen`` is a generated rule with row and column. ``bend`` is the outer function: nothing, the scale of a sigmoid,
    or the iterations of a Sinkhorn with the entry's row and column in it.
    """

    fixed: float = 0.0
    learned: At | None = None
    gain: At | None = None
    seen: tuple[Generated, int, int] | None = None
    tanh: bool = False
    bend: tuple[()] | tuple[float] | tuple[int, int, int] = ()

    @property
    def zero(self) -> bool:
        return self == Entry()

    @property
    def bare(self) -> bool:
        """Nothing but what is seen."""
        return self.seen is not None and self == Entry(seen=self.seen)


Grid = list[list[Entry]]


class Unknown(Exception):
    """A rule that the kernels do not know; it never leaves this file."""


@dataclass(frozen=True, slots=True)
class Slot:
    """What one slot of the kernels holds: the map's parameter and row, and the numbers around it."""

    map: At
    fixed: float
    learned: At | None
    gain: At | None


@dataclass(frozen=True, slots=True)
class Recognised:
    """``slots[i][j]``: row i (the n + 1 of the width mix, then the later mix's first column), source j.

    ``norm`` is the parameter with the gain of the block input's RMS norm, if it has one.
    """

    name: Literal["mhc", "tanh", "linear"]
    streams: int
    layer: bool
    iterations: int
    slots: tuple[tuple[Slot, ...], ...]
    later: tuple[tuple[float, ...], ...]
    norm: str | None = None


def recognised(plan: Plan, seam: Seam, link: Link) -> Recognised | None:
    """The seam as the kernels take it, or None: a block's output and n streams in, its input and n streams out."""
    n = len(seam.state)
    norm = None if seam.norm is None else plan.mixes[seam.norm].norm
    if norm is not None and norm.kind != "rms":
        return None
    if seam.depth is None or seam.width is None or seam.kept or len(seam.later) != 1 or not 1 <= n <= MAX_STREAMS:
        return None
    width, later = plan.mixes[seam.width], plan.mixes[seam.later[0]]
    straight = tuple(range(n))
    shapes = seam.sources == straight and link.carried == tuple(range(1, n + 1)) and len(seam.reads) == n + 1
    shapes = shapes and width.norm is None and width.weight.shape == (n + 1, n) and later.weight.shape == (n, n + 1)
    if not shapes:
        return None
    try:
        rows = _entries(width.weight)
        after = _entries(later.weight)
        fixed = tuple(tuple(0.0 if j == 0 else _number(entry) for j, entry in enumerate(row)) for row in after)
        rows.append([row[0] for row in after])
        found = _sorted(rows, fixed, seam.keys)
        return found if norm is None else replace(found, norm=f"{norm.name}_gain")
    except Unknown:
        return None


def _sorted(rows: Grid, later: tuple[tuple[float, ...], ...], keys: tuple[tuple[int, ...], ...]) -> Recognised:
    """The entries as slots, if they are all of one kind."""
    n = len(later)
    whole = rows[1][0].bend != ()
    norms, tanhs, iterations = set(), set(), set()
    slots = []
    for i, row in enumerate(rows):
        line = []
        for j, entry in enumerate(row):
            if entry.seen is None:
                raise Unknown
            rule, a, b = entry.seen
            places = tuple(keys[i == n + 1][key] for key in rule.keys)
            norms.add(rule.norm)
            tanhs.add(entry.tanh)
            if rule.each:
                if whole or entry.bend or places[b] != j:
                    raise Unknown
                which = a
            else:
                if not whole or places != tuple(range(n)):
                    raise Unknown
                which = a * rule.outputs[1] + b
                if 1 <= i <= n:
                    if len(entry.bend) != 3 or entry.bend[1:] != (i - 1, j):
                        raise Unknown
                    iterations.add(entry.bend[0])
                elif entry.bend != ((1.0,) if i == 0 else (2.0,)):
                    raise Unknown
            line.append(Slot((f"{rule.name}_map", which), entry.fixed, entry.learned, entry.gain))
        if not whole and len({slot.map for slot in line}) > 1:
            raise Unknown  # all streams of a row are read by one map
        slots.append(tuple(line))
    if len(norms) > 1 or len(tanhs) > 1 or len(iterations) > 1 or norms == {"none"} or (whole and norms != {"rms"}):
        raise Unknown
    if whole and tanhs != {False}:
        raise Unknown
    name: Literal["mhc", "tanh", "linear"] = "mhc" if whole else "tanh" if tanhs == {True} else "linear"
    times = int(iterations.pop()) if iterations else 0
    return Recognised(name, n, norms == {"layer"}, times, tuple(slots), later)


def _number(entry: Entry) -> float:
    if entry != Entry(entry.fixed):
        raise Unknown
    return entry.fixed


def _entries(rule: Weight) -> Grid:
    """A rule entry by entry; :class:`Unknown` where an entry is none of ours."""
    m, k = rule.shape
    if rule.grain != SCALAR:
        raise Unknown
    match rule:
        case Constant(entries=rows):
            return [[Entry(float(entry)) for entry in row] for row in rows]
        case Parameter(name=name, initial=initial):
            places = [(i, j) for i in range(m) for j in range(k) if rule.trains(i, j)]
            grid = [[Entry(float(entry)) for entry in row] for row in initial]
            for place, (i, j) in enumerate(places):
                grid[i][j] = Entry(learned=(name, place))
            return grid
        case Generated(hidden=0, gain=False):
            return [[Entry(seen=(rule, i, j)) for j in range(k)] for i in range(m)]
        case Place(of=of, cells=cells):
            inner = _entries(of)
            grid = [[Entry()] * k for _ in range(m)]
            for i, j, a, b in cells:
                grid[i][j] = inner[a][b]
            return grid
        case Sum(terms=terms):
            grid = [[Entry()] * k for _ in range(m)]
            for term in terms:
                inner = _entries(term)
                grid = [
                    [_add(one, two) for one, two in zip(*both, strict=True)] for both in zip(grid, inner, strict=True)
                ]
            return grid
        case Times(left=Parameter() as left, right=right) if left.shape == (1, 1):
            return [[_scaled(entry, _entries(left)[0][0]) for entry in row] for row in _entries(right)]
        case Tanh(of=of):
            return [[_bent(entry, tanh=True) for entry in row] for row in _entries(of)]
        case Sigmoid(of=of, scale=scale):
            return [[_bent(entry, bend=(float(scale),)) for entry in row] for row in _entries(of)]
        case Sinkhorn(of=of, iterations=times):
            inner = _entries(of)
            return [[_bent(entry, bend=(times, i, j)) for j, entry in enumerate(row)] for i, row in enumerate(inner)]
    raise Unknown


def _add(one: Entry, two: Entry) -> Entry:
    if one.zero or two.zero:
        return two if one.zero else one
    twice = any(getattr(one, part) and getattr(two, part) for part in ("learned", "seen"))
    if twice or one.bend or two.bend:
        raise Unknown
    return Entry(
        one.fixed + two.fixed,
        one.learned or two.learned,
        one.gain or two.gain,
        one.seen or two.seen,
        one.tanh or two.tanh,
    )


def _scaled(entry: Entry, by: Entry) -> Entry:
    if entry.zero:
        return entry
    if by.learned is None or not (entry.bare or entry == Entry(seen=entry.seen, tanh=True)):
        raise Unknown
    return replace(entry, gain=by.learned)


def _bent(entry: Entry, tanh: bool = False, bend: tuple[float] | tuple[int, int, int] | None = None) -> Entry:
    if tanh:
        if not entry.bare:
            raise Unknown
        return replace(entry, tanh=True)
    if entry.bend or entry.tanh or bend is None:
        raise Unknown
    return replace(entry, bend=bend)
