"""What is decided of a proposal before anything is trained: a job, a duplicate of an earlier trial, or rejected."""

from typing import Any

from graphs import TopologyError
from nas.experiment import Experiment
from nas.ledger import Ledger
from nas.pricing import Priced, broken_limit, priced
from nas.proposal import Proposal
from trainers.errors import TrainerError


def verdict(
    experiment: Experiment, ledger: Ledger, proposal: Proposal
) -> tuple[dict[str, Any], str | None, Priced | None]:
    """The ask event's fields, why the proposal is not trained, and its plan as far as there is one."""
    number = len(ledger.digests)
    fields: dict[str, Any] = {"verdict": "rejected", "number": number}
    fields |= {"flops": 0.0, "parameters": 0, "traffic": 0.0, "budget_flops": 0.0}
    try:
        topology = proposal.made(experiment.space)
    except TopologyError as error:
        # An illegal point has no program to take a digest of; its number stands in.
        return fields | {"digest": f"illegal:{number}", "reason": str(error)}, str(error), None
    twin = ledger.digests.get(topology.digest)
    if twin is not None:
        fields = {"verdict": "duplicate", "digest": topology.digest, "number": None, "twin": twin}
        return fields, f"the same topology as trial {twin}", None
    try:
        plan = priced(experiment, topology)
    except (TopologyError, TrainerError) as error:  # not for this backbone, or the budget is below one step
        return fields | {"digest": topology.digest, "reason": str(error)}, str(error), None
    reason = broken_limit(experiment, plan.cost, plan.peak_bytes)
    fields = {
        "verdict": "job" if reason is None else "rejected",
        "digest": topology.digest,
        "number": number,
        "flops": float(plan.cost.flops),
        "parameters": plan.cost.parameters,
        "traffic": float(plan.cost.traffic),
        "budget_flops": experiment.train.budget_gflops * 1e9,
        "topology": topology.to_dict(),
    }
    return fields | ({} if reason is None else {"reason": reason}), reason, plan
