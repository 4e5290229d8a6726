"""A backbone in parts: a stem, blocks without skips, and a head; the wiring comes from elsewhere."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from trainers.hints import PLAIN, BlockHints
from trainers.initial import initialise


@dataclass(frozen=True)
class Backbone:
    """stem: inputs -> x0 (batch, tokens, dim); blocks keep that shape; head: that -> logits.

    Logits are (batch, classes), of text (batch, context, classes). `hints[l - 1]` are those of block l. What they
    change in a block's forward pass is built into the block, which defines its linear maps in the order of use.
    `start` gives one part its seeded weights.
    """

    stem: nn.Module
    blocks: tuple[nn.Module, ...]
    head: nn.Module
    names: tuple[str, ...]
    hints: tuple[BlockHints, ...]
    start: Callable[..., None] = initialise

    def parts(self) -> Iterator[tuple[str, nn.Module]]:
        """Every part with its name: "stem", "block1" to "blockL", "head"."""
        yield "stem", self.stem
        yield from zip(self.names, self.blocks, strict=True)
        yield "head", self.head

    def initialise(self, seed: int) -> None:
        """Give every part, in place, the weights that belong to this seed and the part's name, scaled by its hints."""
        hints = dict(zip(self.names, self.hints, strict=True))
        for name, module in self.parts():
            hint = hints.get(name, PLAIN)
            self.start(
                module,
                seed=seed,
                name=name,
                inner_scale=hint.init_scale * hint.inner_init_scale,
                output_scale=hint.init_scale * hint.output_init_scale,
            )

    def set_rates(self) -> None:
        """Mark each block's weight matrices with the attributes that `trainers.loop` reads: `lr_scale`, `eps_scale`."""
        for block, hint in zip(self.blocks, self.hints, strict=True):
            for name, scale in (("lr_scale", hint.lr_scale), ("eps_scale", hint.eps_scale)):
                for parameter in block.parameters():
                    if parameter.ndim >= 2 and scale != 1.0:
                        setattr(parameter, name, scale)
