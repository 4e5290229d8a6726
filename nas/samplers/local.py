"""Local search on the front: a new neighbour of a point that nobody beats.

Source: White et al., arXiv 2005.02960, for one objective; here the current front takes the place of the best point.
"""

import random
from collections.abc import Iterable

from nas.proposal import CUSTOM
from nas.samplers.known import Identify, Known, Rank, ranks
from nas.samplers.stratified import Stratified
from nas.sampling import Told
from search_space.neighbours import neighbours
from search_space.space import Point, Space

SOURCE = "local"
WARM_UP = 10  # complete trials, baselines included, before the front is worth a search around it


class Local:
    """Stratified draws first; then one step from a member of the front, in random order, to a topology never asked for.

    Where the front has no new neighbour left, a stratified draw again.
    """

    def __init__(self, space: Space, warm: Stratified, rank: Rank, identify: Identify) -> None:
        self.space = space
        self.warm = warm
        self.rank = rank
        self.identify = identify

    def __call__(self, rng: random.Random, known: Known) -> tuple[Point, str]:
        """The next point."""
        complete = known.complete
        if len(complete) < WARM_UP:
            return self.warm(rng, known)
        places = ranks(complete, self.rank)
        front = [told for told, place in zip(complete, places, strict=True) if place == 0]
        rng.shuffle(front)
        found = new_neighbour(self.space, front, known, self.identify, rng)
        return self.warm(rng, known) if found is None else (found, SOURCE)


def new_neighbour(
    space: Space, around: Iterable[Told], known: Known, identify: Identify, rng: random.Random
) -> Point | None:
    """A neighbour of the first of ``around`` that has one which may be trained and was never asked for."""
    for told in around:
        if told.point.family == CUSTOM:  # not of this space, so that it has no neighbours in it
            continue
        for point in neighbours(space, told.point, rng):
            if known.is_new(identify(point)):
                return point
    return None
