"""Random search that is even over families and numbers of edges.

Fair bits would almost never draw a sparse network: at 55 optional edges one of 8 or fewer comes up 4 times in 10^8.
"""

import random
from collections.abc import Sequence

from nas.samplers.known import Identify, Known
from search_space.point import Answers, RandomSuggest, Value
from search_space.space import Point, Space

SOURCE = "stratified"
TRIES = 20  # draws in a stratum before one that is known, illegal or over a limit is proposed all the same


class Stratified:
    """Takes every stratum (a family and a number of free edges) once in random order, then all once more.

    The depth is uniform over those that hold so many edges, everything else uniform at that depth.
    """

    def __init__(self, space: Space, seed: int, identify: Identify) -> None:
        self.space = space
        self.seed = seed
        self.identify = identify
        self.depths = tuple(int(depth) for depth in space.depth.every() or ())
        # Of each family: at each depth how many edges there can be, and the least budget for so many.
        self._counts = [
            {} if family.edges is None else {depth: family.edges.counts(depth) for depth in self.depths}
            for family in space.families
        ]
        self.strata = tuple((place, edges) for place in range(len(space.families)) for edges in self._numbers(place))
        self._turn: tuple[int, Sequence[tuple[int, int | None]]] = -1, ()  # the last one, and its order

    def __call__(self, rng: random.Random, known: Known) -> tuple[Point, str]:
        """A point of the next stratum: one whose topology is new and may be trained, if a few draws find one."""
        turn, place = divmod(known.count(SOURCE), len(self.strata))
        stratum = self._order(turn)[place]
        for _ in range(TRIES):
            point = self._draw(*stratum, rng)
            if known.is_new(self.identify(point)):
                break
        return point, SOURCE

    def _order(self, turn: int) -> Sequence[tuple[int, int | None]]:
        """The strata as they come in a turn."""
        if self._turn[0] != turn:
            order = list(self.strata)
            random.Random(f"{self.seed}/strata/{turn}").shuffle(order)
            self._turn = turn, order
        return self._turn[1]

    def _numbers(self, place: int) -> Sequence[int | None]:
        counts = self._counts[place]
        return sorted({number for found in counts.values() for number in found}) if counts else (None,)

    def _draw(self, place: int, edges: int | None, rng: random.Random) -> Point:
        family, counts = self.space.families[place], self._counts[place]
        if family.edges is None or edges is None:
            return family.point(rng.choice(self.depths), RandomSuggest(rng))
        depth = rng.choice([depth for depth in self.depths if edges in counts[depth]])
        return family.point(depth, _Budget(rng, f"{family.edges.layer}.edges", counts[depth][edges]))


class _Budget(RandomSuggest):
    """Answers at random, but for the budget of edges."""

    def __init__(self, rng: random.Random, name: str, budget: int) -> None:
        super().__init__(rng)
        self._name = name
        self._budget = Answers({name: budget})

    def integer(self, name: str, low: int, high: int, *, log: bool = False, step: int = 1) -> int:
        if name == self._name:
            return self._budget.integer(name, low, high, log=log, step=step)
        return super().integer(name, low, high, log=log, step=step)

    def choice(self, name: str, options: Sequence[Value]) -> Value:
        return self._budget.choice(name, options) if name == self._name else super().choice(name, options)
