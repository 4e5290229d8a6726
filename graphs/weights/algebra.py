"""Rules that combine rules: sums, products, entry-wise products, and entries moved about."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from graphs.errors import TopologyError
from graphs.weights.leaves import Constant
from graphs.weights.numbers import Flags, Matrix, Number, full, matmul
from graphs.weights.rule import Rule, Values, same_shape

Cell = tuple[int, int, int, int]


@dataclass(frozen=True)
class Sum(Rule):
    """Entry-wise sum of rules of one shape."""

    terms: tuple[Rule, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", tuple(self.terms))
        same_shape("sum", self.terms)

    @functools.cached_property
    def shape(self) -> tuple[int, int]:
        return self.terms[0].shape

    @property
    def children(self) -> tuple[Rule, ...]:
        return self.terms

    def compute(self, parts: tuple[Matrix, ...], values: Values | None) -> Matrix:
        return tuple(tuple(map(sum, zip(*rows, strict=True))) for rows in zip(*parts, strict=True))

    def support(self) -> Flags:
        return tuple(tuple(map(bool, row)) for row in self._tally()[0])

    def units(self) -> Flags:
        """An entry that one term alone can reach, at one."""
        return tuple(
            tuple(count == 1 and one == 1 for count, one in zip(*rows, strict=True))
            for rows in zip(*self._tally(), strict=True)
        )

    def _tally(self) -> tuple[list[list[int]], list[list[int]]]:
        """How many terms can reach each entry, and how many of these are fixed at one or minus one."""
        m, k = self.shape
        reached, ones = ([[0] * k for _ in range(m)] for _ in range(2))
        for term in self.terms:
            if isinstance(term, Place):  # many placements add up to one wide matrix: look at what they touch alone
                on, unit, cells = term.of.support(), term.of.units(), term.cells
            else:
                on, unit = term.support(), term.units()
                cells = tuple((i, j, i, j) for i in range(m) for j in range(k))
            for i, j, a, b in cells:
                if on[a][b]:
                    reached[i][j] += 1
                    ones[i][j] += unit[a][b]
        return reached, ones


@dataclass(frozen=True)
class Product(Rule):
    """Matrix product ``left @ right``: the composition of two mixes."""

    left: Rule
    right: Rule

    def __post_init__(self) -> None:
        if self.left.shape[1] != self.right.shape[0]:
            raise TopologyError(f"a product of weights of shapes {self.left.shape} and {self.right.shape}")

    @functools.cached_property
    def shape(self) -> tuple[int, int]:
        return self.left.shape[0], self.right.shape[1]

    @property
    def children(self) -> tuple[Rule, ...]:
        return self.left, self.right

    def compute(self, parts: tuple[Matrix, ...], values: Values | None) -> Matrix:
        return matmul(*parts)

    def support(self) -> Flags:
        return tuple(tuple(count > 0 for count, _ in row) for row in self._tally())

    def units(self) -> Flags:
        """An entry that is one product alone, of two that are fixed at one or minus one."""
        return tuple(tuple(entry == (1, 1) for entry in row) for row in self._tally())

    def _tally(self) -> list[list[tuple[int, int]]]:
        """How many products can reach each entry, and how many of these are fixed at one or minus one."""
        inner = [
            [(j, one) for j, (on, one) in enumerate(zip(*flags, strict=True)) if on]
            for flags in zip(self.right.support(), self.right.units(), strict=True)
        ]
        rows = []
        for flags in zip(self.left.support(), self.left.units(), strict=True):
            reached, ones = [0] * self.shape[1], [0] * self.shape[1]
            for h, (on, one) in enumerate(zip(*flags, strict=True)):
                if on:
                    for j, other in inner[h]:
                        reached[j] += 1
                        ones[j] += one and other
            rows.append(list(zip(reached, ones, strict=True)))
        return rows


@dataclass(frozen=True)
class Times(Rule):
    """Entry-wise product; a (1, 1) factor multiplies every entry."""

    left: Rule
    right: Rule

    def __post_init__(self) -> None:
        if (1, 1) not in (self.left.shape, self.right.shape):
            same_shape("entry-wise product", self.children)

    @functools.cached_property
    def shape(self) -> tuple[int, int]:
        return self.right.shape if self.left.shape == (1, 1) else self.left.shape

    @property
    def children(self) -> tuple[Rule, ...]:
        return self.left, self.right

    def _spread(self, rows: tuple[tuple[Number, ...], ...]) -> tuple[tuple[Number, ...], ...]:
        m, k = self.shape
        return rows if (len(rows), len(rows[0])) == (m, k) else ((rows[0][0],) * k,) * m

    def compute(self, parts: tuple[Matrix, ...], values: Values | None) -> Matrix:
        a, b = map(self._spread, parts)
        return tuple(tuple(x * y for x, y in zip(*rows, strict=True)) for rows in zip(a, b, strict=True))

    def support(self) -> Flags:
        a, b = self._spread(self.left.support()), self._spread(self.right.support())
        return tuple(tuple(bool(x and y) for x, y in zip(*rows, strict=True)) for rows in zip(a, b, strict=True))


@dataclass(frozen=True)
class Place(Rule):
    """Entries of another rule moved to other places; all other entries are zero.

    ``cells`` holds (i, j, a, b): entry (i, j) here is entry (a, b) of ``of``. Sparse, so that a rule that picks
    one row out of many, or puts a few columns into a wide row, costs what it touches.
    """

    of: Rule
    size: tuple[int, int]
    cells: tuple[Cell, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", tuple(self.size))
        object.__setattr__(self, "cells", tuple(sorted(map(tuple, self.cells))))
        m, k = self.size
        i, j, a, b = zip(*self.cells, strict=True) if self.cells else ((),) * 4
        if m < 1 or k < 1 or len(set(zip(i, j, strict=True))) < len(self.cells):
            raise TopologyError(f"a placement of shape {self.size} with two entries for one place, or none at all")
        for places, length in zip((i, j, a, b), (m, k, *self.of.shape), strict=True):
            if places and not (min(places) >= 0 and max(places) < length):
                raise TopologyError(f"a placement of entries of {self.of.shape} in {self.size}: {self.cells!r:.80}")

    @property
    def shape(self) -> tuple[int, int]:
        return self.size

    @property
    def children(self) -> tuple[Rule, ...]:
        return (self.of,)

    def compute(self, parts: tuple[Matrix, ...], values: Values | None) -> Matrix:
        (m, k), inner = self.size, parts[0]
        rows: list[list[Number]] = [[0] * k for _ in range(m)]
        for i, j, a, b in self.cells:
            rows[i][j] = inner[a][b]
        return tuple(map(tuple, rows))

    def support(self) -> Flags:
        return self._flags(self.of.support())

    def units(self) -> Flags:
        return self._flags(self.of.units())

    def _flags(self, inner: Flags) -> Flags:
        rows = [list(row) for row in full(False, self.size)]
        for i, j, a, b in self.cells:
            rows[i][j] = inner[a][b]
        return tuple(map(tuple, rows))


def moved(weight: Rule, shape: tuple[int, int], cells: Sequence[Cell]) -> Rule:
    """:class:`Place`, worked out where it can be: entries of constants, placements of placements.

    ``cells`` holds (i, j, a, b): entry (i, j) of the result is entry (a, b) of ``weight``.
    """
    if isinstance(weight, Constant):
        rows: list[list[Number]] = [[0] * shape[1] for _ in range(shape[0])]
        for i, j, a, b in cells:
            rows[i][j] = weight.entries[a][b]
        return Constant(tuple(map(tuple, rows)))
    if isinstance(weight, Place):
        inner = {(i, j): (a, b) for i, j, a, b in weight.cells}
        cells = [(i, j, *inner[a, b]) for i, j, a, b in cells if (a, b) in inner]
        if not cells:
            return Constant(((0,) * shape[1],) * shape[0])
        weight = weight.of
    if isinstance(weight, Sum) and any(isinstance(term, Constant | Place) for term in weight.terms):
        return summed([moved(term, shape, cells) for term in weight.terms])  # what is not touched goes
    if shape == weight.shape and len(cells) == shape[0] * shape[1] and all(cell[:2] == cell[2:] for cell in cells):
        return weight
    return Place(weight, shape, tuple(cells))


def pick(weight: Rule, rows: Sequence[int] | None = None, columns: Sequence[int] | None = None) -> Rule:
    """The sub-matrix of these rows and columns, in this order (None: all)."""
    rows = range(weight.shape[0]) if rows is None else rows
    columns = range(weight.shape[1]) if columns is None else columns
    cells = [(i, j, a, b) for i, a in enumerate(rows) for j, b in enumerate(columns)]
    return moved(weight, (len(rows), len(columns)), cells)


def place(
    weight: Rule, shape: tuple[int, int], rows: Sequence[int] | None = None, columns: Sequence[int] | None = None
) -> Rule:
    """A matrix of zeros with ``weight`` at these rows and columns (None: from the first on)."""
    rows = range(weight.shape[0]) if rows is None else rows
    columns = range(weight.shape[1]) if columns is None else columns
    return moved(weight, shape, [(i, j, a, b) for a, i in enumerate(rows) for b, j in enumerate(columns)])


def transpose(weight: Rule) -> Rule:
    """Rows and columns exchanged."""
    m, k = weight.shape
    return moved(weight, (k, m), [(j, i, i, j) for i in range(m) for j in range(k)])


def beside(*weights: Rule) -> Rule:
    """Rules of as many rows put next to each other."""
    width = sum(weight.shape[1] for weight in weights)
    return summed([place(w, (w.shape[0], width), columns=r) for w, r in _ranges(weights, 1)])


def stacked(*weights: Rule) -> Rule:
    """Rules of as many columns put below each other."""
    height = sum(weight.shape[0] for weight in weights)
    return summed([place(w, (height, w.shape[1]), rows=r) for w, r in _ranges(weights, 0)])


def _ranges(weights: Sequence[Rule], axis: int) -> list[tuple[Rule, range]]:
    first, found = 0, []
    for weight in weights:
        found.append((weight, range(first, first + weight.shape[axis])))
        first += weight.shape[axis]
    return found


def summed(parts: Sequence[Rule]) -> Rule:
    """The sum of rules of one shape, worked out where they are constant."""
    constants = [part.entries for part in parts if isinstance(part, Constant)]
    others = [part for part in parts if not isinstance(part, Constant)]
    if not constants:
        return others[0] if len(others) == 1 else Sum(tuple(others))
    fixed = Constant(tuple(tuple(map(sum, zip(*rows, strict=True))) for rows in zip(*constants, strict=True)))
    if not others:
        return fixed
    zero = not any(any(row) for row in fixed.entries)
    return others[0] if zero and len(others) == 1 else Sum((*others,) if zero else (fixed, *others))


def multiply(left: Rule, right: Rule) -> Rule:
    """``left @ right``, worked out where both are constant or one only moves entries."""
    if isinstance(left, Constant) and isinstance(right, Constant):
        return Constant(matmul(left.entries, right.entries))
    if isinstance(left, Constant) and (cells := _selection(left.entries)) is not None:
        m, k = left.shape[0], right.shape[1]
        return moved(right, (m, k), [(i, j, h, j) for i, h in cells for j in range(k)])
    if isinstance(right, Constant):
        cells = _selection(tuple(zip(*right.entries, strict=True)))
        if cells is not None:
            m, k = left.shape[0], right.shape[1]
            return moved(left, (m, k), [(i, j, i, h) for j, h in cells for i in range(m)])
    return Product(left, right)


def _selection(rows: Matrix) -> list[tuple[int, int]] | None:
    """The (row, column) of the ones, where every row is zero but for at most a single one."""
    cells = []
    for i, row in enumerate(rows):
        on = [j for j, entry in enumerate(row) if entry]
        if len(on) > 1 or (on and row[on[0]] != 1):
            return None
        cells += [(i, j) for j in on]
    return cells
