"""Every point of a small space, each once."""

import random
from functools import cached_property

from nas.samplers.known import Known
from search_space.enumeration import points
from search_space.space import Point, Space

SOURCE = "exhaustive"
MOST = 10_000  # points; beyond that no search comes to all of them


class Exhaustive:
    """Proposes every point in an order drawn from the seed, so that a search that stops early has seen all parts.

    Every point is asked for and so has its line in the log: trained, a repeat of another, or rejected with a reason.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self.space = space
        self.seed = seed

    def __call__(self, rng: random.Random, known: Known) -> tuple[Point, str] | None:
        """The next point, or None after the last."""
        done = known.count(SOURCE)
        return (self.order[done], SOURCE) if done < len(self.order) else None

    @cached_property
    def order(self) -> list[Point]:
        """Every point of the space once."""
        found = list(points(self.space))
        random.Random(f"{self.seed}/{SOURCE}").shuffle(found)
        return found
