"""A short hand for writing families: each call appends one operation and returns the value it wrote."""

from collections.abc import Mapping, Sequence

from graphs.errors import TopologyError
from graphs.rules import MAX_DEPTH
from graphs.topology import Block, Mix, Norm, Op, Setting, Topology
from graphs.weights import Number, Weight, ones, row


class Builder:
    """Collects the operations of one topology. Block outputs are ``y1, y2, ...``, mixes name their own."""

    def __init__(self, depth: int) -> None:
        if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
            raise TopologyError(f"depth is {depth!r}; a topology has at least one block")
        if depth > MAX_DEPTH:  # before a family writes them all
            raise TopologyError(f"depth is {depth}; at most {MAX_DEPTH} blocks")
        self.depth = depth
        self.stem = "x0"
        self._ops: list[Op] = []

    def block(self, number: int, value: str, hints: Mapping[str, Number] | None = None) -> str:
        """Block ``number`` reads ``value``; returns its output. ``hints``: what the method changes inside it."""
        self._ops.append(Block(number, (value,), f"y{number}", hints=tuple(hints.items()) if hints else ()))
        return f"y{number}"

    def ported(self, number: int, reads: Mapping[str, str], hints: Mapping[str, Number] | None = None) -> str:
        """Block ``number`` reads one value per port, in this order; returns its output."""
        pairs = tuple((hints or {}).items())
        self._ops.append(Block(number, tuple(reads.values()), f"y{number}", tuple(reads), hints=pairs))
        return f"y{number}"

    def mix(
        self, name: str, sources: Sequence[str], weight: Weight, keys: Sequence[str] = (), norm: Norm | None = None
    ) -> str:
        """One output named ``name``; a weight of shape (1, k), computed from ``keys`` if it is per token."""
        self._ops.append(Mix(tuple(sources), (name,), weight, tuple(keys), norm))
        return name

    def mixes(
        self, names: Sequence[str], sources: Sequence[str], weight: Weight, keys: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """Several outputs; a weight of shape (m, k)."""
        self._ops.append(Mix(tuple(sources), tuple(names), weight, tuple(keys)))
        return tuple(names)

    def add(self, name: str, *sources: str) -> str:
        """The plain sum of ``sources``."""
        return self.mix(name, sources, ones(1, len(sources)))

    def weighted(self, name: str, sources: Sequence[str], weights: Sequence[float]) -> str:
        """A sum with fixed weights."""
        return self.mix(name, sources, row(tuple(weights)))

    def topology(self, output: str, family: str, /, **settings: Setting) -> Topology:
        """The finished topology; ``settings`` record the family's parameters."""
        return Topology(tuple(self._ops), output, self.depth, self.stem, family, tuple(settings.items()))


def sites(depth: int, period: int) -> list[range]:
    """The block numbers of each site when ``period`` sub-layers make one published block; the last may be short."""
    if isinstance(period, bool) or not isinstance(period, int) or period < 1:
        raise TopologyError(f"period is {period!r}; a site has at least one block")
    return [range(first, min(first + period, depth + 1)) for first in range(1, depth + 1, period)]
