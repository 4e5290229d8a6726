"""The order in which a topology's operations run."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphs.topology import Op, Topology


def schedule(topology: "Topology") -> "tuple[Op, ...]":
    """Blocks by number, each mix just before its first reader; what nobody reads comes last.

    Depends on the program alone, not on the listing order of blocks. Assumes that there is no cycle. Worked out once
    per topology.
    """
    known: tuple[Op, ...] | None = vars(topology).get("_schedule")
    if known is None:
        known = vars(topology)["_schedule"] = _scheduled(topology)
    return known


def _scheduled(topology: "Topology") -> "tuple[Op, ...]":
    producers = topology.producers
    order: list[Op] = []
    visited: set[int] = set()
    output = producers.get(topology.output)
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
                for value in reversed(op.uses):
                    producer = producers.get(value)
                    if producer is not None and id(producer) not in visited:
                        stack.append((producer, False))
    return tuple(order)
