"""What is proposed: a point of the space, or a topology from outside it, and where it came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from graphs import Topology
from search_space.point import Value
from search_space.recognise import wiring_point
from search_space.space import Point, Space

if TYPE_CHECKING:
    from nas.ledger import Ledger

CUSTOM = "custom"  # the family of what is no point of the space


@dataclass(frozen=True, slots=True)
class Proposal:
    """One proposal. ``topology`` is None where the point says it all.

    ``problem`` is what is wrong with it, found before a topology could be made. ``extra`` goes to the log with it.
    """

    point: Point
    source: str
    topology: Topology | None = None
    problem: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Later:
    """Nothing now, but to be asked again after so many seconds."""

    seconds: float


class Proposer(Protocol):
    """Comes before the sampler. What it proposes depends on the log, and on files where it says so."""

    def propose(self, ledger: "Ledger") -> Proposal | Later | None:
        """The next proposal; None where it has none now and the next proposer's turn has come."""
        ...


def from_outside(space: Space, topology: Topology, source: str, *, name: str = "", **extra: Any) -> Proposal:
    """A proposal of any topology: as a point of the space where it is one of its free wirings, which samplers read.

    Its family is "custom" otherwise; ``name`` then stands in the point, to tell such topologies apart.
    """
    point = wiring_point(space, topology)
    if point is None:
        named: dict[str, Value] = {"proposal": name} if name else {}
        point = Point.from_dict({"family": CUSTOM, "depth": topology.depth} | named)
    return Proposal(point, source, topology, extra=extra)
