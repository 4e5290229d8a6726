"""What a picture shows: the connection matrix of each port, or what is known of it before a token is seen."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any

import numpy as np

from graphs.errors import TopologyError, UserError
from graphs.order import schedule
from graphs.topology import Block, Topology
from graphs.weights import Parameter, Product, Softmax, Sum, Weight, evaluate, parameters, support

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Connections:
    """One port's reads; all arrays are (depth + 1, depth + 1), laid out as :meth:`Topology.matrix` is.

    ``weights`` is NaN where no number says what is read before a token is seen. ``learned`` marks the entries that
    training may change, also those that start at zero; ``varies`` those that are computed per token or drawn at
    random, whether or not they have a number at the start. ``rows`` says which readers have the port (the output has
    every port).
    """

    port: str
    weights: Array
    learned: Array
    varies: Array
    rows: Array

    @cached_property
    def unknown(self) -> Array:
        """Entries that have no number."""
        return np.asarray(np.isnan(self.weights))

    @cached_property
    def latent(self) -> Array:
        """Entries that are zero now and can be learned."""
        return np.asarray(self.learned & (self.weights == 0))

    @cached_property
    def largest(self) -> Array:
        """The largest known absolute weight of each row; 0 for a row of zeros."""
        return np.asarray(np.abs(np.nan_to_num(self.weights)).max(axis=1))

    @cached_property
    def uneven(self) -> bool:
        """Whether the largest weight differs from row to row, so that equal shades are different weights."""
        largest = self.largest[self.largest > 0]
        return bool(len(largest) and np.ptp(largest) > 1e-9 * largest.max())

    @cached_property
    def shares(self) -> Array:
        """Signed weights relative to the largest of their row: a reader normalises what it reads."""
        return self.weights / np.where(self.largest == 0, 1, self.largest)[:, None]


def connections(topology: Topology, matrix: Array | Mapping[str, Array] | None = None) -> tuple[Connections, ...]:
    """One per port, in the order in which the blocks name them; ``matrix``, one or by port, replaces the initial one.

    Where :meth:`Topology.matrix` has no numbers to give, because weights or norms are worked out per token, the
    numbers that do exist are kept and the others are NaN.
    """
    ports = tuple(dict.fromkeys(port for block in topology.blocks for port in block.ports)) or ("in",)
    given: Mapping[str, Array] = {}
    if matrix is not None:
        given = matrix if isinstance(matrix, Mapping) else {ports[0]: matrix}
    for port, weights in given.items():
        _check(port, weights, ports, topology.depth + 1)
    found = []
    for port, facts in zip(ports, _facts(topology, ports), strict=True):
        weights = given[port] if port in given else _initial(topology, port, facts)
        rows = np.array([port in block.ports for block in _by_number(topology)] + [True])
        varies = facts.varies | facts.unknown
        found.append(Connections(port, np.asarray(weights, dtype=float), facts.learned, varies, rows))
    return tuple(found)


def _initial(topology: Topology, port: str, facts: "_Facts") -> Array:
    try:
        return topology.matrix(port)
    except TopologyError:
        return np.where(facts.unknown | ~np.isfinite(facts.number), np.nan, facts.number)


def _check(port: str, weights: Array, ports: tuple[str, ...], size: int) -> None:
    if port not in ports:
        raise UserError(f"a matrix for the port {port!r}; the ports are {', '.join(ports)}")
    if np.shape(weights) != (size, size):
        raise UserError(f"the matrix has shape {np.shape(weights)}; {(size, size)} was expected at depth {size - 1}")
    if not np.isfinite(weights).all():
        raise UserError("the matrix holds a number that is not finite; there is nothing to draw to scale")


def needed(shown: tuple[Connections, ...]) -> Array:
    """Which of the values 0..L (0: the stem) can reach the output, at the present weights or at learned ones."""
    size = len(shown[0].weights)
    edges = np.any([one.learned | (one.weights != 0) for one in shown], axis=0)
    alive = np.zeros(size + 1, dtype=bool)
    alive[size] = True
    for reader in range(size, 0, -1):
        if alive[reader]:
            alive[:size] |= edges[reader - 1]
    return alive[:size]


def _by_number(topology: Topology) -> list[Block]:
    """Blocks 1..L; one that the topology does not list has no ports."""
    listed = {block.number: block for block in topology.blocks}
    return [listed.get(n, Block(n, (), "", ())) for n in range(1, topology.depth + 1)]


@dataclass(frozen=True, eq=False)
class _Facts:
    """What is known of some rows of a matrix: their numbers, and which entries may be non-zero, may change in training,
    differ from token to token or draw to draw, and have no number."""

    number: Array
    edge: Array
    learned: Array
    varies: Array
    unknown: Array

    def of(self, sources: "_Facts") -> "_Facts":
        """The matrix product: these rows of what ``sources`` are made of."""

        def either(name: str) -> Array:
            own, other = getattr(self, name), getattr(sources, name)
            return np.asarray((own @ sources.edge) | (self.edge @ other))

        edge = self.edge @ sources.edge
        return _Facts(self.number @ sources.number, edge, either("learned"), either("varies"), either("unknown"))

    def plus(self, other: "_Facts") -> "_Facts":
        edge, learned = self.edge | other.edge, self.learned | other.learned
        varies, unknown = self.varies | other.varies, self.unknown | other.unknown
        return _Facts(self.number + other.number, edge, learned, varies, unknown)

    def normalised(self) -> "_Facts":
        """After a norm, whose factor depends on the token."""
        return replace(self, varies=self.edge, unknown=self.edge)

    def row(self, index: int) -> "_Facts":
        return _Facts(*(part[index] for part in self._parts))

    @property
    def _parts(self) -> tuple[Array, ...]:
        return self.number, self.edge, self.learned, self.varies, self.unknown

    @staticmethod
    def stack(rows: "list[_Facts]") -> "_Facts":
        return _Facts(*(np.stack(parts) for parts in zip(*(row._parts for row in rows), strict=True)))

    @staticmethod
    def nothing(*shape: int) -> "_Facts":
        return _Facts(np.zeros(shape), *(np.zeros(shape, dtype=bool) for _ in range(4)))


def _facts(topology: Topology, ports: tuple[str, ...]) -> list[_Facts]:
    """The rows of each port's connection matrix, by way of every operation's weight."""
    size = topology.depth + 1

    def output(number: int) -> _Facts:
        fact = _Facts.nothing(size)
        fact.number[number], fact.edge[number] = 1, True
        return fact

    made = {topology.stem: output(0)}
    read = {port: [_Facts.nothing(size)] * topology.depth for port in ports}
    known: dict[int, _Facts] = {}
    with np.errstate(over="ignore", invalid="ignore"):  # what leaves the range of floats has no number
        for op in schedule(topology):
            if isinstance(op, Block):
                made[op.writes] = output(op.number)
                for port, value in zip(op.ports, op.reads, strict=True):
                    read[port][op.number - 1] = made[value]
                continue
            mixed = _weight(op.weight, known).of(_Facts.stack([made[value] for value in op.reads]))
            if getattr(op, "norm", None) is not None:
                mixed = mixed.normalised()
            made |= {value: mixed.row(i) for i, value in enumerate(op.writes)}
    return [_Facts.stack([*read[port], made[topology.output]]) for port in ports]


def _weight(weight: Weight, known: dict[int, _Facts]) -> _Facts:
    """The facts of a rule; ``known`` holds those of rules met before, by identity."""
    if id(weight) not in known:
        match weight:
            case Sum(terms=terms):
                known[id(weight)] = reduce(_Facts.plus, (_weight(term, known) for term in terms))
            case Product(left=left, right=right):
                known[id(weight)] = _weight(left, known).of(_weight(right, known))
            case _:
                known[id(weight)] = _whole(weight, known)
    return known[id(weight)]


def _whole(weight: Weight, known: dict[int, _Facts]) -> _Facts:
    """The facts of a rule that is not taken apart: all that can be non-zero is alike, but for masks and softmax."""
    edge = np.array(support(weight), dtype=bool)
    per_token, random = getattr(weight, "per_token", False), getattr(weight, "random", False)
    learned = edge & (per_token or any(True for _ in parameters(weight)))
    if isinstance(weight, Parameter):
        m, k = weight.shape
        learned = np.array([[weight.trains(i, j) for j in range(k)] for i in range(m)], dtype=bool)
    elif isinstance(weight, Softmax):
        axis = 1 if weight.over == "sources" else 0
        moves = _weight(weight.of, known).learned.any(axis=axis, keepdims=True)
        learned = edge & moves & (edge.shape[axis] > 1)
    numbers = _numbers(weight, edge)
    unknown = edge if numbers is None else np.zeros_like(edge)
    return _Facts(
        np.zeros(edge.shape) if numbers is None else numbers, edge, learned, edge & (per_token or random), unknown
    )


def _numbers(weight: Weight, edge: Array) -> Array | None:
    """The matrix of a rule at its initial values; None where there is none, but one per token or per draw."""
    try:
        numbers = np.array(evaluate(weight), dtype=float)
    except (TopologyError, OverflowError):
        return None
    return numbers if numbers.shape == edge.shape else None
