"""The state of a search as a fold over its event log: the same code for a live run and for a resumed one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nas.attempts import Attempts
from nas.errors import RunFolderError
from nas.events import Event
from nas.records import CurvePoint, Status, Trial, Value
from nas.sampling import Told, told_of
from search_space.space import Point


@dataclass(slots=True)
class Ask:
    """One ask: the point, its verdict (``job``, ``rejected`` or ``duplicate``), and its trial number if it has one."""

    index: int
    point: Point
    source: str
    verdict: str
    digest: str
    number: int | None
    twin: int | None = None  # the trial that a duplicate repeats


@dataclass(slots=True)
class Ledger:
    """Everything the study knows. :meth:`apply` takes one event; nothing else changes it."""

    asks: list[Ask] = field(default_factory=list)
    trials: dict[int, Trial] = field(default_factory=dict)
    open: dict[int, Event] = field(default_factory=dict)  # asked, not finished: the ask's event
    curves: dict[int, dict[int, CurvePoint]] = field(default_factory=dict)
    digests: dict[str, int] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)  # what the sampler is to know: earlier searches, then each ask
    told_of: dict[int, int] = field(default_factory=dict)  # where each trial is among them
    pruned: set[int] = field(default_factory=set)  # the trials that are PRUNED at present
    finished: int = 0  # trials that were trained and are over
    asked: dict[int, Event] = field(default_factory=dict)  # every trial's ask, finished or not
    spent: dict[int, float] = field(default_factory=dict)  # training FLOPs of earlier parts of a promoted trial
    promotions: dict[int, int] = field(default_factory=dict)  # how often a trial was promoted
    losses: dict[int, int] = field(default_factory=dict)  # how often a trial was lost with its worker
    dropped: dict[int, float] = field(default_factory=dict)  # of a trial begun again: its FLOPs not yet found kept
    confirmed: dict[tuple[str, int], Event] = field(default_factory=dict)  # by digest and fresh seed
    budgets: dict[tuple[str, int, float], Event] = field(default_factory=dict)  # the same, and by share of the budget
    attempts: Attempts = field(default_factory=Attempts)  # of those two
    latencies: dict[str, float] = field(default_factory=dict)  # measured seconds of inference by digest
    warm: list[Told] = field(default_factory=list)  # of earlier searches: known to samplers, no trials of this one
    warmed: bool = False
    replicas: list[Event] = field(default_factory=list)  # of the residual network, for the seed noise
    gates: list[Event] = field(default_factory=list)  # of a super-network's training
    openings: list[Event] = field(default_factory=list)  # of the test split
    lost: float = 0.0  # training FLOPs that interruptions cost, as far as was reported
    start: Event | None = None
    ended: bool = False  # nothing happened since the last end

    @classmethod
    def replay(cls, events: Iterable[Event]) -> "Ledger":
        """The state a log adds up to; RunFolderError where an event does not follow from those before it."""
        ledger = cls()
        ledger.follow(events)
        return ledger

    def follow(self, events: Iterable[Event]) -> None:
        """Take in what a log says further; RunFolderError where an event does not follow from those before it."""
        for event in events:
            try:
                if (event["event"] == "start") != (self.start is None):
                    raise ValueError("a log starts once, with its first event")
                self.apply(event)
            except (KeyError, TypeError, ValueError) as error:
                raise RunFolderError(
                    f"the event log is damaged: event {event.get('seq')} ({event['event']}) does not follow from those "
                    f"before it ({error!r}); restore the file from a copy, or start anew with another --out"
                ) from error

    def apply(self, event: Event) -> None:
        """Take in one event as it stands in the log."""
        self.ended = event["event"] == "end"  # a search that is made longer goes on behind its end
        match event["event"]:
            case "start":
                self.start = event
            case "ask":
                self._ask(event)
            case "report":
                self._latency(event)
                self._report(event["number"], CurvePoint(**event["point"]), event.get("kept", False))
            case "restart":  # what the interrupted attempt reported is not part of this one
                self._restart(self.open[event["number"]]["number"], "reason" in event)
            case "result":
                self._result(event)
            case "promote":  # a trial that waited at a rung goes on
                self._promote(event["number"])
            case "fresh":  # a training of the next two kinds begins again, or has come so far
                self.attempts.apply(event)
            case "confirm":
                self.confirmed[event["digest"], event["seed"]] = event
                self.attempts.end(event)
            case "curve":  # the baseline on a share of the budget
                self.budgets[event["digest"], event["seed"], event["share"]] = event
                self.attempts.end(event)
            case "warm":
                self._warm(event)
            case "replica":
                self.replicas.append(event)
            case "gates":
                self.gates.append(event)
            case "open":
                self.openings.append(event)

    def _warm(self, event: Event) -> None:
        if self.asks:
            raise ValueError("history of earlier searches comes before the first ask")
        self.warm, self.warmed = told_of(event), True
        self.told = list(self.warm)

    def _ask(self, event: Event) -> None:
        point = Point.from_dict(event["point"])
        number = event["number"]
        ask = Ask(event["ask"], point, event["source"], event["verdict"], event["digest"], number, event.get("twin"))
        self.asks.append(ask)
        # A duplicate is told as PRUNED: told its twin's values it would draw the sampler to the same place for ever,
        # not told at all it would be proposed again.
        status = None if ask.twin is None else Status.PRUNED
        self.told.append(Told(ask.point, status, None, ask.source, ask.digest))
        if ask.verdict == "duplicate" or number is None:
            return
        self.digests[ask.digest] = number
        self.told_of[number] = len(self.told) - 1
        if ask.verdict == "rejected":
            self._over(_trial(event, event, Status.REJECTED, ()))
        else:
            self.open[number] = self.asked[number] = event

    def _over(self, trial: Trial) -> None:
        """Take in a finished trial."""
        self.trials[trial.number] = trial
        self.finished += trial.status.trained
        if trial.status is Status.PRUNED:
            self.pruned.add(trial.number)
        values = tuple(trial.objectives.values()) if trial.objectives else None
        self._tell(trial.number, trial.status, values)

    def _tell(self, number: int, status: Status | None, values: tuple[float, ...] | None) -> None:
        at = self.told_of[number]
        self.told[at] = replace(self.told[at], status=status, values=values)

    def _report(self, number: int, point: CurvePoint, kept: bool) -> None:
        """A point of the curve; ``kept``: the trial went on from a checkpoint behind it and need not do it again."""
        curve = self.curves.setdefault(number, {})
        if kept:
            again = max(0.0, point.flops - max((one.flops for one in curve.values()), default=0.0))
            earlier = self.dropped if number in self.dropped else self.spent
            saved = min(again, earlier.get(number, 0.0))
            if saved:
                earlier[number] -= saved
                self.lost -= saved if earlier is self.dropped else 0.0
        curve[point.step] = point

    def _restart(self, number: int, lost_worker: bool) -> None:
        curve = self.curves.pop(number, {})
        cost = max((point.flops for point in curve.values()), default=0.0)
        if cost:
            self.dropped[number] = cost
            self.lost += cost
        if lost_worker:
            self.losses[number] = self.losses.get(number, 0) + 1

    def _promote(self, number: int) -> None:
        waited = self.trials[number]
        if waited.status is not Status.PRUNED:
            raise ValueError(f"trial {number} is {waited.status} and cannot go on")
        del self.trials[number]
        self.pruned.remove(number)
        self.finished -= 1
        self._tell(number, None, None)
        self.open[number] = self.asked[number]
        self.spent[number] = waited.spent_flops
        self.dropped.pop(number, None)
        self.promotions[number] = self.promotions.get(number, 0) + 1

    def _latency(self, event: Event) -> None:
        if event.get("latency") is not None:
            self.latencies[self.open[event["number"]]["digest"]] = event["latency"]

    def _result(self, event: Event) -> None:
        number = event["number"]
        self._latency(event)
        asked = self.open.pop(number)
        curve = tuple(point for _, point in sorted(self.curves.pop(number, {}).items()))
        self._over(_trial(asked, event, Status(event["status"]), curve))

    @property
    def trained(self) -> int:
        """Trials that count against the total: finished and trained, or under way."""
        return len(self.open) + self.finished

    def history(self) -> Sequence[Told]:
        """What the sampler is to know, in the order of asking, behind what earlier searches found."""
        return self.told

    def ordered(self) -> tuple[Trial, ...]:
        """The finished trials by number."""
        return tuple(self.trials[number] for number in sorted(self.trials))


def _trial(asked: Mapping[str, Any], ended: Mapping[str, Any], status: Status, curve: tuple[CurvePoint, ...]) -> Trial:
    point: Mapping[str, Value] = asked["point"]
    return Trial(
        number=asked["number"],
        status=status,
        source=asked["source"],
        family=str(point["family"]),
        point=point,
        digest=asked["digest"],
        seed=asked["seed"],
        budget_flops=asked["budget_flops"],
        spent_flops=ended.get("spent_flops", 0.0),
        flops=asked["flops"],
        parameters=asked["parameters"],
        traffic=asked["traffic"],
        objectives=ended.get("objectives", {}),
        accuracy=ended.get("accuracy"),
        loss=ended.get("loss"),
        seconds=ended.get("seconds"),
        reason=ended.get("reason"),
        curve=curve,
        topology=asked.get("topology"),
    )
