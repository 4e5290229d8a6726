"""The effective connection matrix: what each block and the output read, in terms of block outputs."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphs.errors import TopologyError
from graphs.order import schedule
from graphs.topology import Block, Topology
from graphs.weights import Matrix, Number, evaluate
from graphs.weights.numbers import finite

Row = dict[int, Number]


def connection_rows(
    topology: Topology, values: Mapping[str, Matrix] | None = None, port: str = "in"
) -> tuple[Row, ...]:
    """Row r, sparse and exact: the input of block r + 1 (last: the output) as weights on outputs 0..L.

    ``values`` are full matrices by parameter name; without them the initial weights are used. A block that the
    topology does not list, and a block without the port, have an empty row. Entries finer than a scalar are mean
    gains, random ones means. TopologyError where weights are computed per token (unless they start at zero and the
    start is asked for), and where a mix has a norm, whose factor depends on the token.
    """
    rows: list[Row] = [{} for _ in range(topology.depth + 1)]
    reads: dict[str, Row] = {topology.stem: {0: 1}}
    seen = False
    for op in schedule(topology):
        if isinstance(op, Block):
            reads[op.writes] = {op.number: 1}
            if port in op.ports:
                rows[op.number - 1] = reads[op.reads[op.ports.index(port)]]
                seen = True
            continue
        if op.norm is not None:
            raise TopologyError(f"the value {op.writes[0]} is normalised token by token; there is no one matrix")
        for value, weights in zip(op.writes, evaluate(op.weight, values), strict=True):
            row: Row = {}
            for source, weight in zip(op.reads, weights, strict=True):
                if weight:
                    for column, entry in reads[source].items():
                        row[column] = row.get(column, 0) + weight * entry
            reads[value] = {column: entry for column, entry in row.items() if entry}
    if not seen and topology.blocks:
        ports = sorted({name for block in topology.blocks for name in block.ports})
        raise TopologyError(f"no block has the port {port!r}; the ports are {', '.join(ports)}")
    rows[topology.depth] = reads[topology.output]
    return tuple(rows)


def connection_matrix(
    topology: Topology, values: Mapping[str, Matrix] | None = None, port: str = "in"
) -> "np.ndarray[Any, Any]":
    """:func:`connection_rows` as a float64 array of shape (depth + 1, depth + 1)."""
    result = np.zeros((topology.depth + 1, topology.depth + 1))
    for r, row in enumerate(connection_rows(topology, values, port)):
        for column, entry in row.items():
            if not finite(entry):
                raise TopologyError(f"the weight of output {column} in row {r} is beyond the range of floats")
            result[r, column] = float(entry)
    return result
