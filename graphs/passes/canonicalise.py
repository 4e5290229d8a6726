"""One spelling for a program: operations in running order, values named by what writes them."""

from graphs.order import schedule
from graphs.rules import verify
from graphs.topology import Block, Mix, Op, Topology


def canonicalise(topology: Topology) -> Topology:
    """The same program listed in running order, values renamed ``x0``, ``y<block>`` and ``h1, h2, ..``.

    Plans of equal topologies listed differently then read alike. Identity of programs is decided by the
    certificate (:mod:`graphs.canonical`), which does not depend on names at all. As the end of a pipeline it checks
    what the passes made, before new names hide what is wrong with old ones.
    """
    verify(topology)
    names = {topology.stem: "x0"}
    ops: list[Op] = []
    count = 0
    for op in schedule(topology):
        if isinstance(op, Block):
            names[op.writes] = f"y{op.number}"
            reads = _renamed(op.reads, names)
            ops.append(Block(op.number, reads, f"y{op.number}", op.ports, op.name, op.hints))
            continue
        for value in op.writes:
            count += 1
            names[value] = f"h{count}"
        reads, writes, keys = (_renamed(values, names) for values in (op.reads, op.writes, op.keys))
        ops.append(Mix(reads, writes, op.weight, keys, op.norm))
    return topology.rewritten(tuple(ops), names[topology.output], "x0")


def _renamed(values: tuple[str, ...], names: dict[str, str]) -> tuple[str, ...]:
    return tuple([names[value] for value in values])
