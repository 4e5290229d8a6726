"""Topologies to and from networkx graphs, plain data and files. No file is ever executed."""

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphs import weights
from graphs.errors import TopologyError
from graphs.rules import MAX_DEPTH
from graphs.topology import Block, Mix, Norm, Op, Topology

if TYPE_CHECKING:
    import networkx as nx

FORMAT = "wireloom-topology-1"


def to_dict(topology: Topology) -> dict[str, Any]:
    """The JSON form; operations in the order in which they run."""
    from graphs.order import schedule

    return {
        "format": FORMAT,
        "family": topology.family,
        "settings": dict(topology.settings),
        "depth": topology.depth,
        "stem": topology.stem,
        "ops": [_op_to_dict(op) for op in schedule(topology)],
        "output": topology.output,
        "digest": topology.digest,
    }


def _op_to_dict(op: Op) -> dict[str, Any]:
    if isinstance(op, Block):
        data: dict[str, Any] = {"block": op.number, "reads": list(op.reads), "writes": op.writes}
        if op.ports != ("in",):
            data["ports"] = list(op.ports)
        if op.name != f"block{op.number}":
            data["name"] = op.name
        if op.hints:
            data["hints"] = {name: weights.number_text(value) for name, value in op.hints}
        return data
    data = {"mix": list(op.writes), "reads": list(op.reads), "weight": weights.to_dict(op.weight)}
    if op.keys:
        data["keys"] = list(op.keys)
    if op.norm is not None:
        data["norm"] = {"name": op.norm.name, "kind": op.norm.kind}
    return data


def from_dict(data: Any) -> Topology:
    """Read the JSON form; the digest, where given, must be that of the program."""
    if not isinstance(data, dict):
        raise TopologyError(f"a topology file holds a mapping, not {type(data).__name__}")
    _keys(data, "the topology", {"ops", "output", "depth"}, {"format", "family", "settings", "stem", "digest"})
    if data.get("format", FORMAT) != FORMAT:
        raise TopologyError(f"format is {data['format']!r}; this version reads {FORMAT!r}")
    ops = _of_type(data["ops"], list, "ops")
    settings = _of_type(data.get("settings", {}), dict, "settings")
    topology = Topology(
        tuple(_op_from_dict(op, f"ops[{i}]") for i, op in enumerate(ops)),
        output=_of_type(data["output"], str, "output"),
        depth=_of_type(data["depth"], int, "depth"),
        stem=_of_type(data.get("stem", "x0"), str, "stem"),
        family=_of_type(data.get("family", "custom"), str, "family"),
        settings=tuple(
            (_of_type(k, str, "settings"), _of_type(v, (bool, int, float, str), f"settings.{k}"))
            for k, v in settings.items()
        ),
    )
    if "digest" in data and data["digest"] != topology.digest:
        raise TopologyError(
            f"digest is {data['digest']!r}, but the program in this file has {topology.digest!r}; "
            "the file was edited: remove the digest if that was meant"
        )
    return topology


def _op_from_dict(data: Any, where: str) -> Op:
    if not isinstance(data, dict) or ("block" in data) == ("mix" in data):
        raise TopologyError(f"{where}: an operation is a mapping with either 'block' or 'mix'; got {data!r:.80}")
    if "block" in data:
        _keys(data, where, {"block", "reads", "writes"}, {"ports", "name", "hints"})
        return Block(
            number=_of_type(data["block"], int, f"{where}.block"),
            reads=_names(data["reads"], f"{where}.reads"),
            writes=_of_type(data["writes"], str, f"{where}.writes"),
            ports=_names(data.get("ports", ["in"]), f"{where}.ports"),
            name=_of_type(data.get("name", ""), str, f"{where}.name"),
            hints=tuple(
                (_of_type(name, str, f"{where}.hints"), weights.number(value, f"{where}.hints.{name}"))
                for name, value in _of_type(data.get("hints", {}), dict, f"{where}.hints").items()
            ),
        )
    _keys(data, where, {"mix", "reads", "weight"}, {"keys", "norm"})
    return Mix(
        _names(data["reads"], f"{where}.reads"),
        _names(data["mix"], f"{where}.mix"),
        weights.from_dict(data["weight"], f"{where}.weight"),
        _names(data.get("keys", []), f"{where}.keys"),
        _norm(data["norm"], f"{where}.norm") if "norm" in data else None,
    )


def _norm(data: Any, where: str) -> Norm:
    _keys(_of_type(data, dict, where), where, {"name"}, {"kind"})
    name = _of_type(data["name"], str, f"{where}.name")
    try:
        return Norm(name, _of_type(data.get("kind", "rms"), str, f"{where}.kind"))
    except TopologyError as error:
        raise TopologyError(f"{where}: {error}") from error


def _keys(data: dict[Any, Any], where: str, required: set[str], optional: set[str]) -> None:
    missing, unknown = required - set(data), set(data) - required - optional
    if missing:
        raise TopologyError(f"{where} lacks {', '.join(sorted(missing))}")
    if unknown:
        raise TopologyError(f"{where} has the unknown key {', '.join(map(repr, sorted(map(str, unknown))))}")


def _of_type(value: Any, kind: Any, where: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        name = kind.__name__ if isinstance(kind, type) else "plain value"
        raise TopologyError(f"{where} is {value!r:.80}; a {name} was expected")
    return value


def _names(value: Any, where: str) -> tuple[str, ...]:
    return tuple(_of_type(item, str, where) for item in _of_type(value, list, where))


def to_text(topology: Topology) -> str:
    """The JSON form as the text of a file, which any YAML reader takes too: to YAML 1.1 ``1e-05`` is a word."""
    return re.sub(r"(?m)(?<![\d.])(\d+)(e[-+]\d+,?)$", r"\1.0\2", json.dumps(to_dict(topology), indent=1)) + "\n"


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A mapping of JSON; the standard library would keep the last of two equal keys without a word."""
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _ in pairs]
        raise TopologyError(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return data


def read(path: Path) -> Topology:
    """Read a topology file written as JSON; TopologyError carries the file's name."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TopologyError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        return from_dict(json.loads(text, object_pairs_hook=_distinct))
    except json.JSONDecodeError as error:
        raise TopologyError(
            f"{path}:{error.lineno}: not JSON ({error.msg}); hand-written YAML is read by search_space.read_topology"
        ) from error
    except RecursionError as error:
        raise TopologyError(f"{path}: nested too deeply to be a topology") from error
    except TopologyError as error:
        raise TopologyError(f"{path}: {error}") from error
    except ValueError as error:  # a number of thousands of digits
        raise TopologyError(f"{path}: not a topology ({error})") from error


def write_text(path: Path, text: str) -> Path:
    """Write a whole file or nothing: a temporary neighbour, then a rename."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise TopologyError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def to_networkx(topology: Topology) -> "nx.DiGraph[Any]":
    """A bipartite DiGraph. Values are nodes named by their string, operations nodes ``("op", i)``.

    Node attributes: values have ``kind="value"``; operations have ``kind`` ``"block"`` (``number``, ``name``,
    ``ports``, ``hints``) or ``"mix"`` (``weight``, a rule; ``norm``, or None). Edges carry ``index``: the place
    among an operation's sources or outputs, or a tuple of places where a block reads one value at several ports;
    and ``key``, likewise, the place among a mix's keys. Graph attributes: ``stem``, ``output``, ``depth``,
    ``family``, ``settings``.
    """
    import networkx as nx  # late: it takes a third of a second, which those who only read files need not wait

    graph: nx.DiGraph[Any] = nx.DiGraph(
        stem=topology.stem,
        output=topology.output,
        depth=topology.depth,
        family=topology.family,
        settings=dict(topology.settings),
    )
    graph.add_node(topology.stem, kind="value")
    for i, op in enumerate(topology.ops):
        node = ("op", i)
        if isinstance(op, Block):
            graph.add_node(node, kind="block", number=op.number, name=op.name, ports=op.ports, hints=op.hints)
        else:
            graph.add_node(node, kind="mix", weight=op.weight, norm=op.norm)
        for value in dict.fromkeys(op.uses):
            graph.add_node(value, kind="value")
            graph.add_edge(value, node)
            for name, values in (("index", op.reads), ("key", op.keys if isinstance(op, Mix) else ())):
                places = tuple(index for index, other in enumerate(values) if other == value)
                if places:
                    graph.edges[value, node][name] = places if len(places) > 1 else places[0]
        for index, value in enumerate(op.outputs):
            graph.add_node(value, kind="value")
            graph.add_edge(node, value, index=index)
    return graph


def from_networkx(graph: "nx.DiGraph[Any]") -> Topology:
    """The inverse of :func:`to_networkx`; also any plain DAG over the integers 0..L+1."""
    import networkx as nx

    if not isinstance(graph, nx.DiGraph) or graph.is_multigraph():
        raise TopologyError(f"a networkx.DiGraph was expected, not {type(graph).__name__}; orient the edges of others")
    kinds = nx.get_node_attributes(graph, "kind")
    return _from_typed(graph) if kinds else _from_plain(graph)


def _from_typed(graph: "nx.DiGraph[Any]") -> Topology:
    missing = {"stem", "output", "depth"} - set(graph.graph)
    if missing:
        raise TopologyError(f"a typed graph lacks the graph attribute {', '.join(sorted(missing))}")
    ops: list[Op] = []
    for node, data in graph.nodes(data=True):
        if data.get("kind") != "value":
            try:
                ops.append(_typed_op(graph, node, data))
            except KeyError as error:
                raise TopologyError(f"node {node!r} or one of its edges lacks the attribute {error}") from error
    meta = graph.graph
    settings = tuple(meta.get("settings", {}).items())
    return Topology(tuple(ops), meta["output"], meta["depth"], meta["stem"], meta.get("family", "custom"), settings)


def _typed_op(graph: "nx.DiGraph[Any]", node: Any, data: dict[str, Any]) -> Op:
    def in_order(
        values: Iterable[Any], edge: Callable[[Any], tuple[Any, Any]], name: str = "index", other: str = ""
    ) -> tuple[Any, ...]:
        found = [(value, graph.edges[edge(value)]) for value in values]
        places = [
            (index, value)
            for value, data in found
            if name in data or other not in data
            for index in _indices(data[name])
        ]
        return tuple(value for _, value in sorted(places, key=lambda place: place[0]))

    kind = data.get("kind")
    reads = in_order(graph.predecessors(node), lambda value: (value, node), other="key")
    writes = in_order(graph.successors(node), lambda value: (node, value))
    if kind == "block" and len(writes) == 1:
        return Block(data["number"], reads, writes[0], data["ports"], data["name"], data.get("hints", ()))
    if kind == "mix":
        keys = in_order(graph.predecessors(node), lambda value: (value, node), "key", "index")
        return Mix(reads, writes, data["weight"], keys, data.get("norm"))
    raise TopologyError(f"node {node!r} has kind {kind!r} and {len(writes)} outputs; value, block or mix was expected")


def _indices(index: int | tuple[int, ...]) -> tuple[int, ...]:
    return index if isinstance(index, tuple) else (index,)


def _from_plain(graph: "nx.DiGraph[Any]") -> Topology:
    import networkx as nx

    nodes = set(graph.nodes)
    last = len(nodes) - 1
    if last < 2 or nodes != set(range(last + 1)):
        raise TopologyError(
            "a plain DAG has the integer nodes 0 (stem), 1..L (blocks), L+1 (output) without a gap; "
            f"got {sorted(map(str, nodes))[:12]}"
        )
    if last - 1 > MAX_DEPTH:
        raise TopologyError(f"a plain DAG of {last - 1} blocks; at most {MAX_DEPTH}")
    try:
        cycle = nx.find_cycle(graph)
    except nx.NetworkXNoCycle:
        cycle = []
    if cycle:
        raise TopologyError(
            f"a cycle: {' -> '.join(str(edge[0]) for edge in [*cycle, cycle[0]])}; a topology has no loops"
        )
    if graph.in_degree(0):
        raise TopologyError("node 0 is the stem and reads nothing; it has predecessors")
    if graph.out_degree(last):
        raise TopologyError(f"node {last} is the output and nobody reads it; it has successors")
    for i, j in graph.edges:
        if i > j:
            raise TopologyError(f"edge ({i}, {j}) runs backwards; number blocks in an order in which they can run")
    values = {0: "x0"}
    ops: list[Op] = []
    for node in range(1, last + 1):
        sources = sorted(graph.predecessors(node))
        if not sources:
            raise TopologyError(f"node {node} has no predecessor; every block and the output must be fed")
        row = [_edge_weight(graph, source, node) for source in sources]
        if row == [1]:
            read = values[sources[0]]
        else:
            read = f"u{node}"
            ops.append(Mix(tuple(values[source] for source in sources), (read,), weights.Constant((tuple(row),))))
        if node == last:
            return Topology(tuple(ops), read, last - 1, "x0", "custom")
        values[node] = f"y{node}"
        ops.append(Block(node, (read,), f"y{node}"))
    raise AssertionError("unreachable: the loop ends at the output")


def _edge_weight(graph: "nx.DiGraph[Any]", source: int, node: int) -> weights.Number:
    weight = graph.edges[source, node].get("weight", 1)
    if isinstance(weight, bool) or not isinstance(weight, int | float | Fraction):
        raise TopologyError(f"edge ({source}, {node}) has the weight {weight!r}; a number was expected")
    try:
        return weights.matrix([[weight]])[0][0]
    except TopologyError as error:
        raise TopologyError(f"edge ({source}, {node}): {error}") from error
