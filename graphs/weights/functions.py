"""Rules that bend other rules: softmax, sigmoid, tanh, the choice of the greatest, doubly stochastic matrices."""

import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import permutations
from typing import Literal

from graphs.errors import TopologyError
from graphs.weights.grain import SCALAR
from graphs.weights.leaves import checked_positive
from graphs.weights.numbers import Flags, Matrix, Number
from graphs.weights.rule import Rule, Values

Axis = Literal["sources", "destinations"]
MAX_PERMUTED = 5  # 5! = 120 permutation matrices; 6! would be 720


class _Function(Rule):
    """A rule of one other rule, ``of``."""

    of: Rule

    @property
    def shape(self) -> tuple[int, int]:
        return self.of.shape

    @property
    def children(self) -> tuple[Rule, ...]:
        return (self.of,)


@dataclass(frozen=True)
class Softmax(_Function):
    """``softmax(of / temperature)`` along the sources (each row sums to 1) or the destinations (each column)."""

    of: Rule
    temperature: float = 1.0
    over: Axis = "sources"

    def __post_init__(self) -> None:
        checked_positive("softmax temperature", self.temperature)
        if self.over not in ("sources", "destinations"):
            raise TopologyError(f"softmax over {self.over!r}; 'sources' or 'destinations' was expected")
        if self.of.grain.full:
            raise TopologyError("a softmax of weights that mix channels; scalar or channel weights were expected")

    def compute(self, parts: tuple[Matrix, ...], values: Values | None) -> Matrix:
        if self.over == "sources":
            return tuple(_softmax(row, self.temperature) for row in parts[0])
        columns = [_softmax(column, self.temperature) for column in zip(*parts[0], strict=True)]
        return tuple(zip(*columns, strict=True))


def _softmax(row: tuple[Number, ...], temperature: float) -> tuple[Number, ...]:
    if len(set(row)) == 1:  # equal logits: the uniform start is an exact rational, and tests rely on it
        return (Fraction(1, len(row)),) * len(row)
    top = max(row)
    powers = [math.exp(float(entry - top) / temperature) for entry in row]
    total = math.fsum(powers)
    return tuple(power / total for power in powers)


@dataclass(frozen=True)
class Sigmoid(_Function):
    """``scale * sigmoid(of)``, entry by entry."""

    of: Rule
    scale: int | float = 1

    def __post_init__(self) -> None:
        checked_positive("the scale of a sigmoid", self.scale)
        if self.of.grain.full:
            raise TopologyError("a sigmoid of weights that mix channels; scalar or channel weights were expected")

    def compute(self, parts: tuple[Matrix, ...], values: Values | None) -> Matrix:
        return tuple(tuple(self.scale * _sigmoid(entry) for entry in row) for row in parts[0])


def _sigmoid(entry: Number) -> Number:
    if entry == 0:
        return Fraction(1, 2)
    return 1 / (1 + math.exp(-entry)) if entry > 0 else math.exp(entry) / (1 + math.exp(entry))


@dataclass(frozen=True)
class Tanh(_Function):
    """``tanh(of)``, entry by entry."""

    of: Rule

    def compute(self, parts: tuple[Matrix, ...], values: Values | None) -> Matrix:
        return tuple(tuple(math.tanh(entry) if entry else 0 for entry in row) for row in parts[0])

    def support(self) -> Flags:
        return self.of.support()


@dataclass(frozen=True)
class TopK(_Function):
    """One for the ``fan_in`` sources of the greatest entries of each row, zero for the others; of equal ones the last.

    Straight through: in a backward pass it is not there, so that its gradient goes to every entry of ``of``. With
    ``Softmax(parameter)`` that is the dense softmax's, with a parameter alone the identity's. Source: arXiv 1308.3432.
    """

    of: Rule
    fan_in: int

    def __post_init__(self) -> None:
        k = self.of.shape[1]
        whole = isinstance(self.fan_in, int) and not isinstance(self.fan_in, bool)
        if not whole or not 1 <= self.fan_in <= k:
            raise TopologyError(f"a choice of {self.fan_in!r} among {k} sources; 1 to {k} was expected")
        if self.of.grain != SCALAR:
            raise TopologyError(
                f"a choice of sources by weights of grain {self.of.grain}; one number an edge was expected"
            )

    def compute(self, parts: tuple[Matrix, ...], values: Values | None) -> Matrix:
        return tuple(greatest(row, self.fan_in) for row in parts[0])


def greatest(row: tuple[Number, ...], count: int) -> tuple[int, ...]:
    """Ones at the ``count`` greatest, of equal ones the last, and zeros."""
    kept = sorted(range(len(row)), key=lambda j: (row[j], j))[-count:]
    return tuple(int(j in kept) for j in range(len(row)))


@dataclass(frozen=True)
class Sinkhorn(_Function):
    """``exp(of)`` made doubly stochastic: columns, then rows divided by their sums, ``iterations`` times.

    Rows sum to one exactly, columns up to what the iterations leave.

    Source: mHC, arXiv 2512.24880, equation 9 (t_max 20).
    """

    of: Rule
    iterations: int = 20

    def __post_init__(self) -> None:
        m, k = self.of.shape
        if m != k:
            raise TopologyError(f"a doubly stochastic matrix is square; this one has shape {self.of.shape}")
        if isinstance(self.iterations, bool) or not isinstance(self.iterations, int) or self.iterations < 1:
            raise TopologyError(f"{self.iterations!r} Sinkhorn iterations; at least 1 was expected")
        if self.of.grain.full:
            raise TopologyError("Sinkhorn of weights that mix channels; scalar or channel weights were expected")

    def compute(self, parts: tuple[Matrix, ...], values: Values | None) -> Matrix:
        size = len(parts[0])
        if len({entry for row in parts[0] for entry in row}) == 1:
            return ((Fraction(1, size),) * size,) * size
        logits = [[float(entry) for entry in row] for row in parts[0]]  # logarithms throughout: no line sums to zero
        for _ in range(2 * self.iterations):
            logits = [list(column) for column in zip(*logits, strict=True)]
            logits = [[entry - _log_sum_exp(line) for entry in line] for line in logits]
        return tuple(tuple(map(math.exp, row)) for row in logits)


def _log_sum_exp(line: list[float]) -> float:
    top = max(line)
    return top + math.log(math.fsum(math.exp(entry - top) for entry in line))


@dataclass(frozen=True)
class Permutations(_Function):
    """``sum_s of[0, s] P_s`` over all n! permutation matrices, the identity first, then in lexicographic order.

    Exactly doubly stochastic where the (1, n!) weights ``of`` are a softmax. ``P_s`` sends source ``s[i]`` to
    output i.

    Source: mHC-lite, arXiv 2601.05732 (Birkhoff's theorem).
    """

    of: Rule
    size: int

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, int) or not 1 <= self.size <= MAX_PERMUTED:
            raise TopologyError(f"permutations of {self.size!r}; 1 to {MAX_PERMUTED} streams were expected")
        if self.of.shape != (1, math.factorial(self.size)):
            raise TopologyError(
                f"a mixture of the permutations of {self.size} has weights of shape (1, {math.factorial(self.size)}), "
                f"not {self.of.shape}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        return self.size, self.size

    def members(self, i: int, j: int) -> list[int]:
        """Which permutations send source j to output i."""
        return [s for s, permutation in enumerate(permutations(range(self.size))) if permutation[i] == j]

    def compute(self, parts: tuple[Matrix, ...], values: Values | None) -> Matrix:
        n, row = self.size, parts[0][0]
        return tuple(tuple(sum(row[s] for s in self.members(i, j)) for j in range(n)) for i in range(n))

    def support(self) -> Flags:
        n, on = self.size, self.of.support()[0]
        return tuple(tuple(any(on[s] for s in self.members(i, j)) for j in range(n)) for i in range(n))
