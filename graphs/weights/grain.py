"""How finely a weight looks at the channels of a hidden state."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from graphs.errors import TopologyError


@dataclass(frozen=True, slots=True)
class Grain:
    """What one entry of a weight matrix is, for hidden states of d channels.

    The channels are cut into ``parts`` equal runs (None: every channel is a part). An entry scales each part, a
    vector of ``parts`` numbers (``parts=1``: one scalar); with ``full`` it mixes them, a parts x parts matrix,
    destination first, that acts alike on each offset inside the parts.
    """

    parts: int | None = 1
    full: bool = False

    def __post_init__(self) -> None:
        whole = isinstance(self.parts, int) and not isinstance(self.parts, bool)
        if self.parts is not None and not (whole and self.parts >= 1):
            raise TopologyError(f"a grain of {self.parts!r} parts; at least 1, or none for one part per channel")
        if self.parts == 1 and self.full:  # a 1 x 1 matrix is a scalar
            object.__setattr__(self, "full", False)

    def width(self, dim: int) -> int:
        """Number of parts of ``dim`` channels; TopologyError where they do not come out even."""
        parts = dim if self.parts is None else self.parts
        if dim % parts:
            raise TopologyError(f"{dim} channels cannot be cut into {parts} equal parts")
        return parts

    def size(self, dim: int) -> int:
        """Numbers in one entry."""
        return self.width(dim) ** (2 if self.full else 1)

    def flops(self, dim: int) -> int:
        """FLOPs of one learned edge per token: a multiplication and an addition for each product of channels."""
        return 2 * dim * (self.width(dim) if self.full else 1)

    def __str__(self) -> str:
        if self == SCALAR:
            return "scalar"
        if self.parts is None:
            return "matrix" if self.full else "channel"
        return f"fraction {self.parts}" if self.full else f"parts {self.parts}"

    @classmethod
    def read(cls, text: object) -> "Grain":
        """The inverse of ``str``; TopologyError for anything else."""
        named = {"scalar": SCALAR, "channel": CHANNEL, "matrix": MATRIX}
        if isinstance(text, str):
            if text in named:
                return named[text]
            kind, _, parts = text.partition(" ")
            if kind in ("fraction", "parts") and re.fullmatch("[1-9][0-9]{0,5}", parts):
                return cls(int(parts), kind == "fraction")
        raise TopologyError(f"grain {text!r:.80}; one of scalar, channel, matrix, 'fraction N', 'parts N' was expected")


SCALAR = Grain()
CHANNEL = Grain(None)
MATRIX = Grain(None, full=True)


def join(grains: Iterable[Grain]) -> Grain:
    """The coarsest grain that can hold entries of all of these."""
    every = list(grains)
    if all(grain is SCALAR for grain in every):
        return SCALAR
    parts = [grain.parts for grain in every if grain.parts is not None]
    return Grain(math.lcm(*parts) if len(parts) == len(every) else None, any(grain.full for grain in every))
