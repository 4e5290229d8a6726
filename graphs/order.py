"""The order in which a topology's operations run."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphs.topology import Op, Topology


def schedule(topology: "Topology") -> "tuple[Op, ...]":
    """Blocks by number, each mix just before its first reader; what nobody reads comes last.

    Depends on the program alone, not on the listing order of blocks. Assumes that there is no cycle.
    """
    order: list[Op] = []
    visited: set[int] = set()
    output = topology.producers.get(topology.output)
    roots = [*topology.blocks, *([output] if output is not None else []), *topology.mixes]
    for root in roots:
        stack: list[tuple[Op, bool]] = [(root, False)]
        while stack:
            op, ready = stack.pop()
            if ready:
                order.append(op)
            elif id(op) not in visited:
                visited.add(id(op))
                stack.append((op, True))
                producers = (topology.producers.get(value) for value in reversed(op.uses))
                stack.extend((p, False) for p in producers if p is not None and id(p) not in visited)
    return tuple(order)
