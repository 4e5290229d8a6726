"""Fresh seeds for what the search picked: the front and the residual network of the winner's depth, trained again.

The front was chosen by the validation split, which flatters it; so it is compared on the test split, which is measured
at the end of each of these trainings and at no other time of a search.
"""

import csv
import io
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphs import Topology
from nas.attempts import key_of
from nas.compare import seeds_for
from nas.events import Event
from nas.experiment import Confirm, Experiment
from nas.files import replace_file
from nas.front import pareto
from nas.job_for import job_for
from nas.jobs import NO_TRIAL, Job, Outcome, Report
from nas.ledger import Ledger
from nas.pricing import Priced, judged, priced
from nas.records import STATUS, Status, Trial
from search_space.space import Point
from trainers.errors import TrainerError
from trainers.recipe import steps_for

if TYPE_CHECKING:
    from nas.study import Study

Row = Mapping[str, object]

SHARES = (0.25, 0.5, 2.0)  # of the budget: the baseline's curve, beside the budget itself
PILOT = 5  # seeds of the baseline from which the number of seeds is estimated
MOST_SEEDS = 20
CHECKPOINTS = "confirm-*.safetensors"  # of trainings under way
REPORTS = 4  # parts of a training: what is lost of it is counted as far as was reported
COLUMNS = {  # of confirm_seeds.csv, and where the log has them
    "trial": "trial",
    "family": "family",
    "depth": "depth",
    "digest": "digest",
    "seed": "seed",
    "budget_share": "share",
    "status": "status",
    "validation_accuracy": "accuracy",
    "validation_loss": "loss",
    "test_accuracy": "test_accuracy",
    "test_loss": "test_loss",
    "spent_flops": "spent_flops",
    "seconds": "seconds",
}


@dataclass(frozen=True, slots=True)
class Lineup:
    """What is confirmed: the winner and others of the front, and the residual network of the winner's depth.

    ``front`` is how many there are on it. ``baseline`` is None where it may not be trained, for which ``problem`` is
    the reason; ``own``: the winner is that network itself.
    """

    winner: Trial
    depth: int
    others: tuple[Trial, ...]
    front: int
    baseline: Priced | None
    own: bool = False
    problem: str | None = None

    def __str__(self) -> str:
        return name_of(self.winner)

    @property
    def digests(self) -> list[str]:
        """Those of every network, the winner's first."""
        baseline = [] if self.baseline is None else [self.baseline.topology.digest]
        return list(dict.fromkeys([self.winner.digest, *baseline, *(trial.digest for trial in self.others)]))


def name_of(trial: Trial) -> str:
    """How a confirmed trial is called."""
    return f"trial {trial.number} ({trial.family}, depth {trial.point['depth']})"


def lineup_of(experiment: Experiment, trials: Sequence[Trial]) -> Lineup | None:
    """Who is to be confirmed of some trials; None while there is no winner, or where no confirmation is asked."""
    front = pareto(trials, experiment.objectives)
    if not front or experiment.confirm is None:
        return None
    best, *others = spread(front, experiment.confirm.front)
    depth = Point.from_dict(best.point).depth
    plan, reason = judged(experiment, experiment.space.residual(depth))
    problem = None if plan is not None else f"the residual network of depth {depth} may not be trained: {reason}"
    own = plan is not None and plan.topology.digest == best.digest
    return Lineup(best, depth, tuple(others), len(front), plan, own, problem)


def spread(front: Sequence[Trial], most: int) -> list[Trial]:
    """At most ``most`` of a front, evenly along it with both ends; of one alone the first, the winner."""
    if len(front) <= most:
        return list(front)
    if most == 1:
        return [front[0]]
    return [front[round(place * (len(front) - 1) / (most - 1))] for place in range(most)]


def confirm(study: "Study", say: Any, told: Callable[[Event], None] = lambda event: None) -> None:
    """Train the lineup on the experiment's fresh seeds and the baseline's curve: what is not in the log yet.

    ``told`` is given the log's event of each training as it ends.
    """
    settings = study.experiment.confirm
    lineup = lineup_of(study.experiment, study.ledger.ordered())
    if settings is None or lineup is None:
        return
    todo = _Todo(study, settings, lineup, say, told)
    if settings.seeds == "auto":
        todo.train(todo.pilot())
    todo.train(todo.all())
    for left in (study.folder.path / "checkpoints").glob(CHECKPOINTS):  # by a crash behind a training's end
        left.unlink(missing_ok=True)


class _Todo:
    """The trainings of a confirmation in their order. What is to be done is decided by the log alone."""

    def __init__(
        self, study: "Study", settings: Confirm, lineup: Lineup, say: Any, told: Callable[[Event], None]
    ) -> None:
        self.study = study
        self.settings = settings
        self.lineup = lineup
        self.say = say
        self.told = told

        def plan(trial: Trial) -> Priced:
            assert trial.topology is not None, "what is on the front has a topology"
            return priced(study.experiment, Topology.from_dict(dict(trial.topology)))

        self.ours = [(name_of(trial), plan(trial)) for trial in (lineup.winner, *lineup.others)]
        self.base: list[tuple[str, Priced]] = []
        if lineup.baseline is not None:
            self.base.append((f"the residual network of depth {lineup.depth}", lineup.baseline))

    def pilot(self) -> "Iterator[_Training]":
        """The baseline's first seeds, or the winner's where there is none: what the number of seeds is estimated by."""
        name, plan = (self.base or self.ours)[0]
        for seed in fresh_seeds(self.study.experiment.seed, PILOT):
            yield _Training(name, plan, seed)

    def all(self) -> "Iterator[_Training]":
        experiment = self.study.experiment
        seeds = fresh_seeds(experiment.seed, seeds_of(experiment, self.study.ledger, self.lineup))
        known: set[str] = set()
        for name, plan in (self.ours[0], *self.base, *self.ours[1:]):
            if plan.topology.digest not in known:  # the winner may be the residual network itself
                known.add(plan.topology.digest)
                yield from (_Training(name, plan, seed) for seed in seeds)
        for name, plan in self.base:
            for share in SHARES if self.settings.curve else ():
                shorter = at_share(experiment, plan, share)
                if shorter is not None:
                    yield from (_Training(name, shorter, seed, share) for seed in seeds[: self.settings.curve])

    def train(self, trainings: "Iterator[_Training]") -> None:
        ledger, study = self.study.ledger, self.study
        done: set[tuple[object, ...]] = {*ledger.confirmed, *ledger.budgets}
        pending = [one for one in trainings if one.key not in done]
        if pending:
            self._open()

        def begin(one: _Training) -> None:
            if key_of(one.about) in ledger.attempts.reached:
                study.log("fresh", state="again", spent_flops=0.0, **one.about)

        def heard(job: Job, message: Report | Outcome) -> None:
            one = pending[NO_TRIAL - job.number]
            if isinstance(message, Outcome):
                begin(one)
                return
            kept = {"kept": True} if message.kept else {}
            spent = message.step * one.plan.flops_per_step
            study.log("fresh", state="report", spent_flops=spent, **one.about, **kept)

        def jobs() -> Iterator[Job]:
            for place, one in enumerate(pending):
                begin(one)
                at = "" if one.share is None else f" at {one.share:g} of the budget"
                self.say(f"confirming {one.name} on seed {one.seed}{at}")
                name = CHECKPOINTS.replace("*", f"{one.plan.topology.digest}-{one.seed}-{one.plan.steps}")
                keep = study.folder.path / "checkpoints" / name
                yield job_for(
                    study.experiment,
                    one.plan,
                    number=NO_TRIAL - place,
                    seed=one.seed,
                    report_at=reports(one.plan.steps),
                    test=True,
                    keep=keep,
                    keep_seconds=study.experiment.search.checkpoint_seconds,
                )

        for job, outcome in study.outcomes(jobs(), heard):
            one = pending[NO_TRIAL - job.number]
            number = ledger.digests.get(one.plan.topology.digest)
            study.log("confirm" if one.share is None else "curve", **_fields(one, number, outcome))
            self.told(study.folder.log.events[-1])
            if job.keep is not None:
                job.keep.unlink(missing_ok=True)

    def _open(self) -> None:
        """Log that the test split is opened, and for whom, before it is; once for the same list."""
        wanted = {"digests": self.lineup.digests, "seeds": self.settings.seeds, "curve": self.settings.curve}
        opened = self.study.ledger.openings
        if not any(all(event.get(name) == value for name, value in wanted.items()) for event in opened):
            if self.lineup.problem is not None:
                self.say(f"confirming {self.lineup} without a baseline: {self.lineup.problem}")
            self.study.log("open", opening=len(opened) + 1, front=self.lineup.front, **wanted)


@dataclass(frozen=True, slots=True)
class _Training:
    name: str
    plan: Priced
    seed: int
    share: float | None = None

    @property
    def key(self) -> tuple[object, ...]:
        digest = self.plan.topology.digest
        return (digest, self.seed) if self.share is None else (digest, self.seed, self.share)

    @property
    def about(self) -> dict[str, Any]:
        """How events name it."""
        share = {} if self.share is None else {"share": self.share}
        return {**share, "digest": self.plan.topology.digest, "seed": self.seed}


def reports(steps: int) -> tuple[int, ...]:
    """The steps before its end at which a training says how far it has come."""
    return tuple(sorted({step for part in range(1, REPORTS) if 0 < (step := round(steps * part / REPORTS)) < steps}))


def _fields(one: _Training, number: int | None, outcome: Outcome) -> dict[str, Any]:
    """What the log is told of a training of a topology, that of trial ``number`` if it was one."""
    topology = one.plan.topology
    return {
        **one.about,
        "trial": number,
        "family": topology.family,
        "depth": topology.depth,
        "status": STATUS.get(outcome.kind, Status.FAILED).value,
        "accuracy": outcome.accuracy,
        "loss": outcome.loss,
        "test_accuracy": outcome.test_accuracy,
        "test_loss": outcome.test_loss,
        "spent_flops": outcome.step * one.plan.flops_per_step,
        "seconds": outcome.seconds,
    }


def at_share(experiment: Experiment, plan: Priced, share: float) -> Priced | None:
    """The plan with the steps that a share of the budget buys; None where it buys none."""
    budget = share * experiment.train.budget_gflops * 1e9
    try:
        return replace(plan, steps=steps_for(budget, round(plan.cost.flops), experiment.train.batch))
    except TrainerError:
        return None


def seeds_of(experiment: Experiment, ledger: Ledger, lineup: Lineup) -> int:
    """The number of fresh seeds: as the file says, or from the spread of the pilot on the validation split.

    The test split has no say in it: how often one looks must not depend on what one saw.
    """
    settings = experiment.confirm
    assert settings is not None, "nothing is confirmed without being asked"
    if settings.seeds != "auto":
        return settings.seeds
    digest = lineup.winner.digest if lineup.baseline is None else lineup.baseline.topology.digest
    metric = quality(experiment)
    pilot = [ledger.confirmed.get((digest, seed), {}).get(metric) for seed in fresh_seeds(experiment.seed, PILOT)]
    found = [value for value in pilot if value is not None]
    if len(found) < 2:
        return PILOT
    return min(MOST_SEEDS, max(PILOT, seeds_for(statistics.stdev(found), settings.difference)))


def quality(experiment: Experiment) -> str:
    """What networks are compared by: loss where that is the first objective, else accuracy."""
    return "loss" if experiment.objectives[0].metric == "loss" else "accuracy"


def fresh_seeds(seed: int, count: int) -> range:
    """Seeds that no trial of the search was trained on: the ones behind its own."""
    return range(seed + 1, seed + 1 + count)


def rows(ledger: Ledger) -> list[Row]:
    """The table of ``confirm_seeds.csv``: one row per training."""
    events = [*(event | {"share": 1.0} for event in ledger.confirmed.values()), *ledger.budgets.values()]
    return [{name: event.get(key) for name, key in COLUMNS.items()} for event in events]


def write(path: Path, table: Sequence[Row]) -> None:
    """Write a table; floats read back exactly."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, table[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: repr(v) if isinstance(v, float) else v for name, v in row.items()} for row in table)
    replace_file(path, buffer.getvalue().encode())


def measurements(ledger: Ledger) -> int:
    """How many models were measured on the test split."""
    events = (*ledger.confirmed.values(), *ledger.budgets.values())
    return sum(event.get("test_accuracy") is not None for event in events)
