"""What passes that rearrange linear mixes share: which ones may be rearranged, and names for new values."""

from typing import TypeGuard

from graphs.topology import Mix, Op, Topology
from graphs.weights import MATRIX


def composable(op: Op | None) -> TypeGuard[Mix]:
    """Whether it is a mix whose matrix may be multiplied with others': the same for every token and step.

    Weights that are dim x dim matrices are left alone: their products would cost more than the mixes they save.
    """
    return isinstance(op, Mix) and (op.fixed or (op.static and op.weight.grain != MATRIX))


class Names:
    """Names that a topology does not use yet."""

    def __init__(self, topology: Topology, prefix: str) -> None:
        self._topology = topology
        self._prefix = prefix
        self._count = 0

    def fresh(self) -> str:
        while True:
            self._count += 1
            name = f"{self._prefix}{self._count}"
            if name != self._topology.stem and name not in self._topology.producers:
                return name
