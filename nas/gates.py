"""Gates as search: one training of a gated super-network, read as topologies that are trials like any other.

Its training is in the log with what it cost, interrupted attempts included; its weights are thrown away. A proposal
follows from the logged gates alone.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from graphs.supernet import Gates, discretised, gate_parameters, gates_of, supernet
from nas.confirm import at_share
from nas.errors import ExperimentError
from nas.events import Event
from nas.job_for import job_for
from nas.jobs import NO_TRIAL, Job, Outcome, Report
from nas.pricing import Priced, priced
from nas.proposal import Proposal, from_outside
from nas.records import STATUS, Status
from trainers.errors import TrainerError

if TYPE_CHECKING:
    from pathlib import Path

    from nas.experiment import Experiment
    from nas.ledger import Ledger
    from nas.study import Study

SOURCE = "gates"
REPORTS = 10  # of its training, so that the log knows what an interruption cost
WEIGHTS = "gates.safetensors"


def gated(experiment: "Experiment") -> Priced:
    """The super-network with the steps that its budget buys; ExperimentError where that is none."""
    settings = experiment.search.gates
    assert settings is not None, "the file asks for no gates"
    depth = max(int(end) for end in experiment.space.depth.extremes()) if settings.depth is None else settings.depth
    topology = supernet(depth, kind=settings.kind, temperature=settings.temperature, fan_in=settings.fan_in)
    try:
        whole: Priced | None = priced(experiment, topology)
    except TrainerError as error:
        raise ExperimentError(f"search.gates: {error}") from error
    plan = None if whole is None else at_share(experiment, whole, settings.budget)
    if plan is None:
        raise ExperimentError(
            f"search.gates.budget: {settings.budget:g} of a trial's budget buys the super-network no training step; "
            "ask for more, or for a smaller depth"
        )
    return plan


def done(events: Sequence[Event]) -> Event | None:
    """The event that ended a super-network's training; None while it was not trained to its end."""
    return next((event for event in events if event["state"] == "end"), None)


def spent_on_gates(events: Iterable[Event]) -> tuple[float, float]:
    """Training FLOPs of the attempt that came to its end, and of those that were interrupted, as far as reported."""
    ended = lost = current = 0.0
    for event in events:
        if event["state"] == "begin":
            lost, current = lost + current, 0.0
        elif event["state"] == "end":
            ended, current = ended + event["spent_flops"], 0.0
        else:
            current = event["spent_flops"]
    return ended, lost + current


def train_gates(study: "Study", say: Any) -> None:
    """Train the super-network if the file asks for one and the log has none; an interrupted one starts again."""
    settings = study.experiment.search.gates
    if settings is None or done(study.ledger.gates) is not None:
        return
    plan = gated(study.experiment)
    path = study.folder.weights / WEIGHTS
    say(f"training a super-network of depth {plan.topology.depth} for its gates: {plan.steps:,} steps")
    try:
        _end(study, plan, _train(study, plan, path), path, say)
    finally:
        path.unlink(missing_ok=True)


def _train(study: "Study", plan: Priced, path: "Path") -> Outcome:
    """Train it from the start; after a worker's death again."""
    reports = {max(1, round(plan.steps * part / REPORTS)) for part in range(1, REPORTS + 1)}
    seed, report_at = study.experiment.seed, tuple(sorted(reports))
    job = job_for(study.experiment, plan, number=NO_TRIAL, seed=seed, report_at=report_at, weights=path)

    def begin() -> None:
        study.log("gates", state="begin", digest=plan.topology.digest, depth=plan.topology.depth, spent_flops=0.0)

    def heard(job: Job, message: Report | Outcome) -> None:
        if isinstance(message, Outcome):
            begin()
            return
        spent = message.step * plan.flops_per_step
        study.log("gates", state="report", spent_flops=spent, accuracy=message.accuracy, loss=message.loss)

    begin()
    ((_, outcome),) = study.outcomes([job], heard)
    return outcome


def _end(study: "Study", plan: Priced, outcome: Outcome, path: "Path", say: Any) -> None:
    complete = outcome.kind == "complete"
    status = STATUS.get(outcome.kind, Status.FAILED)
    gates = _read(plan, path) if complete else None
    if gates is None:
        say(f"the super-network gave no gates ({outcome.reason}): the search goes on without")
    study.log(
        "gates",
        state="end",
        status=status.value,
        digest=plan.topology.digest,
        spent_flops=outcome.step * plan.flops_per_step,
        accuracy=outcome.accuracy,
        loss=outcome.loss,
        seconds=outcome.seconds,
        reason=outcome.reason,
        gates=gates,
    )


def _read(plan: Priced, path: "Path") -> Gates:
    """The gates at the trained weights."""
    from trainers.checkpoint import load  # torch is needed from here on

    tensors, _ = load(path)
    values = {}
    for name in gate_parameters(plan.topology):
        (found,) = (tensor for key, tensor in tensors.items() if key.rpartition(".")[2] == name)
        values[name] = tuple(map(tuple, found.double().tolist()))
    return gates_of(plan.topology, values)


class GateReader:
    """Proposes the topologies of the logged gates, one after the other; see :class:`nas.proposal.Proposer`."""

    def __init__(self, experiment: "Experiment") -> None:
        self.experiment = experiment

    def propose(self, ledger: "Ledger") -> Proposal | None:
        """The next one; None where all were proposed, or there are no gates."""
        settings, ended = self.experiment.search.gates, done(ledger.gates)
        if settings is None or ended is None or ended["gates"] is None:
            return None
        asked = sum(ask.source == SOURCE for ask in ledger.asks)
        fan_in = settings.fan_in - asked
        if asked >= settings.topologies or fan_in < 1:
            return None
        topology = discretised(ended["gates"], fan_in, chain=settings.chain)
        return from_outside(self.experiment.space, topology, SOURCE, name=f"fan-in-{fan_in}")
