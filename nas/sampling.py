"""Proposals. Optuna sits behind this file and nowhere else; its study is a view rebuilt from the records.

A proposal depends on the experiment's seed, the number of the ask and the history, so a search that was killed
and resumed proposes what an uninterrupted one does. Nothing of Optuna is stored.
"""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from graphs.errors import UserError
from nas.records import Status, Value
from search_space.space import Point, Space

if TYPE_CHECKING:
    import optuna

Goal = Literal["maximize", "minimize"]
WARM = "warm"  # the source of what earlier searches found


@dataclass(frozen=True, slots=True)
class Told:
    """What the sampler is to know of an earlier ask: its point, how it ended (None: still running), its values.

    ``source`` is what proposed it, ``digest`` that of its topology.
    """

    point: Point
    status: Status | None
    values: tuple[float, ...] | None = None
    source: str = ""
    digest: str = ""


def told_of(event: Mapping[str, Any]) -> list[Told]:
    """The history in a ``warm`` event."""
    return [
        Told(
            Point.from_dict(one["point"]),
            Status(one["status"]),
            None if one["values"] is None else tuple(one["values"]),
            WARM,
            one["digest"],
        )
        for one in event["told"]
    ]


class Proposer:
    """Proposes points of ``space`` for objectives with the given ``goals`` (maximize or minimize)."""

    def __init__(
        self,
        space: Space,
        *,
        goals: Sequence[Goal],
        sampler: str,
        seed: int,
        random_share: float,
        population: int = 20,
    ) -> None:
        try:
            import optuna
        except ImportError as error:
            raise UserError("a search needs optuna: pip install 'wireloom[search]'") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = optuna
        self.space = space
        self.goals = tuple(goals)
        self.sampler = sampler
        self.seed = seed
        self.random_share = random_share
        self.population = population

    def propose(self, ask: int, history: Sequence[Told]) -> tuple[Point, str]:
        """The point of ask number ``ask`` and where it came from: ``random`` or the sampler's name."""
        ask_seed = self._seed(ask)
        source = self.sampler
        if random.Random(ask_seed).random() < self.random_share:
            source = "random"
        samplers = self._optuna.samplers
        sampler: Any
        if source == "random":
            sampler = samplers.RandomSampler(seed=ask_seed)
        elif source == "nsga2":
            sampler = samplers.NSGAIISampler(seed=ask_seed, population_size=self.population)
        else:
            sampler = samplers.TPESampler(seed=ask_seed)
        study = self._optuna.create_study(sampler=sampler, directions=list(self.goals))
        if source != "random":
            study.add_trials(self._generations([trial for told in history if (trial := self._trial(told)) is not None]))
        return self.space.ask(Suggestions(study.ask())), source

    def _generations(self, trials: "list[optuna.trial.FrozenTrial]") -> "list[optuna.trial.FrozenTrial]":
        """The trials with the generation that NSGA-II gave each when it was asked for, or would have given.

        It keeps that in its storage, which we have none of. A generation is ``population`` complete trials, so that
        it follows from the order of asking.
        """
        if self.sampler == "nsga2":
            key = self._optuna.samplers.NSGAIISampler._get_generation_key()
            complete = [trial for trial in trials if trial.state is self._optuna.trial.TrialState.COMPLETE]
            for place, trial in enumerate(complete):
                trial.system_attrs[key] = place // self.population
        return trials

    def _seed(self, ask: int) -> int:
        return int.from_bytes(hashlib.sha256(f"{self.seed}/{ask}".encode()).digest()[:4], "big")

    def seen(self, told: Told) -> tuple[str, tuple[float, ...] | None] | None:
        """State and values of an earlier ask as Optuna sees it, None where it does not; ValueError where it refuses."""
        trial = self._trial(told)
        if trial is None:
            return None
        return trial.state.name, None if trial.values is None else tuple(trial.values)

    def _trial(self, told: Told) -> "optuna.trial.FrozenTrial | None":
        """An earlier ask as Optuna sees it, or None where its point is outside the declared space."""
        recorder = _Record(told.point, self._optuna.distributions)
        try:
            if self.space.ask(recorder) != told.point:  # the residual network, beside one family without questions
                return None
        except KeyError:
            return None
        states = self._optuna.trial.TrialState
        # Rejected and diverged points are PRUNED, never FAIL: samplers forget failures and go back there.
        state = {None: states.RUNNING, Status.COMPLETE: states.COMPLETE, Status.FAILED: states.FAIL}.get(
            told.status, states.PRUNED
        )
        return self._optuna.trial.create_trial(
            state=state,
            values=list(told.values) if state is states.COMPLETE and told.values is not None else None,
            params=recorder.params,
            distributions=recorder.distributions,
        )


class Suggestions:
    """Answers the space's questions with an Optuna trial."""

    def __init__(self, trial: "optuna.trial.Trial") -> None:
        self._trial = trial

    def integer(self, name: str, low: int, high: int, *, log: bool = False, step: int = 1) -> int:
        return int(self._trial.suggest_int(name, low, high, log=log, step=step))

    def real(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return float(self._trial.suggest_float(name, low, high, log=log))

    def choice(self, name: str, options: Sequence[Value]) -> Value:
        chosen: Any = self._trial.suggest_categorical(name, list(options))
        return cast(Value, chosen)


class _Record:
    """Answers with the values of a known point and keeps the distributions they were asked from.

    KeyError where the point lacks an answer, or has one outside what was asked.
    """

    def __init__(self, point: Point, distributions: Any) -> None:
        self._values = point.to_dict()
        self._kinds = distributions
        self.params: dict[str, Value] = {}
        self.distributions: dict[str, Any] = {}

    def _answer(self, name: str, distribution: Any) -> Any:
        value = self._values[name]
        if not distribution._contains(distribution.to_internal_repr(value)):
            raise KeyError(name)
        self.params[name] = value
        self.distributions[name] = distribution
        return value

    def integer(self, name: str, low: int, high: int, *, log: bool = False, step: int = 1) -> int:
        return int(self._answer(name, self._kinds.IntDistribution(low, high, log=log, step=step)))

    def real(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return float(self._answer(name, self._kinds.FloatDistribution(low, high, log=log)))

    def choice(self, name: str, options: Sequence[Value]) -> Value:
        if self._values[name] not in options:
            raise KeyError(name)
        value: Value = self._answer(name, self._kinds.CategoricalDistribution(list(options)))
        return value
