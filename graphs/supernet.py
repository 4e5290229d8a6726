"""A gated super-network: every block reads every earlier output through a gate, and what is left when gates decide."""

from collections.abc import Mapping, Sequence
from typing import Literal

from graphs.builder import Builder
from graphs.dag import dag
from graphs.errors import TopologyError
from graphs.families.arguments import choice, whole
from graphs.topology import Topology
from graphs.weights import Matrix, Parameter, Softmax, TopK, Weight, evaluate
from graphs.weights.leaves import checked_positive

Kind = Literal["softmax", "learned", "top_k"]
Gates = tuple[tuple[float, ...], ...]


def supernet(depth: int, *, kind: Kind = "softmax", temperature: float = 0.1, fan_in: int = 3) -> Topology:
    """``u_j = sum_{i<j} g_ji y_i`` for each block j and for the output: a gate on every edge of the complete DAG.

    ``softmax``: ``g_j = softmax(c_j / temperature)`` from equal logits, as ANCRe's gates (arXiv 2602.09009), but on the
    blocks' own outputs, so that a gate is an edge. ``learned``: a plain weight an edge, started at one, as in the
    residual network. ``top_k``: weight one for the ``fan_in`` sources of each reader with the greatest of these softmax
    gates, of equal ones the latest, and zero for the others; backward the gradient is the dense softmax's, straight
    through. So what is trained is the network that :func:`discretised` leaves without ``chain``. Block 1 reads the
    stem, without a gate.
    """
    choice("kind", kind, Kind)
    tau = checked_positive("temperature", temperature)
    whole("fan_in", fan_in, 1, why="every reader reads something")
    build = Builder(depth)
    outputs = [build.stem]
    for node in range(1, depth + 2):
        value = outputs[0] if node == 1 else build.mix(f"u{node}", outputs, _gate(node, kind, tau, fan_in))
        outputs.append(value if node == depth + 1 else build.block(node, value))
    more = {"fan_in": fan_in} if kind == "top_k" else {}
    return build.topology(outputs[-1], "supernet", kind=kind, temperature=tau, **more)


def _gate(node: int, kind: Kind, tau: float, fan_in: int) -> Weight:
    if kind == "learned":
        return Parameter(f"gates{node}", ((1,) * node,))
    soft = Softmax(Parameter(f"gates{node}", ((0,) * node,)), tau)
    return TopK(soft, min(fan_in, node)) if kind == "top_k" else soft


def gate_parameters(topology: Topology) -> tuple[str, ...]:
    """The names of a super-network's parameters, a row each, in the order of their readers."""
    return tuple(f"gates{node}" for node in range(2, topology.depth + 2))


def gates_of(topology: Topology, values: Mapping[str, Matrix]) -> Gates:
    """The gates at given parameters: row r is what node r + 1 gives outputs 0 .. r; the last row is the output's.

    Where they are chosen by rank, the softmax gates that are ranked.
    """
    gates = [mix.weight.of if isinstance(mix.weight, TopK) else mix.weight for mix in topology.mixes]
    rows = [tuple(float(entry) for entry in evaluate(gate, values)[0]) for gate in gates]
    return ((1.0,), *rows)


def discretised(gates: Sequence[Sequence[float]], fan_in: int, *, chain: bool = True) -> Topology:
    """Each reader's ``fan_in`` edges of the greatest gates by magnitude, with weight one; ties go to the later output.

    With ``chain`` the edge from the output just before is always one of them, so that no block is left out.
    """
    whole("fan_in", fan_in, 1, why="every reader reads something")
    edges = []
    for reader, row in enumerate(gates, start=1):
        if len(row) != reader:
            raise TopologyError(
                f"the gates of node {reader} are {len(row)}; one for each of {reader} outputs was expected"
            )
        forced = reader - 1 if chain else -1
        strength = [(i != forced, -abs(gate), -i) for i, gate in enumerate(row)]
        ranked = sorted(range(reader), key=strength.__getitem__)
        edges += [(i, reader) for i in ranked[:fan_in]]
    return dag(len(gates) - 1, edges)
