"""Identity of topologies: two are equal exactly when their canonical programs are isomorphic.

A program is spelled out as a coloured graph over values and *scalar* weight expressions, so that neither the
listing order, nor names, nor how scalars are packed into matrices, nor how fixed sums are factored matters.
Blocks are fixed by number. Scalars that are learned are separate nodes even where their initial values agree:
equal at the start is not equal after training, and a Merkle hash of expressions would confuse the two.

Where every weight is a fixed number, the exact connection matrix is the program.
"""

import functools
import hashlib
from collections import defaultdict
from collections.abc import Mapping
from fractions import Fraction

from graphs.form import Form
from graphs.individualise import Edge, Frame, canonical_text
from graphs.order import schedule
from graphs.passes.prune import prune
from graphs.scalars import Scalars, softmax_colour
from graphs.topology import Block, Topology
from graphs.weights import Constant, Number
from graphs.weights.numbers import Exact, exact

# What a program of fixed numbers is made of.
FIXED = ("stem", "block ", "output", "constant ", "linear", "term", "sum", "multiple")

# A value as a combination of atoms (stem, block outputs, learned sums) with fixed weights.
Combination = Mapping[int, Exact]


def digest(certificate: str) -> str:
    """First 12 hex digits of the SHA-256 of a certificate."""
    return hashlib.sha256(certificate.encode()).hexdigest()[:12]


def certificate(topology: Topology) -> str:
    """The canonical program as text: equal for equal topologies, different for different ones."""
    frame = None if _is_fixed(topology) else _frame(topology.form)
    if frame is None:
        pruned = prune(topology)
        return _fixed_certificate(pruned) if _is_fixed(pruned) else Program(pruned).matrix_text(topology.depth)
    colours = _colours(topology.form)
    text = frame.text(colours) if frame.takes(colours) else canonical_text(*Program(prune(topology)).reached())
    return f"program of depth {topology.depth}\n{text}"


@functools.lru_cache(maxsize=64)
def _frame(form: Form) -> Frame | None:
    """The program of all topologies of a form; None where nothing is learned that the output reaches."""
    program = Program(prune(form.topology))
    return Frame(*program.reached(), free=_colours(form)) if program.learned else None


def _is_fixed(topology: Topology) -> bool:
    return all(mix.fixed for mix in topology.mixes)


def _colours(form: Form) -> tuple[str, ...]:
    return tuple(map(softmax_colour, form.temperatures))


def _fixed_certificate(topology: Topology) -> str:
    """What :meth:`Program.matrix_text` writes, without a graph: thousands of plain sums stay cheap."""
    rows: dict[str, dict[int, Number]] = {topology.stem: {0: 1}}
    blocks: dict[int, Block] = {}
    for op in schedule(topology):
        if isinstance(op, Block):
            blocks[op.number] = op
            rows[op.writes] = {op.number: 1}
            continue
        assert isinstance(op.weight, Constant), "a weight that is not fixed"
        for value, weights in zip(op.writes, op.weight.entries, strict=True):
            row: dict[int, Number] = {}
            for source, weight in zip(op.reads, weights, strict=True):
                if weight:
                    factor = exact(weight)
                    for column, entry in rows[source].items():
                        row[column] = row.get(column, 0) + factor * entry
            rows[value] = {column: entry for column, entry in row.items() if entry}
    reached, frontier = {0}, [topology.output]
    while frontier:
        new = rows[frontier.pop()].keys() - reached
        reached |= new
        frontier += [value for number in new for value in blocks[number].reads]
    lines = [f"matrix of depth {topology.depth}"]
    for number in sorted(reached - {0}):
        block = blocks[number]
        for port, value in zip(block.ports, block.reads, strict=True):
            lines.append(f"{number} {port}: {_cells(rows[value])}{_hints(block)}")
    return "\n".join([*lines, f"output: {_cells(rows[topology.output])}"])


def _cells(row: Mapping[int, Number]) -> str:
    return " ".join(f"{column}*{factor}" for column, factor in sorted(row.items()))


def _hints(block: Block) -> str:
    return "".join(f" {name}={Fraction(value)}" for name, value in block.hints)


class Program:
    """The coloured graph of a pruned topology, as far as the output reaches.

    A source whose weights cancel is not reached. ``learned`` says whether any weight that is reached trains.
    """

    def __init__(self, topology: Topology) -> None:
        self.scalars = scalars = Scalars()
        self.block_reads: dict[int, tuple[tuple[str, Combination], ...]] = {}
        stem = scalars.node("stem")
        values: dict[str, Combination] = {topology.stem: {stem: 1}}
        self.columns = {stem: 0}
        self.hints: dict[int, str] = {}
        for op in schedule(topology):
            if isinstance(op, Block):
                reads = tuple((port, values[value]) for port, value in zip(op.ports, op.reads, strict=True))
                self.block_reads[op.number] = reads
                self.hints[op.number] = _hints(op)
                node = scalars.node(f"block {op.number}{_hints(op)}")
                for place, (port, combination) in enumerate(reads):
                    scalars.edge(node, self._value(combination), f"port {place} {port}")
                values[op.writes] = {node: 1}
                self.columns[node] = op.number
                continue
            entries = scalars.entries(op.weight, [self._value(values[key]) for key in op.keys])
            for i, value in enumerate(op.writes):
                terms: dict[int, list[int]] = defaultdict(list)
                for j, source in enumerate(op.reads):
                    coefficient = entries(i, j)
                    if coefficient is not None:
                        for atom, factor in values[source].items():
                            terms[atom].append(scalars.times(factor, coefficient))
                row = {atom: scalars.sum(parts) for atom, parts in terms.items()}
                constants = {atom: scalars.constant_value(scalar) for atom, scalar in row.items()}
                row = {atom: scalar for atom, scalar in row.items() if constants[atom] != 0}
                if all(constant is not None for constant in constants.values()):
                    values[value] = {atom: constant for atom, constant in constants.items() if constant}
                else:
                    values[value] = {scalars.linear(row): 1}
                if op.norm is not None:
                    normed = scalars.norm(op.norm.name, op.norm.kind, self._value(values[value]))
                    values[value] = {normed: 1}
        self.output = values[topology.output]
        output = scalars.node("output")
        scalars.edge(output, self._value(self.output), "reads")
        self.nodes = self._reachable(output)
        self.learned = any(not scalars.colours[node].startswith(FIXED) for node in self.nodes)

    def _value(self, combination: Combination) -> int:
        """The node a reader points at: the atom itself, or the fixed sum of several."""
        if len(combination) == 1 and next(iter(combination.values())) == 1:
            return next(iter(combination))
        constants = {atom: self.scalars.constant(factor) for atom, factor in combination.items()}
        return self.scalars.linear(constants)

    def _reachable(self, start: int) -> list[int]:
        read: dict[int, list[int]] = defaultdict(list)
        for reader, node, _ in self.scalars.edges:
            read[reader].append(node)
        reached, frontier = {start}, [start]
        while frontier:
            new = set(read[frontier.pop()]) - reached
            reached |= new
            frontier += new
        return sorted(reached)

    def reached(self) -> tuple[list[str], list[Edge]]:
        """Colours and edges of the part that the output reaches."""
        place = {node: i for i, node in enumerate(self.nodes)}
        edges = [(place[start], place[end], label) for start, end, label in self.scalars.edges if start in place]
        return [self.scalars.colours[node] for node in self.nodes], edges

    def matrix_text(self, depth: int) -> str:
        """Depth, ports and the exact rows of the connection matrix; a block that is not reached has no row."""
        lines = [f"matrix of depth {depth}"]
        numbers = sorted(self.columns[node] for node in self.nodes if node in self.columns)
        for number, reads in ((number, self.block_reads[number]) for number in numbers if number):
            lines += [f"{number} {port}: {self._row(combination)}{self.hints[number]}" for port, combination in reads]
        return "\n".join([*lines, f"output: {self._row(self.output)}"])

    def _row(self, combination: Combination) -> str:
        return _cells({self.columns[atom]: factor for atom, factor in combination.items()})
