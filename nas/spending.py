"""What a search cost in training FLOPs: every part of it, what failed and what was lost included."""

from nas.gates import spent_on_gates
from nas.ledger import Ledger
from nas.records import Status


def spending(ledger: Ledger) -> dict[str, float]:
    """Training FLOPs by what they were spent on; the sum is the whole cost of the search.

    Validation and test measurements are not training and not in it; nor is what a killed process had not reported.
    """
    earlier = ledger.spent  # of promoted trials, whose last part alone is left to their status
    parts = {"trials in full": 0.0, "trials stopped at rungs": 0.0, "trials that diverged or failed": 0.0}
    for trial in ledger.ordered():
        own = trial.spent_flops - earlier.get(trial.number, 0.0)
        match trial.status:
            case Status.COMPLETE:
                parts["trials in full"] += own
            case Status.PRUNED:
                parts["trials stopped at rungs"] += own
            case _:
                parts["trials that diverged or failed"] += own
    parts["earlier parts of promoted trials"] = sum(earlier.values())
    parts["confirmation on fresh seeds"] = sum(float(one["spent_flops"]) for one in ledger.confirmed.values())
    parts["the baseline at other budgets"] = sum(float(one["spent_flops"]) for one in ledger.budgets.values())
    parts["replicas for the seed noise"] = sum(float(one["spent_flops"]) for one in ledger.replicas)
    supernet, lost = spent_on_gates(ledger.gates)
    parts["the gated super-network"] = supernet
    parts["lost to interruptions"] = ledger.lost + lost + ledger.attempts.lost
    return parts
