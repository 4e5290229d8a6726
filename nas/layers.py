"""Whole fronts of vectors that come one by one: who is at which place, without sorting everybody again each time."""

import bisect
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from nas.front import check, dominates, first_free, nondominated_sort

Entry = tuple[float, int, tuple[float, ...]]  # the first objective, the trial, all objectives


class Layers:
    """Vectors to be minimised by trial number, held as fronts: 0 is what nobody beats, 1 the front of the rest.

    A new vector goes to the first front that does not beat it and pushes what it beats there one front down, which
    pushes further in turn (efficient non-dominated level update, Li et al. 2017). The order of everybody is by front,
    then by the first objective, then by number.
    """

    def __init__(self, vectors: Mapping[int, Sequence[float]] | None = None) -> None:
        self._vectors = {number: tuple(vector) for number, vector in (vectors or {}).items()}
        # Many at once are sorted: taken in one by one, each may push others down through every front.
        ranks = nondominated_sort([*self._vectors.values()])
        self._fronts: list[list[Entry]] = [[] for _ in range(max(ranks, default=-1) + 1)]
        for rank, (number, new) in zip(ranks, self._vectors.items(), strict=True):
            self._fronts[rank].append((new[0], number, new))
        for front in self._fronts:
            front.sort()

    def __len__(self) -> int:
        return len(self._vectors)

    def __iter__(self) -> Iterator[int]:
        """Trial numbers, the best first."""
        return (number for _, number, _ in itertools.chain.from_iterable(self._fronts))

    def __contains__(self, number: object) -> bool:
        return number in self._vectors

    def __getitem__(self, number: int) -> tuple[float, ...]:
        return self._vectors[number]

    def add(self, number: int, vector: Sequence[float]) -> None:
        """Take a trial in; one that is there already with another vector takes its new place. ValueError on NaN."""
        check(vector)
        new = tuple(vector)
        if number in self._vectors:
            if self._vectors[number] == new:
                return
            rest = {one: old for one, old in self._vectors.items() if one != number}
            self._fronts = Layers(rest)._fronts
        self._vectors[number] = new
        place = first_free(self._fronts, lambda front: _beaten(front, new))
        moved: list[Entry] = [(new[0], number, new)]
        while moved:
            if place == len(self._fronts):
                self._fronts.append([])
            front = self._fronts[place]
            down = [one for one in front if any(dominates(new, one[2]) for _, _, new in moved)]
            if down:
                gone = {number for _, number, _ in down}
                front[:] = [one for one in front if one[1] not in gone]
            for one in moved:
                bisect.insort(front, one)
            moved, place = down, place + 1

    def front(self) -> Iterator[int]:
        """Those that nobody beats, in their order."""
        return (number for _, number, _ in itertools.chain.from_iterable(self._fronts[:1]))

    def rank(self, number: int) -> int:
        """The front of a trial."""
        vector = self._vectors[number]
        return first_free(self._fronts, lambda front: _beaten(front, vector))

    def place(self, number: int) -> int:
        """How many are before a trial."""
        rank, vector = self.rank(number), self._vectors[number]
        return sum(map(len, self._fronts[:rank])) + bisect.bisect_left(self._fronts[rank], (vector[0], number, vector))

    def best(self, keep: float) -> Iterator[int]:
        """The best share of all, rounded up, in their order."""
        return itertools.islice(self, math.ceil(keep * len(self)))

    def goes_on(self, number: int, keep: float) -> bool:
        """Whether nobody beats a trial, or it is among the best share (stopping form of MO-ASHA, arXiv 2106.12639)."""
        return self.rank(number) == 0 or self.place(number) < math.ceil(keep * len(self))


def _beaten(front: Sequence[Entry], vector: tuple[float, ...]) -> bool:
    # Members stand by their first axis; with two axes the last that is no larger there has the least second one.
    behind = bisect.bisect_right(front, vector[0], key=lambda one: one[0])
    if len(vector) <= 2:
        return behind > 0 and dominates(front[behind - 1][2], vector)
    return any(dominates(one, vector) for _, _, one in front[:behind])
