"""What is true of a topology before a single step of training: computed, not assumed."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from graphs.canonical import Program
from graphs.errors import TopologyError
from graphs.individualise import orbits
from graphs.matrix import connection_rows
from graphs.order import schedule
from graphs.passes.prune import prune
from graphs.topology import Block, Topology
from graphs.weights import evaluate, generators, support

Answer = Literal["yes", "scaled", "no", "unknown"]

# Hints that leave a block's function at the start as it is.
HARMLESS_HINTS = {"lr_scale", "eps_scale"}
CLOSE = 1e-9  # weights that went through a float function are compared to this


@dataclass(frozen=True, slots=True)
class Facts:
    """Start-up facts of one topology.

    ``residual``: whether it computes what the pre-norm residual network computes from the same blocks: ``yes``,
    ``scaled`` (every reader sees the residual stream times a positive number, which blocks that normalise their
    input and a final norm do not see), ``no``, or ``unknown`` where weights start at random. ``reason`` says why.

    ``dead`` counts hidden states that equal another one for ever, since an automorphism of the program exchanges
    them (a dead symmetry: streams that can never come apart). ``redundant`` counts learned numbers that share their
    value with another for ever in the same way; the streams' first weights do, where the streams start as copies.

    ``rank`` is that of the connection matrix at the start; ``paths`` counts the ways from the stem to the output
    from block to block along edges that can ever be non-zero. ``growth[r]`` is the root mean square of what block
    r + 1 reads (last: of the output) when the stem and every block's output are independent of variance one; None
    with unknown weights. Random weights count with their second moment.
    """

    residual: Answer
    reason: str
    dead: int
    redundant: int
    rank: int | None
    paths: int
    growth: tuple[float, ...] | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ``paths`` as text where it is beyond what JSON readers keep exactly."""
        return {
            "residual_at_start": self.residual,
            "reason": self.reason,
            "dead": self.dead,
            "redundant": self.redundant,
            "rank": self.rank,
            "paths": self.paths if self.paths < 2**53 else str(self.paths),
            "growth": None if self.growth is None else list(self.growth),
        }


def start_up(topology: Topology) -> Facts:
    """Compute the start-up facts of ``topology``."""
    residual, reason = residual_at_start(topology)
    try:
        rank = int(np.linalg.matrix_rank(_start_matrix(topology)))
    except TopologyError:
        rank = None
    return Facts(residual, reason, *symmetries(topology), rank, paths(topology), growth(topology))


def residual_at_start(topology: Topology) -> tuple[Answer, str]:
    """Whether the topology equals the pre-norm residual network at step 0, and why."""
    for mix in topology.mixes:
        if any(rule.start == "normal" for rule in generators(mix.weight)):
            return "unknown", f"the weights of {', '.join(mix.writes)} start at random"
    hinted = [(block.number, name) for block in topology.blocks for name, value in block.hints if _matters(name, value)]
    if hinted:
        return "no", f"block {hinted[0][0]} starts otherwise: {hinted[0][1]}"
    for mix in topology.mixes:
        if mix.norm is not None:
            return "no", f"{mix.writes[0]} is normalised between blocks"
        if mix.weight.random:
            return "no", f"the weights of {', '.join(mix.writes)} are drawn anew in each step"
    listed = {block.number: block for block in topology.blocks}
    missing = [number for number in range(1, topology.depth + 1) if number not in listed]
    if missing:
        return "no", f"block {missing[0]} is not there"
    scaled = ""
    ports = sorted({port for block in topology.blocks for port in block.ports})
    for port in ports:
        for r, row in enumerate(connection_rows(topology, port=port)):
            reader = "the output" if r == topology.depth else f"block {r + 1}"
            if r < topology.depth and port not in listed[r + 1].ports:
                continue
            wanted = range(r + 1)
            gains = {column: float(entry) for column, entry in row.items()}
            gain = gains.get(0, 0.0)
            odd = next((c for c in wanted if not _close(gains.get(c, 0.0), gain)), None)
            if gain <= 0 or odd is not None or len(row) != r + 1:
                column = 0 if gain <= 0 or odd is None else odd
                source = "the stem" if column == 0 else f"block {column}"
                return "no", f"{reader} reads {source} with weight {gains.get(column, 0.0):.4g}"
            if not _close(gain, 1.0):
                scaled = scaled or f"{reader} reads the residual stream times {gain:.4g}"
    return ("scaled", scaled) if scaled else ("yes", "every reader reads the sum of all earlier outputs")


def _matters(name: str, value: float | Fraction) -> bool:
    return name not in HARMLESS_HINTS and value != 1


def _close(one: float, two: float) -> bool:
    return math.isclose(one, two, rel_tol=CLOSE, abs_tol=CLOSE)


def symmetries(topology: Topology) -> tuple[int, int]:
    """How many hidden states, and how many learned numbers, some automorphism of the program carries to another.

    Such numbers start equal, receive equal gradients, and stay equal, and so do such hidden states. Maps that start
    at random are all different.
    """
    program = Program(prune(topology))
    if not program.learned:
        return 0, 0
    colours, edges = program.reached()
    named = [f"{colour} {i}" if "start normal" in colour else colour for i, colour in enumerate(colours)]
    moved = [colours[node] for orbit in orbits(named, edges) for node in orbit]
    return sum(colour == "linear" for colour in moved), sum(colour.startswith("parameter ") for colour in moved)


def paths(topology: Topology) -> int:
    """Ways from the stem to the output from block to block, along edges that can ever be non-zero.

    Streams between two blocks are one way: the residual network of L blocks has 2^L.
    """
    reach: dict[str, int] = {topology.stem: 1}  # a bit per block output that a value depends on; bit 0: the stem
    ways = {0: 1}

    def total(bits: int) -> int:
        return sum(ways[number] for number in range(bits.bit_length()) if bits >> number & 1)

    for op in schedule(topology):
        if isinstance(op, Block):
            bits = 0
            for value in op.reads:
                bits |= reach[value]
            ways[op.number] = total(bits)
            reach[op.writes] = 1 << op.number
            continue
        for value, flags in zip(op.writes, support(op.weight), strict=True):
            bits = 0
            for source, live in zip(op.reads, flags, strict=True):
                if live:
                    bits |= reach[source]
            reach[value] = bits
    return total(reach[topology.output])


def growth(topology: Topology) -> tuple[float, ...] | None:
    """Root mean square of what each block and the output read, with independent inputs of variance one.

    A norm divides by the root mean square of what it normalises. None where weights start at random.
    """
    size = topology.depth + 1
    rows: dict[str, np.ndarray[Any, Any]] = {topology.stem: np.eye(1, size)[0]}
    result = [0.0] * size
    for op in schedule(topology):
        if isinstance(op, Block):
            result[op.number - 1] = float(np.sqrt(np.mean([np.sum(rows[value] ** 2) for value in op.reads])))
            rows[op.writes] = np.eye(1, size, op.number)[0]
            continue
        try:
            matrix = np.array(evaluate(op.weight), dtype=float)
        except TopologyError:
            return None
        if op.weight.random:  # an edge that is there with probability p has the mean square p
            matrix = np.sqrt(np.abs(matrix)) * np.sign(matrix)
        mixed = matrix @ np.stack([rows[value] for value in op.reads])
        if op.norm is not None:
            mixed = mixed / (np.sqrt(np.sum(mixed**2, axis=1, keepdims=True)) + np.finfo(float).tiny)
        rows.update(zip(op.writes, mixed, strict=True))
    result[topology.depth] = float(np.sqrt(np.sum(rows[topology.output] ** 2)))
    return tuple(result)


def _start_matrix(topology: Topology) -> np.ndarray[Any, Any]:
    ports = sorted({port for block in topology.blocks for port in block.ports})
    return topology.matrix("in" if "in" in ports or not ports else ports[0])
