"""What our own samplers know of the past."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

from nas.front import nondominated_sort
from nas.records import Status
from nas.sampling import Told
from search_space.space import Point

Rank = Callable[[Sequence[float]], tuple[float, ...]]  # objectives to a vector to be minimised
Identify = Callable[[Point], str | None]  # the digest of a point that may be trained


class Known:
    """The asks so far, in order. What never changes of them is worked out once, however many there are."""

    def __init__(self, history: Sequence[Told] = ()) -> None:
        self.history: Sequence[Told] = ()
        self._counts: Counter[str] = Counter()
        self._digests: set[str] = set()
        self.update(history)

    def update(self, history: Sequence[Told]) -> "Known":
        """Take in a history that goes on from the last one: more asks, and what became of those before."""
        for told in history[self._counts.total() :]:
            self._counts[told.source] += 1
            self._digests.add(told.digest)
        self.history = history
        return self

    def count(self, source: str) -> int:
        """How many of them came from a source."""
        return self._counts[source]

    def is_new(self, digest: str | None) -> bool:
        """Whether a digest is that of a topology which may be trained and was not asked for."""
        return digest is not None and digest not in self._digests

    @property
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
