"""Who is at which rung of a search with halving, and who goes on from there."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from nas.halving import BASELINE, promoted, rungs_at, whole
from nas.layers import Layers
from nas.ledger import Ledger

if TYPE_CHECKING:
    from nas.experiment import Halving


class Rungs:
    """The objectives of every trial at every rung it came to; ``steps_of`` gives the steps of a trial's budget.

    Without ``halving`` there are no rungs and nobody is asked.
    """

    def __init__(self, halving: "Halving | None", ledger: Ledger, steps_of: Callable[[int], int]) -> None:
        self.halving = halving
        self.ledger = ledger
        self.steps_of = steps_of
        self.vectors: dict[int, Layers] = defaultdict(Layers)  # by rung

    @property
    def promotes(self) -> bool:
        """Whether trials wait at rungs instead of being stopped there."""
        return self.halving is not None and self.halving.form == "promotion"

    @property
    def waiting(self) -> AbstractSet[int]:
        """The trials that wait at a rung: PRUNED, unless they are promoted later."""
        return self.ledger.pruned if self.promotes else frozenset()

    def steps(self, number: int) -> Mapping[int, int]:
        """The step at which a trial comes to each of its rungs."""
        return rungs_at(self.halving, self.steps_of(number))

    def enter(self, number: int, step: int, vector: Callable[[], tuple[float, ...]]) -> None:
        """Note a trial's objectives where ``step`` is at a rung."""
        for rung, at in self.steps(number).items():
            if at == step:
                self.vectors[rung].add(number, vector())

    def ask_at(self, number: int) -> tuple[int, ...]:
        """The steps at which a trial may be told to stop."""
        if self.halving is None or self._whole(number):
            return ()
        if self.promotes:
            rung, step = self.next(number)
            return () if rung is None else (step,)
        return tuple(sorted(set(self.steps(number).values())))

    def _whole(self, number: int) -> bool:
        """Whether a trial is trained in full whatever it does."""
        assert self.halving is not None, "only a search with halving stops trials"
        if not self.halving.audit:  # then it takes no look at all the others
            return bool(self.ledger.asked[number]["source"] == BASELINE)
        return number in whole(self.ledger, self.halving)

    def goes_on(self, number: int, step: int) -> bool:
        """Whether a trial that is at a rung goes on; where trials wait, none does."""
        assert self.halving is not None, "only a search with halving asks"
        rung = max(rung for rung, at in self.steps(number).items() if at == step)
        return not self.promotes and self.vectors[rung].goes_on(number, self.halving.keep)

    def next(self, number: int) -> tuple[int | None, int]:
        """The rung that a trial waits at, or has to wait at next, and its step; None and all steps behind the last."""
        places = {step: rung for rung, step in sorted(self.steps(number).items())}  # the highest of those that coincide
        passed = self.ledger.promotions.get(number, 0)
        if passed >= len(places):
            return None, self.steps_of(number)
        step = sorted(places)[passed]
        return places[step], step

    def promotion(self) -> tuple[int, int] | None:
        """The trial that is to go on next, and its rung: the best at the highest rung that lets one go on."""
        if not self.promotes:
            return None
        found: dict[int, set[int]] = defaultdict(set)
        for number in self.waiting:
            rung, _ = self.next(number)
            if rung is not None:
                found[rung].add(number)
        for rung in sorted(found, reverse=True):
            assert self.halving is not None, "only a search with halving has trials that wait"
            best = promoted(self.vectors[rung], found[rung], self.halving.keep)
            if best is not None:
                return best, rung
        return None
