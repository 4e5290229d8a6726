"""Wirings taken from graphs: any network of networkx, and the random ones of RandWire.

Source of all: RandWire, arXiv 1904.01569, section 3.
"""

from collections.abc import Hashable
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

from graphs.builder import Builder
from graphs.errors import TopologyError
from graphs.families.arguments import choice, real, whole
from graphs.topology import Setting, Topology
from graphs.weights import Constant, Parameter, Sigmoid, ones

if TYPE_CHECKING:
    import networkx as nx

Sources = Literal["stem"]
Sinks = Literal["mean", "sum"]


def random(
    graph: "nx.Graph[Any]", *, sources: Sources = "stem", sinks: Sinks = "mean", learned: bool = True
) -> Topology:
    """Any graph as a topology: a node is a block, and block j reads ``u_j = sum_i sigmoid(w_ij) y_i`` over its edges.

    A DiGraph must have no cycles; an undirected graph's edges go from the earlier to the later node, in the graph's
    order. Nodes are numbered 1..L in topological order. A node without predecessor reads the stem; the output is the
    ``sinks``' mean or sum, a sink being a node without successor. With ``learned`` a node of several predecessors
    weighs each by a sigmoid of a learned number, started at 0, a weight of 1/2 (the paper says positive; the start is
    ours, and so is that a single edge has no weight). Without, it reads their sum. Attributes of edges are not read.

    Source: RandWire, arXiv 1904.01569, section 3.2 (node operations and input, output nodes).
    """
    choice("sources", sources, Sources)
    choice("sinks", sinks, Sinks)
    edges = _numbered(graph)
    listed = " ".join(f"{i}-{j}" for i, j in sorted(edges))
    settings: dict[str, Setting] = {"edges": listed, "sources": sources, "sinks": sinks, "learned": learned}
    return _wired(len(graph), edges, sinks, learned, "random", settings)


def erdos_renyi(depth: int, *, p: float = 0.2, seed: int = 0) -> Topology:
    """RandWire on an Erdos-Renyi graph: any two of the ``depth`` blocks are joined with probability ``p``.

    ``u_j = sum_i sigmoid(w_ij) y_i`` over the edges into block j, which come from smaller
    numbers; weights, stem and output are those of :func:`graphs.families.random`. The graph may fall apart;
    every part of it then reads the stem.

    Source: RandWire, arXiv 1904.01569, section 3.3 (ER(0.2) is its best).
    """
    import networkx as nx

    real("p", p, 0, 1)
    whole("seed", seed, 0)
    nodes = Builder(depth).depth
    return _drawn(nx.gnp_random_graph(nodes, p, seed=seed), "erdos_renyi", {"p": float(p), "seed": seed})


def watts_strogatz(depth: int, *, k: int = 4, p: float = 0.75, seed: int = 0) -> Topology:
    """RandWire on a Watts-Strogatz graph: a ring of ``depth`` blocks, each joined to the ``k`` / 2 nearest on either
    side, whose edges are then moved to a random end with probability ``p``.

    ``u_j = sum_i sigmoid(w_ij) y_i`` over the edges into block j, which come from smaller
    numbers; weights, stem and output are those of :func:`graphs.families.random`.

    Source: RandWire, arXiv 1904.01569, section 3.3 (WS(4, 0.75) is its best of all).
    """
    import networkx as nx

    nodes = Builder(depth).depth
    whole("k", k, 2, why="half of the neighbours are on either side")
    if k % 2 or k >= nodes:
        even = (nodes - 1) // 2 * 2
        instead = f"an even number from 2 to {even}" if even else "a depth of at least 3"
        raise TopologyError(f"k is {k} at depth {depth}: each block has k / 2 neighbours on either side; {instead}")
    real("p", p, 0, 1)
    whole("seed", seed, 0)
    graph = nx.watts_strogatz_graph(nodes, k, p, seed=seed)
    return _drawn(graph, "watts_strogatz", {"k": k, "p": float(p), "seed": seed})


def barabasi_albert(depth: int, *, m: int = 5, seed: int = 0) -> Topology:
    """RandWire on a Barabasi-Albert graph: ``m`` blocks without edges, then one after the other joined to m earlier
    ones, drawn by how many edges they have.

    ``u_j = sum_i sigmoid(w_ij) y_i`` over the edges into block j, which come from smaller
    numbers; weights, stem and output are those of :func:`graphs.families.random`. The first block to be
    added is joined to all m before it.

    Source: RandWire, arXiv 1904.01569, section 3.3 (BA(5) is its best).
    """
    import networkx as nx

    nodes = Builder(depth).depth
    whole("m", m, 1)
    if m >= nodes:
        instead = f"1 to {nodes - 1}" if nodes > 1 else "a depth of at least 2"
        raise TopologyError(f"m is {m} at depth {depth}: each later block is joined to m earlier ones; {instead}")
    whole("seed", seed, 0)
    star: nx.Graph[int] = nx.empty_graph(m + 1)  # the paper's second state; networkx would start with block 1 as hub
    star.add_edges_from((i, m) for i in range(m))
    graph = nx.barabasi_albert_graph(nodes, m, seed=seed, initial_graph=star)
    return _drawn(graph, "barabasi_albert", {"m": m, "seed": seed})


def _drawn(graph: "nx.Graph[Any]", family: str, settings: dict[str, Setting]) -> Topology:
    return _wired(len(graph), _numbered(graph), "mean", True, family, settings)


def _numbered(graph: "nx.Graph[Any]") -> list[tuple[int, int]]:
    """The edges between blocks 1..L, each from a smaller to a greater number."""
    import networkx as nx

    if not isinstance(graph, nx.Graph) or graph.is_multigraph():
        raise TopologyError(f"the graph is a {type(graph).__name__}; a networkx.Graph or DiGraph was expected")
    if not graph:
        raise TopologyError("the graph has no nodes; a topology has at least one block")
    given = {node: place for place, node in enumerate(graph)}
    if not isinstance(graph, nx.DiGraph):
        loops = list(nx.nodes_with_selfloops(graph))
        if loops:
            raise TopologyError(f"the graph joins node {loops[0]!r} to itself; a topology has no loops")
        return [(min(ends), max(ends)) for ends in ((given[a] + 1, given[b] + 1) for a, b in graph.edges)]
    order: dict[Hashable, int] = {}
    try:
        for node in nx.lexicographical_topological_sort(graph, key=given.__getitem__):
            order[node] = len(order) + 1
    except nx.NetworkXUnfeasible:
        cycle = [edge[0] for edge in nx.find_cycle(graph)]
        path = " -> ".join(map(str, [*cycle, cycle[0]]))
        raise TopologyError(f"the graph has a cycle: {path}; a topology has no loops") from None
    return [(order[a], order[b]) for a, b in graph.edges]


def _wired(
    depth: int, edges: list[tuple[int, int]], sinks: Sinks, learned: bool, family: str, settings: dict[str, Setting]
) -> Topology:
    build = Builder(depth)
    incoming: dict[int, list[int]] = {number: [] for number in range(1, depth + 1)}
    for i, j in sorted(edges):
        incoming[j].append(i)
    values = [build.stem]
    for number, before in incoming.items():
        read = values[before[0] if before else 0]
        if len(before) > 1:
            weight = Sigmoid(Parameter(f"edges{number}", ((0,) * len(before),))) if learned else ones(1, len(before))
            read = build.mix(f"u{number}", [values[i] for i in before], weight)
        values.append(build.block(number, read))
    ends = [values[number] for number in sorted(set(incoming) - {i for i, _ in edges})]
    share = Fraction(1, len(ends)) if sinks == "mean" else 1
    output = ends[0] if len(ends) == 1 else build.mix("out", ends, Constant(((share,) * len(ends),)))
    return build.topology(output, family, **settings)
