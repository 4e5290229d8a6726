"""What our own samplers know of the past."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from nas.front import nondominated_sort
from nas.records import Status
from nas.sampling import Told
from search_space.space import Point

Rank = Callable[[Sequence[float]], tuple[float, ...]]  # objectives to a vector to be minimised
Identify = Callable[[Point], str | None]  # the digest of a point that may be trained


@dataclass(frozen=True)
class Known:
    """The asks so far, in order."""

    history: Sequence[Told]

    def count(self, source: str) -> int:
        """How many of them came from a source."""
        return sum(told.source == source for told in self.history)

    @cached_property
    def digests(self) -> frozenset[str]:
        """The topologies that were asked for, whatever became of them."""
        return frozenset(told.digest for told in self.history)

    def is_new(self, digest: str | None) -> bool:
        """Whether a digest is that of a topology which may be trained and was not asked for."""
        return digest is not None and digest not in self.digests

    @cached_property
    def complete(self) -> tuple[Told, ...]:
        """Those trained on their full budget: the only ones that may be ranked, and with each other alone."""
        return tuple(
            told
            for told in self.history
            if told.status is Status.COMPLETE and told.values is not None and all(map(math.isfinite, told.values))
        )


def ranks(told: Sequence[Told], rank: Rank) -> list[int]:
    """The front each one is on: 0 is the best."""
    return nondominated_sort([rank(one.values or ()) for one in told])
