"""What is decided of a proposal before anything is trained: a job, a duplicate of an earlier trial, or rejected."""

from typing import Any

from nas.experiment import Experiment
from nas.ledger import Ledger
from nas.pricing import Judged, Priced


def verdict(experiment: Experiment, ledger: Ledger, found: Judged) -> tuple[dict[str, Any], str | None, Priced | None]:
    """The ask event's fields, why what was ``found`` is not trained, and its plan as far as there is one."""
    number = len(ledger.digests)
    fields: dict[str, Any] = {"verdict": "rejected", "number": number}
    fields |= {"flops": 0.0, "parameters": 0, "traffic": 0.0, "budget_flops": 0.0}
    digest, plan, reason = found.digest, found.plan, found.reason
    if digest is None:  # what is illegal has no program to take a digest of; its number stands in
        return fields | {"digest": f"illegal:{number}", "reason": reason}, reason, None
    twin = ledger.digests.get(digest)
    if twin is not None:
        fields = {"verdict": "duplicate", "digest": digest, "number": None, "twin": twin}
        return fields, f"the same topology as trial {twin}", None
    if plan is None:  # not for this backbone, or the budget is below one step
        return fields | {"digest": digest, "reason": reason}, reason, None
    fields = {
        "verdict": "job" if reason is None else "rejected",
        "digest": digest,
        "number": number,
        "flops": float(plan.cost.flops),
        "parameters": plan.cost.parameters,
        "traffic": float(plan.cost.traffic),
        "budget_flops": experiment.train.budget_gflops * 1e9,
        "topology": plan.topology.to_dict(),
    }
    return fields | ({} if reason is None else {"reason": reason}), reason, plan
