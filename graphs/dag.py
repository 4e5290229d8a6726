"""A topology from a list of edges: what a program that knows nothing of ours can write."""

from collections.abc import Iterable
from typing import Any

from graphs.builder import Builder
from graphs.errors import TopologyError
from graphs.matrix import connection_rows
from graphs.topology import Topology
from graphs.weights import Constant, Number, Parameter, matrix

Edge = tuple[int, int]


def dag(depth: int, edges: Iterable[Any], *, learned: bool = False) -> Topology:
    """Blocks 1..depth, 0 the stem, depth + 1 the output; an edge is ``(i, j)`` or ``(i, j, weight)``, i < j.

    A node reads the sum of its predecessors' outputs times the weights, 1 where none is given; with ``learned`` each
    edge into a node of several predecessors has a weight that starts there. TopologyError where an edge is no such
    pair, is listed twice or runs backwards, and where a node has no predecessor.
    """
    build = Builder(depth)
    incoming: dict[int, dict[int, Number]] = {node: {} for node in range(1, depth + 2)}
    for edge in edges:
        i, j, weight = _checked(edge, depth)
        if i in incoming[j]:
            raise TopologyError(f"edge ({i}, {j}) is listed twice")
        incoming[j][i] = weight
    values = [build.stem]
    for node, sources in incoming.items():
        if not sources:
            what = "the output" if node == depth + 1 else f"block {node}"
            raise TopologyError(f"{what} reads nothing: no edge ends at {node}; every block and the output must be fed")
        row = tuple(sources[i] for i in sorted(sources))
        read = [values[i] for i in sorted(sources)]
        if row == (1,):
            value = read[0]
        elif learned and len(row) > 1:
            value = build.mix(f"u{node}", read, Parameter(f"edges{node}", (row,)))
        else:
            value = build.mix(f"u{node}", read, Constant((row,)))
        values.append(value if node == depth + 1 else build.block(node, value))
    return build.topology(values[-1], "custom")


def edges_of(topology: Topology) -> dict[Edge, Number] | None:
    """The weights by edge where fixed numbers on edges are the whole program, else None: what :func:`dag` takes."""
    if not all(mix.fixed for mix in topology.mixes) or not all(len(block.ports) == 1 for block in topology.blocks):
        return None
    if len(topology.blocks) < topology.depth or len({block.ports for block in topology.blocks}) > 1:
        return None
    if topology.block_hints:
        return None
    rows = connection_rows(topology, port=topology.blocks[0].ports[0])
    return {(i, reader): weight for reader, row in enumerate(rows, start=1) for i, weight in sorted(row.items())}


def _checked(edge: Any, depth: int) -> tuple[int, int, Number]:
    parts = list(edge) if isinstance(edge, list | tuple) else []
    nodes = parts[:2]
    if len(parts) not in (2, 3) or not all(isinstance(node, int) and not isinstance(node, bool) for node in nodes):
        raise TopologyError(f"edge {edge!r:.80} is not a pair of node numbers, such as [0, 2], or [0, 2, 0.5]")
    i, j = nodes
    if not 0 <= i < j <= depth + 1:
        raise TopologyError(f"edge ({i}, {j}): it must go forward, within 0 (stem) .. {depth + 1} (output)")
    weight = parts[2] if len(parts) == 3 else 1
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise TopologyError(f"edge ({i}, {j}) has the weight {weight!r:.80}; a number was expected")
    try:
        return i, j, matrix([[weight]])[0][0]
    except TopologyError as error:
        raise TopologyError(f"edge ({i}, {j}): {error}") from error
