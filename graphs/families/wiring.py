"""Free wiring: a chain of blocks with any set of extra edges."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from graphs.builder import Builder
from graphs.errors import TopologyError
from graphs.families.arguments import real
from graphs.topology import Topology
from graphs.weights import Parameter, row

NO_WEIGHTS: Mapping[tuple[int, int], float] = MappingProxyType({})


def wiring(
    depth: int,
    *,
    edges: Collection[tuple[int, int]] = (),
    weights: Mapping[tuple[int, int], float] = NO_WEIGHTS,
    learned: bool = False,
) -> Topology:
    """A chain 0, 1, .., L, L+1 (0 the stem, L+1 the output) with extra ``edges`` ``(i, j)``, ``j - i >= 2``.

    A node reads the sum of its predecessors' outputs, ``u_j = sum_i w_ij y_i``; with ``learned`` every edge into a
    node of several predecessors has a weight, started at one, and otherwise all weights are one. All edges together
    are the residual network, the edges into L+1 alone are ``to_output``. ``weights`` are those of extra edges that are
    not one, or, with ``learned``, where they start.

    Source: the general form of RandWire, arXiv 1904.01569, with its chain kept.
    """
    build = Builder(depth)
    if not isinstance(edges, Collection):
        raise TopologyError(f"edges is {edges!r}; a list of pairs of node numbers was expected, such as [(0, 2)]")
    incoming: dict[int, set[int]] = {node: {node - 1} for node in range(1, depth + 2)}
    for edge in edges:
        i, j = _checked(edge, depth)
        if i in incoming[j]:
            raise TopologyError(f"edge ({i}, {j}) is listed twice")
        incoming[j].add(i)
    for edge, weight in weights.items():
        if edge not in edges:
            raise TopologyError(f"weights has the edge {edge!r}, which is not among edges")
        real(f"the weight of edge {edge!r}", weight)
    values = [build.stem]
    for node in range(1, depth + 2):
        before = sorted(incoming[node])
        sources = [values[i] for i in before]
        entries = tuple(weights.get((i, node), 1) for i in before) if weights else (1,) * len(before)
        if len(sources) == 1:
            read = sources[0]
        elif learned:
            read = build.mix(f"u{node}", sources, Parameter(f"edges{node}", (entries,)))
        else:
            read = build.mix(f"u{node}", sources, row(entries))
        if node == depth + 1:
            gates = {"weights": " ".join(f"{i}-{j}:{weights[i, j]:g}" for i, j in sorted(weights))} if weights else {}
            return build.topology(read, "wiring", edges=_text(edges), **gates, learned=learned)
        values.append(build.block(node, read))
    raise AssertionError("unreachable: the loop ends at the output")


def candidates(depth: int) -> tuple[tuple[int, int], ...]:
    """Every edge that :func:`wiring` may add at this depth, ``depth (depth + 1) / 2`` of them, in fixed order."""
    return tuple((i, j) for j in range(2, depth + 2) for i in range(j - 1))


def _checked(edge: Sequence[int], depth: int) -> tuple[int, int]:
    pair = tuple(edge) if type(edge) is tuple or isinstance(edge, Sequence) else ()
    if [*map(type, pair)] != [int, int]:
        raise TopologyError(f"edge {edge!r} is not a pair of node numbers")
    i, j = pair
    if i < 0 or not i + 2 <= j <= depth + 1:
        raise TopologyError(
            f"edge ({i}, {j}): an extra edge goes from i to j >= i + 2, within 0 (stem) .. {depth + 1} (output)"
        )
    return i, j


def _text(edges: Collection[tuple[int, int]]) -> str:
    return " ".join(f"{i}-{j}" for i, j in sorted(tuple(edge) for edge in edges))
