"""What of a topology its plan depends on, so that those which differ in a temperature alone are worked out once."""

import weakref
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from graphs.weights import Shared, Softmax

if TYPE_CHECKING:
    from graphs.topology import Topology


@dataclass(frozen=True, slots=True)
class Form:
    """Equal for topologies that are written alike but for the temperatures of softmaxes.

    Which of these are equal is in the key; what they are is in ``temperatures``, each once, in the order of first use.
    ``topology`` is there as long as somebody else holds it: the topology remembers its form, and what is worked out
    for a form is kept by it, neither of which is to keep topologies alive.
    """

    key: Hashable
    temperatures: tuple[float, ...] = field(compare=False)
    of: "weakref.ref[Topology]" = field(compare=False)

    @property
    def topology(self) -> "Topology":
        """The topology that this is the form of."""
        topology = self.of()
        assert topology is not None, "whoever asks for its form holds the topology"
        return topology


def form(topology: "Topology") -> Form:
    """The form of a topology as it is listed; names count, since they tell parameters apart."""
    from graphs.topology import Block

    shared = Shared()
    ops = tuple(
        op if isinstance(op, Block) else (op.reads, op.writes, op.keys, op.norm, shared.number(op.weight))
        for op in topology.ops
    )
    place: dict[float, int] = {}
    rules = []
    for rule, (kind, children, own) in zip(shared.rules, shared.keys, strict=True):
        if isinstance(rule, Softmax):
            own = place.setdefault(rule.temperature, len(place)), rule.over
        rules.append((kind, children, own))
    key = topology.stem, topology.output, topology.depth, ops, tuple(rules)
    return Form(key, tuple(place), weakref.ref(topology))
