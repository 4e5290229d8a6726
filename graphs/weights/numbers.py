"""Exact matrices of plain numbers: ints and Fractions stay exact, and a float stands for the rational it is."""

import math
from collections.abc import Sequence
from fractions import Fraction

from graphs.errors import TopologyError

Number = int | float | Fraction
Exact = int | Fraction
Matrix = tuple[tuple[Number, ...], ...]
Flags = tuple[tuple[bool, ...], ...]

PLAIN, SAFE = {int}, 1 << 53  # whole numbers that any float holds: most weights, and nothing to look at further


def matrix(rows: Sequence[Sequence[Number]]) -> Matrix:
    """Freeze ``rows`` (m lists of k numbers); TopologyError where they are empty, ragged or not finite."""
    frozen = tuple(tuple(row) for row in rows)
    if not frozen or not frozen[0]:
        raise TopologyError("a weight matrix needs at least one row and one column; this one is empty")
    if len({len(row) for row in frozen}) > 1:
        raise TopologyError(f"the rows of a weight matrix differ in length: {[len(row) for row in frozen]}")
    for i, row in enumerate(frozen):
        if set(map(type, row)) == PLAIN and min(row) > -SAFE and max(row) < SAFE:
            continue
        for j, entry in enumerate(row):
            if isinstance(entry, bool) or not isinstance(entry, int | float | Fraction):
                raise TopologyError(f"weight [{i}][{j}] is {entry!r}; a number was expected")
            if not finite(entry):
                raise TopologyError(f"weight [{i}][{j}] is {entry!r:.80}; a finite number was expected")
    return frozen


def exact(number: Number) -> Exact:
    """The rational that a number is: an int where it is whole, which computes and hashes many times as fast."""
    if type(number) is int:
        return number
    fraction = number if isinstance(number, Fraction) else Fraction(number)
    return fraction.numerator if fraction.denominator == 1 else fraction


def finite(number: Number) -> bool:
    """Whether a number is one, and within the range of floats."""
    try:
        return math.isfinite(number)
    except OverflowError:  # exact, but beyond any float
        return False


def shape_of(rows: Matrix) -> tuple[int, int]:
    return len(rows), len(rows[0])


def matmul(left: Matrix, right: Matrix) -> Matrix:
    """Exact product of two matrices of numbers (sparse: zeros are skipped)."""
    k = len(right[0])
    entries = [[(j, value) for j, value in enumerate(row) if value] for row in right]
    rows = []
    for row in left:
        out: list[Number] = [0] * k
        for entry, other in zip(row, entries, strict=True):
            if entry:
                for j, value in other:
                    out[j] += entry * value
        rows.append(tuple(out))
    return tuple(rows)


def full(flag: bool, shape: tuple[int, int]) -> Flags:
    return ((flag,) * shape[1],) * shape[0]
