"""Edits on top of any topology: one edge more, or one edge less, between a block's output and a later reader."""

from collections.abc import Mapping
from dataclasses import replace

from graphs.errors import TopologyError
from graphs.matrix import connection_rows
from graphs.topology import Mix, Op, Topology
from graphs.weights import Constant, Number

Edge = tuple[int, int]


def edited(topology: Topology, edges: Mapping[Edge, Number]) -> Topology:
    """The topology with each edge ``(i, j)`` switched: j is a block or depth + 1, the output; i an output before j.

    Where the edge is missing, j reads output i as well, times the edge's weight here. Where every weight of the
    topology is a fixed number and the edge is there, it is taken out instead; weights that are learned have no zero
    to be set to, so that with them an edit only ever adds. TopologyError where a reader would be left with nothing.
    """
    for i, j in edges:
        if not 0 <= i < j <= topology.depth + 1:
            last = topology.depth + 1
            raise TopologyError(f"edge ({i}, {j}): it must go forward, within 0 (stem) .. {last} (output)")
    if not edges:
        return topology
    text = " ".join(f"{i}-{j}" for i, j in sorted(edges))
    done = _switched(topology, edges) if _is_matrix(topology) else _added(topology, edges)
    return replace(done, settings=(*topology.settings, ("edits", text)))


def _is_matrix(topology: Topology) -> bool:
    """Whether the connection matrix is the whole program."""
    return all(mix.fixed for mix in topology.mixes) and all(len(block.ports) == 1 for block in topology.blocks)


def _outputs(topology: Topology) -> dict[int, str]:
    return {0: topology.stem} | {block.number: block.writes for block in topology.blocks}


def _switched(topology: Topology, edges: Mapping[Edge, Number]) -> Topology:
    """The program written anew from its matrix; the compiler finds running sums again."""
    blocks = {block.number: block for block in topology.blocks}
    ports = {block.ports[0] for block in topology.blocks}
    rows = {port: connection_rows(topology, port=port) for port in ports}
    outputs = _outputs(topology)
    ops: list[Op] = []

    def read(reader: int, port: str) -> str:
        row = dict(rows[port][reader - 1])
        for (i, j), weight in edges.items():
            if j == reader and row.pop(i, None) is None:
                row[i] = weight
        known = {outputs[i]: weight for i, weight in sorted(row.items()) if weight}
        if not known:
            raise TopologyError(f"the edits leave {_name(topology, reader)} of {topology} nothing to read")
        return _mixed(topology, ops, f"edited{reader}", known)

    for number in sorted(blocks):
        block = blocks[number]
        ops.append(replace(block, reads=(read(number, block.ports[0]),)))
    output = read(topology.depth + 1, min(ports))
    return topology.with_ops(tuple(ops), output)


def _added(topology: Topology, edges: Mapping[Edge, Number]) -> Topology:
    """The program as it is, with a sum in front of each reader that an edit names."""
    outputs = _outputs(topology)
    ops: list[Op] = [op for op in topology.ops if isinstance(op, Mix)]

    def read(reader: int, value: str, port: str = "") -> str:
        found: dict[str, Number] = {value: 1}
        for (i, j), weight in sorted(edges.items()):
            if j == reader:
                found[outputs[i]] = found.get(outputs[i], 0) + weight
        return _mixed(topology, ops, f"edited{reader}{port}", found) if len(found) > 1 or found[value] != 1 else value

    for block in topology.blocks:
        reads = (read(block.number, value, port) for value, port in zip(block.reads, block.ports, strict=True))
        ops.append(replace(block, reads=tuple(reads)))
    output = read(topology.depth + 1, topology.output)
    return topology.with_ops(tuple(ops), output)


def _mixed(topology: Topology, ops: list[Op], name: str, sources: Mapping[str, Number]) -> str:
    """Append the weighted sum of ``sources`` and return its value; one source of weight one is that value itself."""
    if list(sources.values()) == [1]:
        return next(iter(sources))
    taken = topology.producers.keys() | {value for op in ops for value in op.outputs} | {topology.stem}
    while name in taken:
        name += "_"
    ops.append(Mix(tuple(sources), (name,), Constant((tuple(sources.values()),))))
    return name


def _name(topology: Topology, reader: int) -> str:
    return "the output" if reader == topology.depth + 1 else f"block {reader}"
