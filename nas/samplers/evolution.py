"""Regularised (ageing) evolution with several objectives.

Source: Real et al., arXiv 1802.01548; the tournament goes by fronts, as in Syne Tune's multi-objective form.
"""

import random

from nas.samplers.known import Identify, Known, Rank, ranks
from nas.samplers.local import new_neighbour
from nas.samplers.stratified import Stratified
from search_space.space import Point, Space

SOURCE = "evolution"


class Evolution:
    """The population is the ``population`` complete trials asked for last: what is old dies, however lucky it was.

    A parent is the best by fronts of ``tournament`` members drawn at random, ties at random; its child is one step
    from it, a topology that was never asked for. Stratified draws fill the first population.
    """

    def __init__(
        self, space: Space, warm: Stratified, rank: Rank, identify: Identify, population: int, tournament: int
    ) -> None:
        self.space = space
        self.warm = warm
        self.rank = rank
        self.identify = identify
        self.population = population
        self.tournament = tournament

    def __call__(self, rng: random.Random, known: Known) -> tuple[Point, str]:
        """The next point."""
        complete = known.complete
        if len(complete) < self.population:
            return self.warm(rng, known)
        alive = complete[-self.population :]
        places = ranks(alive, self.rank)
        drawn = rng.sample(range(len(alive)), min(self.tournament, len(alive)))
        drawn.sort(key=lambda one: places[one])  # stable: ties stay in the order of the draw
        found = new_neighbour(self.space, [alive[one] for one in drawn], known, self.identify, rng)
        return self.warm(rng, known) if found is None else (found, SOURCE)
