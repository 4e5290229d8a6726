"""The point of a space that a topology from elsewhere is, so that samplers can learn from it."""

from graphs.dag import edges_of
from graphs.topology import Topology
from search_space.point import Answers, Point, Value
from search_space.space import Space
from search_space.wiring import WIRING, gate, priority


def wiring_point(space: Space, topology: Topology) -> Point | None:
    """The point of the declared free wiring that is this very topology; None where there is none."""
    family = next((one for one in space.families if one.name == WIRING), None)
    depth = topology.depth
    if family is None or family.encoding is None or depth not in (space.depth.every() or ()):
        return None
    found = edges_of(topology)
    if found is None or any(weight != 1 for weight in found.values()):
        return None
    extra = {edge for edge in found if edge[1] - edge[0] >= 2}
    values: dict[str, Value] = {f"{WIRING}.{name}": domain.nearest(False) for name, domain in family.domains}
    values |= {f"{WIRING}.edges": len(extra)}
    values |= {priority(edge, depth): 1.0 for edge in extra} | {gate(edge, depth): 1.0 for edge in extra}
    try:
        point = family.point(depth, Answers(values, otherwise=0.0))
        same = space.topology(point).digest == topology.digest
    except ValueError:  # the budget, the in-degree or a gate is not one of this space
        return None
    return point if same else None
