"""How much each edge of the trained winner matters: take one away, change nothing else, measure again. Needs torch."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from graphs import Topology, TopologyError
from graphs.model import CompiledModel
from nas.edges import Edge, Importance
from nas.evaluate import Classifier, dataset
from trainers.catalogue import Source
from trainers.data import Split
from trainers.metrics import evaluate as measure

MOST_EDGES = 200  # of the largest weights
MOST_SAMPLES = 1024  # of the validation split, spread evenly over it


def importance(model: Classifier, topology: Topology, data: str | Source) -> Importance:
    """Ablate each edge of a trained model on the validation split. Nothing is trained, the model stays as it was.

    An edge is an entry of the connection matrix at the trained weights: what a block or the output reads of an earlier
    output, however many sums and streams it goes through. Its share is subtracted from what is read, and everything
    behind follows. Where weights are computed per token there is no one such matrix, which is then the ``problem``.
    """
    try:
        if any(mix.weight.grain.parts != 1 for mix in topology.mixes):
            raise TopologyError("weights are finer than one number an edge")
        found = _edges(model, topology)
    except TopologyError as error:
        return Importance(topology.digest, problem=f"edges cannot be taken out one by one: {error}")
    found.sort(key=lambda edge: (-abs(edge[3]), edge[:3]))
    split = _part(dataset(data).validation)
    whole, loss = measure(model, split)
    edges = []
    for source, reader, port, weight in found[:MOST_EDGES]:
        with _without(model.body, topology, source, reader, port, weight):
            accuracy, worse = measure(model, split)
        edges.append(Edge(source, reader, port, weight, accuracy - whole, worse - loss))
    edges.sort(key=lambda edge: (edge.accuracy, -edge.loss, edge.source, edge.reader))
    return Importance(topology.digest, len(split.labels), whole, max(0, len(found) - MOST_EDGES), tuple(edges))


def _part(split: Split) -> Split:
    count = len(split.labels)
    if count <= MOST_SAMPLES:
        return split
    chosen = torch.arange(MOST_SAMPLES) * count // MOST_SAMPLES
    return Split(split.inputs[chosen], split.labels[chosen])


def _edges(model: Classifier, topology: Topology) -> list[tuple[int, int, str, float]]:
    """Source, reader (0: the output), port and weight of every edge that is not zero."""
    found: list[tuple[int, int, str, float]] = []
    body = model.body
    assert isinstance(body, CompiledModel), "what was compiled holds its matrix"
    blocks = {block.number: block for block in topology.blocks}
    for place, port in enumerate(dict.fromkeys(port for block in topology.blocks for port in block.ports)):
        matrix = body.matrix(port)
        for number, block in sorted(blocks.items()):
            if port in block.ports:
                row = matrix[number - 1]
                found += [(j, number, port, float(row[j])) for j in range(number) if row[j]]
        if not place:
            row = matrix[topology.depth]
            found += [(j, 0, "in", float(row[j])) for j in range(topology.depth + 1) if row[j]]
    return found


@contextmanager
def _without(body: nn.Module, topology: Topology, source: int, reader: int, port: str, weight: float) -> Iterator[None]:
    """The compiled ``body`` with one edge taken out, by hooks that are gone afterwards."""
    outputs: dict[int, Tensor] = {}
    blocks = body.blocks
    assert isinstance(blocks, nn.ModuleList), "a compiled model holds its blocks"

    def keep_stem(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        outputs[0] = args[0]

    def keep(_: nn.Module, args: object, result: Tensor | tuple[Tensor, ...]) -> None:
        outputs[source] = result[0] if isinstance(result, tuple) else result

    def read_less(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        place = next(block.ports.index(port) for block in topology.blocks if block.number == reader)
        return tuple(arg - weight * outputs[source] if n == place else arg for n, arg in enumerate(args))

    def give_less(_: nn.Module, args: object, result: Tensor) -> Tensor:
        less: Tensor = result - weight * outputs[source]
        return less

    handles = [body.register_forward_pre_hook(keep_stem)]
    if source:
        handles.append(blocks[source - 1].register_forward_hook(keep))
    if reader:
        handles.append(blocks[reader - 1].register_forward_pre_hook(read_less))
    else:
        handles.append(body.register_forward_hook(give_less))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
