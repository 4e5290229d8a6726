"""What proposes points. Each is a function of the seed, the number of the ask and the log, and of nothing else.

Optuna's samplers are in ``nas.sampling``; those here are our own and need nothing.
"""

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from nas.samplers.evolution import Evolution
from nas.samplers.exhaustive import Exhaustive
from nas.samplers.known import Known, Rank
from nas.samplers.local import Local
from nas.samplers.stratified import Stratified
from nas.sampling import Goal, Proposer, Told
from search_space.space import Point, Space

if TYPE_CHECKING:
    from nas.experiment import Search

OWN = ("stratified", "exhaustive", "local", "evolution")


class Sampler(Protocol):
    """Proposes the next point."""

    def propose(self, ask: int, history: Sequence[Told]) -> tuple[Point, str] | None:
        """The point of ask number ``ask`` and where it came from; None where nothing is left to propose."""
        ...


def sampler_of(
    search: "Search",
    space: Space,
    *,
    seed: int,
    rank: Rank,
    goals: Sequence[Goal],
    identify: Callable[[Point], str | None],
) -> Sampler:
    """The sampler that an experiment asks for.

    ``rank`` turns objectives into a vector to be minimised; ``identify`` gives the digest of a point that may be
    trained, and None for one that may not.
    """
    if search.sampler not in OWN:
        return Proposer(
            space,
            goals=goals,
            sampler=search.sampler,
            seed=seed,
            random_share=search.random_share,
            population=search.population,
        )
    warm = Stratified(space, seed, identify)
    choose: Choose = warm
    if search.sampler == "exhaustive":
        choose = Exhaustive(space, seed)
    elif search.sampler == "local":
        choose = Local(space, warm, rank, identify)
    elif search.sampler == "evolution":
        choose = Evolution(space, warm, rank, identify, search.population, search.tournament)
    share = 0.0 if search.sampler == "exhaustive" else search.random_share  # it comes to every point anyway
    return Own(space, search.sampler, choose, seed=seed, random_share=share)


class Choose(Protocol):
    """One of our own samplers: a point and its source, from chance and what is known."""

    def __call__(self, rng: random.Random, known: Known) -> tuple[Point, str] | None: ...


class Own:
    """Gives one of our own samplers its chance, and mixes random points in."""

    def __init__(self, space: Space, name: str, choose: Choose, *, seed: int, random_share: float) -> None:
        self.space = space
        self.name = name
        self.choose = choose
        self.seed = seed
        self.random_share = random_share
        self.known = Known()

    def propose(self, ask: int, history: Sequence[Told]) -> tuple[Point, str] | None:
        """See :class:`Sampler`."""
        rng = random.Random(f"{self.seed}/{ask}/{self.name}")
        if rng.random() < self.random_share:
            return self.space.random(rng), "random"
        return self.choose(rng, self.known.update(history))
