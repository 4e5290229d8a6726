"""Measured latency, as far as the driver knows it: whether it is wanted, and what was measured before. No torch."""

from typing import TYPE_CHECKING

from graphs import families
from nas.jobs import Outcome, Report, Timing

if TYPE_CHECKING:
    from nas.experiment import Experiment
    from nas.ledger import Ledger
    from nas.pricing import Priced


def timing(experiment: "Experiment", plan: "Priced", ledger: "Ledger") -> Timing | None:
    """How a trial's inference is timed; None where the experiment has neither a limit nor an objective of latency."""
    limit = experiment.limits.get("latency")
    if limit is None and all(one.metric != "latency" for one in experiment.objectives):
        return None
    return Timing(
        residual=families.residual(plan.topology.depth).to_dict(),
        batch=experiment.latency.batch,
        runs=experiment.latency.runs,
        limit=limit,
        known=ledger.latencies.get(plan.topology.digest),
    )


def measured(message: Report | Outcome, plan: "Priced", ledger: "Ledger") -> dict[str, float]:
    """What the log is told of it: once for each topology."""
    if message.latency is None or plan.topology.digest in ledger.latencies:
        return {}
    return {"latency": message.latency}
