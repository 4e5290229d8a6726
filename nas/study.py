"""The study: the only owner of trials. It asks, prices, rejects, places jobs, decides at rungs, and tells.

Every fact goes to the event log first and to the ledger from there, so that a resumed study is in the state of
one that was never interrupted.
"""

import itertools
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from graphs import Topology
from nas import interrupts, side_jobs
from nas.baselines import baselines
from nas.collector import spared
from nas.executors import Executor
from nas.experiment import Experiment
from nas.files import replace_file
from nas.front import grown, pareto, signed
from nas.halving import BASELINE
from nas.job_for import job_for
from nas.jobs import Job, Outcome, Report
from nas.ledger import Ledger
from nas.objectives import values
from nas.observer import Observer
from nas.patience import Patience, told
from nas.planner import Planner
from nas.pricing import Priced, counted, priced
from nas.proposal import Later, Proposal
from nas.proposers import proposers_of
from nas.records import STATUS, CurvePoint, Status, Trial
from nas.run_folder import RunFolder
from nas.rungs import Rungs
from nas.samplers import sampler_of
from nas.side_jobs import Heard, given_up
from nas.timed import Timed
from nas.timing import measured, timing
from nas.verdict import verdict
from trainers.catalogue import describe

ASKS_PER_TRIAL = 20
CURVE_POINTS = 10
TOGETHER = 16  # jobs that go to the disk at once, when so many workers are free


class Study:
    """One search over ``experiment`` in ``folder``; :meth:`run` returns when it has its trials."""

    def __init__(
        self, experiment: Experiment, folder: RunFolder, executor: Executor, observers: tuple[Observer, ...] = ()
    ) -> None:
        self.experiment = experiment
        self.folder = folder
        self.executor = executor
        self.observers = observers
        self.ledger = Ledger.replay(folder.log.events)
        self.planner = Planner(experiment)
        self.sampler = sampler_of(
            experiment.search,
            experiment.space,
            seed=experiment.seed,
            goals=[objective.goal for objective in experiment.objectives],
            rank=self._rank,
            identify=self.planner.identify,
        )
        self.classes = describe(experiment.data.source)["classes"]
        self.designs = baselines(experiment)
        self.baselines = tuple(design.point for design in self.designs if design.runs)
        self.priced: dict[int, Priced] = {}
        self.steps: dict[int, int] = {}  # of every trial's budget
        self.front: tuple[Trial, ...] = ()  # so far
        self._unsaid: list[Callable[[], None]] = []  # to observers and to files, of what is not on the disk yet
        self.proposers = proposers_of(experiment, folder.path, self._rank)
        self.queue: list[Job] = []  # of trials cut off by the end of an earlier driver or of their worker
        self.done = False  # whether nothing is left to propose
        self.later: Later | None = None  # while a proposer is waited for
        self.patience = Patience()
        self.rungs = Rungs(experiment.search.halving, self.ledger, self._steps)
        self.times: dict[str, float] = defaultdict(float)

    @spared()
    def run(self) -> None:
        """Search until the asked number of trials is trained, 20 times as many points were proposed, or all were."""
        # Of a search that had ended observers know those that waited then.
        known = {number: self.ledger.trials[number] for number in self.rungs.waiting if self.ledger.ended}
        self._restore_rungs()
        self._tidy()  # the crash may have come between a result and this
        for number in sorted(self.ledger.curves):  # cut off in the middle: it is trained from the start
            self._log("restart", number=number)
        self.queue = [self._job(number) for number in sorted(self.ledger.open)]
        running = 0
        with told(self._commit):
            while True:
                held = self.patience.left(self.executor.slots) if running else 0.0
                if not held:
                    running = self._fill(running)
                if not running:
                    if self.later is None:
                        break
                    with self.timed("waiting"):  # for a proposer
                        time.sleep(self.later.seconds)
                    continue
                message = self._heard(held)
                if message is None:
                    continue
                if isinstance(message, Report):
                    self._report(message)
                else:
                    running -= 1
                    self._outcome(message)
                    self.patience.ended()
        if not self.ledger.ended:
            for number in sorted(self.rungs.waiting):
                trial = self.ledger.trials[number]
                if known.get(number) != trial:
                    self._tell(trial)
            self._commit()

    def _fill(self, running: int) -> int:
        """Give jobs to free workers, as far as there are jobs; how many run then."""
        while (free := min(self.executor.slots - running, TOGETHER)) > 0:  # a node that goes takes slots along
            jobs = list(itertools.islice(iter(self._next_job, None), free))
            if not jobs:
                break
            self._commit()  # what ended and what takes its place go to the disk together
            for job in jobs:
                self.executor.submit(job)
            running += len(jobs)
        if self._unsaid:
            self._commit()
        self.patience.served()
        return running

    def _heard(self, held: float) -> Report | Outcome | None:
        """What the executor says next; None where free workers, or a proposer, have waited for it long enough."""
        waits = ([held] if held else []) + ([] if self.later is None else [self.later.seconds])
        return None if waits and not self._ready(min(waits)) else self.next_message()

    @property
    def exhausted(self) -> bool:
        """Whether the search stops because it ran out of asks, not because it has its trials."""
        return self.ledger.trained < self.experiment.trials

    def next_message(self) -> Report | Outcome:
        """What the executor says next; the time it takes is the trials', not the driver's."""
        interrupts.check()
        with self.timed("training"):
            return self.executor.next()

    def outcomes(self, jobs: Iterable[Job], heard: Heard | None = None) -> Iterator[tuple[Job, Outcome]]:
        """Run jobs that are no trials, on all slots; see :func:`nas.side_jobs.run`."""
        retries = self.experiment.search.retries
        return side_jobs.run(self.executor, self.next_message, jobs, retries=retries, heard=heard)

    def timed(self, what: str) -> Timed:
        return Timed(self.times, what)

    def _ready(self, seconds: float) -> bool:
        """Whether a running trial has something to say within so many seconds."""
        interrupts.check()
        with self.timed("training"):
            return self.executor.ready(seconds)

    def _log(self, event: str, **fields: Any) -> None:
        with self.timed("log"):
            self.ledger.apply(self.folder.log.append(event, durable=False, **fields))

    def _commit(self) -> None:
        """Bring the log to the disk; only then observers, and workers behind this, learn of what is in it.

        And only then what it makes needless is deleted: a power cut leaves no log that still needs it.
        """
        with self.timed("log"):
            self.folder.log.sync()
        while self._unsaid:
            self._unsaid.pop(0)()

    def _next_job(self) -> Job | None:
        """A job to be run again, of a promoted trial, or of the next point; None where there is none for now."""
        self.later = None
        if self.queue:
            return self.queue.pop(0)
        promotion = self.rungs.promotion()
        if promotion is not None:
            number, rung = promotion
            self._log("promote", number=number, rung=rung)
            return self._job(number)
        total = self.experiment.trials
        # Every point of a small space is asked for, however many of them are one topology.
        most = math.inf if self.experiment.search.sampler == "exhaustive" else ASKS_PER_TRIAL * total
        while self.ledger.trained < total and len(self.ledger.asks) < most:
            proposal = self._proposal()
            if proposal is None or isinstance(proposal, Later):
                self.later, self.done = proposal, proposal is None
                return None
            asked = self._ask(proposal)
            if asked is not None:
                return self._job(asked)
        return None

    def _proposal(self) -> Proposal | Later | None:
        """The next proposal: baselines, proposers, the sampler; None where every point was proposed."""
        index = len(self.ledger.asks)
        if index < len(self.baselines):
            return Proposal(self.baselines[index], BASELINE)
        with self.timed("proposing"):
            for proposer in self.proposers:
                proposal = proposer.propose(self.ledger)
                if proposal is not None:
                    return proposal
            found = self.sampler.propose(index, self.ledger.history())
        return None if found is None else Proposal(*found)

    def _rank(self, found: Sequence[float]) -> tuple[float, ...]:
        """Objectives in their order as a vector to be minimised."""
        objectives = self.experiment.objectives
        return signed({one.metric: value for one, value in zip(objectives, found, strict=True)}, objectives)

    def _ask(self, proposal: Proposal) -> int | None:
        """Log a proposal and its verdict; the trial's number if it is to be trained."""
        index = len(self.ledger.asks)
        with self.timed("planning"):
            fields, reason, plan = verdict(
                self.experiment, self.ledger, self.planner.judge(proposal, self.ledger.digests)
            )
        point = proposal.point.to_dict()
        fields |= dict(proposal.extra)
        self._log("ask", ask=index, source=proposal.source, point=point, seed=self.experiment.seed, **fields)
        ask = self.ledger.asks[-1]
        if plan is not None and ask.number is not None:
            self.priced[ask.number] = plan
        self._unsaid += [partial(observer.asked, ask, reason) for observer in self.observers]
        if ask.verdict == "rejected" and ask.number is not None:
            self._finished(self.ledger.trials[ask.number])
        return ask.number if ask.verdict == "job" else None

    def log(self, event: str, **fields: Any) -> None:
        """Log what happened beside the trials: a confirmation, a super-network, warm history."""
        self._log(event, **fields)
        self._commit()

    def _plan(self, number: int) -> Priced:
        """The plan of a trial, made again where this process has not made it yet (after a resume)."""
        if number not in self.priced:  # of a trial asked for by an earlier driver, or over
            topology = Topology.from_dict(dict(self.ledger.asked[number]["topology"]))
            self.priced[number] = priced(self.experiment, topology)
        return self.priced[number]

    def _steps(self, number: int) -> int:
        """The steps of a trial's budget."""
        if number not in self.steps:
            self.steps[number] = self._plan(number).steps
        return self.steps[number]

    def _job(self, number: int) -> Job:
        """The job of an asked trial: measured along the way, asked about at rungs, its weights kept."""
        with self.timed("planning"):
            asked = self.ledger.open[number]
            plan = self._plan(number)
            curve = {max(1, round(plan.steps * part / CURVE_POINTS)) for part in range(1, CURVE_POINTS + 1)}
            return job_for(
                self.experiment,
                plan,
                number=number,
                seed=self.experiment.seed,
                topology=asked["topology"],
                report_at=tuple(sorted(curve.union(self.rungs.steps(number).values()))),
                ask_at=self.rungs.ask_at(number),
                latency=timing(self.experiment, plan, self.ledger),
                weights=self.folder.weight_file(number),
                keep=self.folder.checkpoint_file(number),
                keep_seconds=self.experiment.search.checkpoint_seconds,
                waits=self.rungs.promotes,
                last=self.ledger.losses.get(number, 0) >= self.experiment.search.retries,
                metadata={"digest": asked["digest"], "number": str(number), "seed": str(self.experiment.seed)},
            )

    def _objectives(
        self, number: int, accuracy: float, loss: float, seconds: float, curve: Iterable[CurvePoint]
    ) -> dict[str, float]:
        plan = self._plan(number)
        return values(
            self.experiment.objectives,
            counted(plan.cost, plan.peak_bytes) | {"latency": self.ledger.latencies.get(plan.topology.digest, 0.0)},
            accuracy=accuracy,
            loss=loss,
            seconds=seconds,
            classes=self.classes,
            curve=tuple(curve),
            budget_flops=self.experiment.train.budget_gflops * 1e9,
        )

    def _report(self, report: Report) -> None:
        plan = self._plan(report.number)
        point = {"step": report.step, "flops": report.step * plan.flops_per_step, "train_loss": report.train_loss}
        point |= {"accuracy": report.accuracy, "loss": report.loss}
        kept = ({"kept": True} if report.kept else {}) | measured(report, plan, self.ledger)
        self._log("report", number=report.number, point=point, **kept)
        curve = self.ledger.curves[report.number]
        self._enter_rung(report.number, curve[report.step], curve.values())
        for observer in self.observers:
            observer.reported(report, plan.steps)
        if report.asks:  # what is answered follows from the log again: no need to wait for the disk
            self.executor.answer(report.number, self.rungs.goes_on(report.number, report.step))

    def _enter_rung(self, number: int, point: CurvePoint, curve: Iterable[CurvePoint]) -> None:
        """Where ``point`` is at a rung, note what the trial is worth there; seconds, yet unknown, count as 0."""
        accuracy, loss = point.accuracy, point.loss
        if self.rungs.halving is None or accuracy is None or loss is None:
            return

        def vector() -> tuple[float, ...]:
            so_far = [one for one in curve if one.step <= point.step]
            return signed(self._objectives(number, accuracy, loss, 0.0, so_far), self.experiment.objectives)

        self.rungs.enter(number, point.step, vector)

    def _restore_rungs(self) -> None:
        """The rungs as the finished trials left them; a trial cut off in the middle enters them again."""
        for trial in self.ledger.ordered():
            for point in trial.curve:
                self._enter_rung(trial.number, point, trial.curve)

    def _lost(self, outcome: Outcome) -> bool:
        """Whether a trial whose worker died is to be run again: it says nothing of the topology, up to a point."""
        number, retries = outcome.number, self.experiment.search.retries
        if self.ledger.losses.get(number, 0) >= retries:
            return False
        self._log("restart", number=number, reason=outcome.reason or "its worker died")
        self.queue.append(self._job(number))
        return True

    def _outcome(self, outcome: Outcome) -> None:
        if outcome.kind == "lost":
            if self._lost(outcome):
                return
            outcome = given_up(self.experiment.search.retries + 1, outcome)
        number = outcome.number
        plan = self._plan(number)
        status = STATUS[outcome.kind]
        timed = measured(outcome, plan, self.ledger)
        objectives = {}
        if status in (Status.COMPLETE, Status.PRUNED) and outcome.accuracy is not None and outcome.loss is not None:
            curve = self.ledger.curves[number].values()
            objectives = self._objectives(number, outcome.accuracy, outcome.loss, outcome.seconds, curve)
        reason = outcome.reason
        if self.rungs.promotes and status is Status.PRUNED:
            reason = f"waits after {outcome.step} of {plan.steps} steps: others there are better"
        if outcome.traceback is not None:
            trace = self.folder.path / "failures" / f"trial-{number:04d}.txt"
            replace_file(trace, outcome.traceback.encode())
        self._steps(number)
        self.priced.pop(number, None)  # plans are large
        self._log(
            "result",
            number=number,
            status=status.value,
            # A promoted trial that found no checkpoint was trained from its start once more, and pays for it.
            spent_flops=self.ledger.spent.get(number, 0) + outcome.step * plan.flops_per_step,
            objectives=objectives,
            accuracy=outcome.accuracy,
            loss=outcome.loss,
            seconds=outcome.seconds,
            reason=reason,
            **timed,
        )
        self._finished(self.ledger.trials[number])

    def _finished(self, trial: Trial) -> None:
        before, self.front = self.front, grown(self.front, trial, self.experiment.objectives)
        kept = {one.number for one in self.front}
        # What is dominated is never handed to anybody.
        gone = [self.folder.weight_file(one.number) for one in (*before, trial) if one.number not in kept]
        if not (self.rungs.promotes and trial.status is Status.PRUNED):  # which may go on one day
            gone.append(self.folder.checkpoint_file(trial.number))
        self._unsaid += [partial(path.unlink, missing_ok=True) for path in gone]
        if trial.number in self.rungs.waiting:  # one hears of its end when the search is over
            self._unsaid += [partial(observer.paused, trial) for observer in self.observers]
        else:
            self._tell(trial)

    def _tell(self, trial: Trial) -> None:
        self._unsaid += [partial(observer.finished, trial) for observer in self.observers]

    def _tidy(self) -> None:
        """Drop what a driver that died left behind, once its last word is on the disk."""
        self._commit()
        self.front = pareto(self.ledger.ordered(), self.experiment.objectives)
        self.folder.tidy(
            weights=(*(one.number for one in self.front), *self.ledger.open),
            checkpoints=(*self.ledger.open, *self.rungs.waiting),
        )
