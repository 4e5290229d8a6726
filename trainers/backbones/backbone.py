"""A backbone in parts: a stem, blocks without skips, and a head; the wiring comes from elsewhere."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from trainers.initial import initialise


@dataclass(frozen=True)
class Backbone:
    """stem: images -> x0 (batch, tokens, dim); blocks keep that shape; head: that -> (batch, classes)."""

    stem: nn.Module
    blocks: tuple[nn.Module, ...]
    head: nn.Module
    names: tuple[str, ...]

    def parts(self) -> Iterator[tuple[str, nn.Module]]:
        """Every part with its name: "stem", "block1" to "blockL", "head"."""
        yield "stem", self.stem
        yield from zip(self.names, self.blocks, strict=True)
        yield "head", self.head

    def initialise(self, seed: int) -> None:
        """Give every part, in place, the weights that belong to this seed and the part's name."""
        for name, module in self.parts():
            initialise(module, seed=seed, name=name)
