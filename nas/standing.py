"""Where a search stands: counts, front, hypervolume, budget and pace, for its driver and for whoever looks on."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nas.events import Event
from nas.experiment import Experiment
from nas.front import pareto
from nas.holder import Driver
from nas.ledger import Ledger
from nas.records import Status, Trial
from nas.spending import spending
from nas.volume import Reference, Volume, reference_of, volume
from trainers.catalogue import describe
from trainers.errors import TrainerError

PACE = 30  # results of the present driver that the pace is taken from


@dataclass(frozen=True, slots=True)
class Running:
    """A trial that was asked for and has not ended; ``share`` of its training budget is used so far."""

    number: int
    family: str
    depth: int | None
    share: float
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Standing:
    """A search at one moment; times are in seconds since 1970, ``*_flops`` training FLOPs.

    ``counts`` has the finished trials by status, those that ``wait`` at a rung, and the proposals that were duplicates.
    ``left_flops`` is what the trials to come will take if they are like those so far. ``hourly`` and ``end`` are known
    only while a driver runs that has finished a trial.
    """

    name: str
    state: str  # running, confirming, interrupted or finished
    alive: bool  # whether somebody drives the search
    driver: Driver | None  # None where nobody does, or left no name
    asked: int
    done: int
    counts: dict[str, int]
    open: tuple[Running, ...]
    front: tuple[Trial, ...]
    volume: Volume
    spent: dict[str, float]
    left_flops: float
    confirmed: int
    last: float | None  # when something last happened
    hourly: float | None
    end: float | None
    now: float

    @property
    def spent_flops(self) -> float:
        return sum(self.spent.values())

    @property
    def left(self) -> int:
        """Trials that are to finish yet."""
        return max(0, self.asked - self.done) if self.state != "finished" else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "name": self.name,
            "state": self.state,
            "alive": self.alive,
            "driver": None if self.driver is None else asdict(self.driver),
            "trials": {"asked": self.asked, "finished": self.done, "left": self.left} | self.counts,
            "open": [asdict(one) for one in self.open],
            "front": [
                {"number": one.number, "family": one.family, "digest": one.digest, "objectives": dict(one.objectives)}
                for one in self.front
            ],
            "hypervolume": self.volume.to_dict(),
            "training_flops": {"spent": self.spent_flops, "left": self.left_flops, "parts": dict(self.spent)},
            "confirmations": self.confirmed,
            "trials_per_hour": self.hourly,
            "estimated_end": self.end,
            "last_event": self.last,
            "at": self.now,
        }


def reference_for(experiment: Experiment, ledger: Ledger) -> Reference:
    """The reference of a search's hypervolume; prices corners of the space, so keep it where it has no problem."""
    try:
        classes: int | None = describe(experiment.data.source)["classes"]
    except TrainerError:  # a user's data may have gone; the log is here
        classes = None
    complete = (trial for trial in ledger.trials.values() if trial.status is Status.COMPLETE)
    return reference_of(experiment, classes, next(complete, None))


def standing(
    experiment: Experiment,
    ledger: Ledger,
    *,
    alive: bool,
    driver: Driver | None,
    finished: Sequence[float],
    last: float | None,
    reference: Reference | None = None,
    now: float | None = None,
) -> Standing:
    """The state that ``ledger`` adds up to. ``finished`` is when each trial ended, in order, as far as is known."""
    now = time.time() if now is None else now
    trials = tuple(ledger.trials.values())
    counts = _counts(experiment, ledger, trials)
    trained = [trial for trial in trials if trial.status.trained]
    done = len(trained) - counts["waiting"]
    spent = spending(ledger)
    under_way = sum(max((p.flops for p in curve.values()), default=0.0) for curve in ledger.curves.values())
    spent["under way"] = under_way
    typical = sum(trial.spent_flops for trial in trained) / len(trained) if trained else _budget(experiment)
    asked = experiment.trials
    left = 0 if ledger.ended else max(0, asked - done)
    hourly, end = _pace(driver, finished, left, now)
    return Standing(
        name=experiment.name,
        state=_state(ledger, alive, asked),
        alive=alive,
        driver=driver,
        asked=asked,
        done=done,
        counts=counts,
        open=tuple(_running(event, ledger) for event in ledger.open.values()),
        front=pareto(ledger.ordered(), experiment.objectives),
        volume=volume(trials, experiment.objectives, reference or reference_for(experiment, ledger)),
        spent={name: value for name, value in spent.items() if value},
        left_flops=max(0.0, left * typical - under_way),
        confirmed=len(ledger.confirmed) + len(ledger.budgets),
        last=last,
        hourly=hourly,
        end=end,
        now=now,
    )


def times(events: Iterable[Event]) -> tuple[list[float], float | None]:
    """When each trial ended, and when something last happened, as the log says; older logs have no times."""
    found, last = [], None
    for event in events:
        last = event.get("at", last)
        if event["event"] == "result" and "at" in event:
            found.append(float(event["at"]))
    return found, last


def _counts(experiment: Experiment, ledger: Ledger, trials: Sequence[Trial]) -> dict[str, int]:
    by_status = Counter(trial.status for trial in trials)
    counts = {status.value: by_status[status] for status in Status}
    halving = experiment.search.halving
    waiting = 0
    if halving is not None and halving.form == "promotion" and not ledger.ended:
        waiting, counts["PRUNED"] = counts["PRUNED"], 0  # whom better ones may still let go on
    duplicates = sum(ask.verdict == "duplicate" for ask in ledger.asks)
    return {"running": len(ledger.open), "waiting": waiting, **counts, "duplicates": duplicates}


def _running(event: Event, ledger: Ledger) -> Running:
    number, point = event["number"], event["point"]
    curve = ledger.curves.get(number, {})
    reached = curve[max(curve)] if curve else None
    share = 0.0 if reached is None or not event["budget_flops"] else min(1.0, reached.flops / event["budget_flops"])
    return Running(number, str(point["family"]), point.get("depth"), share, reached.accuracy if reached else None)


def _state(ledger: Ledger, alive: bool, asked: int) -> str:
    if ledger.ended:
        return "finished"
    if not alive:
        return "interrupted"
    return "confirming" if ledger.openings or (not ledger.open and ledger.trained >= asked) else "running"


def _pace(driver: Driver | None, finished: Sequence[float], left: int, now: float) -> tuple[float | None, float | None]:
    """Trials an hour of the present driver, and when the last of those to come will have finished."""
    if driver is None:
        return None, None
    own = [when for when in finished if when >= driver.since]
    recent = own[-PACE:]
    begun = own[-PACE - 1] if len(own) > PACE else driver.since
    if not recent or recent[-1] <= begun:
        return None, None
    each = (recent[-1] - begun) / len(recent)
    return 3600 / each, now + left * each if left else None


def _budget(experiment: Experiment) -> float:
    return experiment.train.budget_gflops * 1e9
