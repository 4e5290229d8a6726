"""Everything that is worked out of a run's log for its report, as one value, and as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nas.coverage import Coverage, coverage
from nas.edges import Importance
from nas.equal_compute import EqualCompute, equal_compute
from nas.experiment import Experiment
from nas.findings import Findings, findings
from nas.ledger import Ledger
from nas.noise import blurred
from nas.reasons import Reason, reasons
from nas.spending import spending


@dataclass(frozen=True, slots=True)
class Analysis:
    """``findings`` is None where nothing was confirmed, ``importance`` where there is no winner with weights."""

    findings: Findings | None
    coverage: Coverage
    spending: Mapping[str, float]
    reasons: tuple[Reason, ...]
    importance: Importance | None = None
    equal_compute: EqualCompute | None = None
    blurred: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For programs: plain data that JSON can hold."""
        return {
            "confirmation": None if self.findings is None else self.findings.to_dict(),
            "coverage": self.coverage.to_dict(),
            "training_flops": dict(self.spending) | {"total": sum(self.spending.values())},
            "reasons": [one.to_dict() for one in self.reasons],
            "equal_compute": None if self.equal_compute is None else self.equal_compute.to_dict(),
            "seed_noise": list(self.blurred),
            "importance": None if self.importance is None else self.importance.to_dict(),
        }


def analysis(experiment: Experiment, ledger: Ledger, importance: Importance | None = None) -> Analysis:
    """Work all of it out of a log; ``importance`` needs the weights and is measured elsewhere."""
    trials = ledger.ordered()
    return Analysis(
        findings(experiment, ledger),
        coverage(experiment.space, ledger),
        spending(ledger),
        reasons(trials, ledger.asks),
        importance,
        equal_compute(experiment, trials),
        tuple(blurred(trials, experiment, ledger)),
    )
