"""The noise of one seed, by the residual network trained on several, and which of the front it blurs.

The tolerance ``epsilon: auto`` comes from replicas of that network, trained before the first trial and counted.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nas.baselines import designs
from nas.confirm import fresh_seeds, quality
from nas.errors import ExperimentError
from nas.front import pareto
from nas.job_for import job_for
from nas.jobs import NO_TRIAL, Job, Outcome
from nas.metrics import NOISY
from nas.pricing import Priced, judged
from nas.records import STATUS, Status, Trial
from nas.units import difference, show

if TYPE_CHECKING:
    from nas.experiment import Experiment
    from nas.ledger import Ledger
    from nas.study import Study

RESIDUAL = "residual"
REPLICAS = 5  # trainings of the residual network for ``epsilon: auto``
FEWEST = 3  # of which a standard deviation is taken at all
NORMAL = 1.96
NAMED = 12  # of those that one trial cannot be told from; a long front would fill pages


@dataclass(frozen=True, slots=True)
class Noise:
    """The standard deviation of ``metric`` over ``replicas`` trainings of the residual network of ``depth``."""

    metric: str
    sd: float
    replicas: int
    depth: int

    @property
    def epsilon(self) -> float:
        """The standard deviation of the difference of two trainings of one network."""
        return math.sqrt(2) * self.sd

    def __str__(self) -> str:
        return (
            f"{show(self.metric, self.sd)} over {self.replicas} seeds of the residual network of depth {self.depth}, "
            "on the validation split"
        )


def noise(ledger: "Ledger", metric: str, *, replicas_alone: bool = False) -> Noise | None:
    """The seed noise as far as the log tells: of the residual network with the most trainings; None below three.

    Its replicas, its fresh seeds of a confirmation and its trial are all trainings of the whole budget.
    ``replicas_alone`` leaves the latter two out: what the search goes by must not change while it runs.
    """
    found: dict[tuple[int, str], dict[int, float]] = defaultdict(dict)
    confirmed = () if replicas_alone else ledger.confirmed.values()
    for event in (*ledger.replicas, *confirmed):
        if event["family"] == RESIDUAL and event.get(metric) is not None:
            found[event["depth"], event["digest"]][event["seed"]] = float(event[metric])
    for trial in () if replicas_alone else ledger.ordered():
        value = getattr(trial, metric)
        key = (int(trial.point["depth"]), trial.digest)
        if key in found and trial.status is Status.COMPLETE and value is not None:
            found[key][trial.seed] = float(value)
    if not found:
        return None
    (depth, _), values = max(found.items(), key=lambda item: (len(item[1]), item[0]))
    if len(values) < FEWEST:
        return None
    return Noise(metric, statistics.stdev(values.values()), len(values), depth)


def blurred(trials: Sequence[Trial], experiment: "Experiment", ledger: "Ledger") -> Iterator[str]:
    """What one seed cannot tell apart on the front, a sentence each; nothing where the noise is not known."""
    metric = quality(experiment)
    found = noise(ledger, metric)
    if found is None:
        return
    least = NORMAL * found.epsilon
    yield (
        f"The noise of one seed is {found}; two trainings of one network differ by less than "
        f"{difference(metric, least)[1:]} in 95 % of cases."
    )
    for one in experiment.objectives if ledger.replicas else ():
        if isinstance(one.epsilon, float) and one.metric in NOISY:
            yield f"For the front {one.metric} counts in multiples of {difference(one.metric, one.epsilon)[1:]}."
    front = pareto(trials, experiment.objectives)
    alone = True
    for trial in front:
        mine: float | None = getattr(trial, metric)
        near = [other for other in front if other is not trial and _gap(mine, getattr(other, metric)) < least]
        if near:
            alone = False
            names = ", ".join(f"#{other.number}" for other in near[:NAMED])
            more = f" and {len(near) - NAMED} more" if len(near) > NAMED else ""
            yield f"#{trial.number} cannot be told from {names}{more} by the {metric} of one seed."
    if alone and len(front) > 1:
        yield "All members of the front differ by more than that."


def _gap(a: float | None, b: float | None) -> float:
    return math.inf if a is None or b is None else abs(a - b)


def wanted(experiment: "Experiment") -> bool:
    """Whether any objective's tolerance is that of the seed noise."""
    return any(one.epsilon == "auto" for one in experiment.objectives)


def with_noise(experiment: "Experiment", ledger: "Ledger") -> "Experiment":
    """The experiment with the measured tolerance in place of ``auto``, as far as the log has it."""
    if not wanted(experiment):
        return experiment
    known = {
        one.metric: noise(ledger, one.metric, replicas_alone=True)
        for one in experiment.objectives
        if one.epsilon == "auto"
    }
    objectives = []
    for one in experiment.objectives:
        found = known.get(one.metric)
        exact = one if found is None else one.model_copy(update={"epsilon": found.epsilon or None})
        objectives.append(exact)
    return experiment.model_copy(update={"objectives": tuple(objectives)})


def train_replicas(study: "Study", say: Any) -> None:
    """Train the residual network on the seeds behind the search's, where a tolerance is to be taken from it.

    It is the deepest that races as a baseline. What is in the log is not trained again; that there is too little for a
    tolerance is said. ExperimentError where there is
    no such network.
    """
    if not wanted(study.experiment):
        return
    design = designs(study.experiment)[0]
    plan, reason = judged(study.experiment, design.point)
    if plan is None:
        raise ExperimentError(
            f"objectives: epsilon: auto needs the residual network, which may not be trained: {reason}"
        )
    done = {event["seed"] for event in study.ledger.replicas}
    seeds = [seed for seed in fresh_seeds(study.experiment.seed, REPLICAS) if seed not in done]

    def jobs(plan: Priced) -> Iterator[Job]:
        for place, seed in enumerate(seeds):
            say(f"training the residual network of depth {plan.topology.depth} on seed {seed}")
            yield job_for(study.experiment, plan, number=NO_TRIAL - place, seed=seed)

    for job, outcome in study.outcomes(jobs(plan)):
        _log(study, plan, job.seed, outcome)
    if wanted(with_noise(study.experiment, study.ledger)):
        few = f"fewer than {FEWEST} of the residual network's {REPLICAS} seeds came to an end"
        say(f"{few}: epsilon: auto counts as none")


def _log(study: "Study", plan: Priced, seed: int, outcome: Outcome) -> None:
    complete = outcome.kind == "complete"
    study.log(
        "replica",
        family=RESIDUAL,
        depth=plan.topology.depth,
        digest=plan.topology.digest,
        seed=seed,
        status=STATUS.get(outcome.kind, Status.FAILED).value,
        accuracy=outcome.accuracy if complete else None,
        loss=outcome.loss if complete else None,
        spent_flops=outcome.step * plan.flops_per_step,
        seconds=outcome.seconds,
    )
