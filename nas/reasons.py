"""Why trials did not come to their end: counts by status and reason, with nothing dropped."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nas.ledger import Ask
from nas.records import Status, Trial

EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Reason:
    """One kind of end. Figures in ``reason``, the first one's, differ from trial to trial."""

    status: str
    reason: str
    count: int
    trials: tuple[int, ...]  # the first of them

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def reasons(trials: Sequence[Trial], asks: Sequence[Ask] = ()) -> tuple[Reason, ...]:
    """Everything that is not COMPLETE, and proposals that repeated a topology; the most frequent first."""
    found: dict[tuple[str, str], list[Trial]] = {}
    for trial in sorted(trials, key=lambda one: one.number):
        if trial.status is not Status.COMPLETE:
            kind = re.sub(r"\d[\d,.]*", "#", trial.reason or "no reason is on record")
            found.setdefault((trial.status.value, kind), []).append(trial)
    rows = [
        Reason(
            status,
            members[0].reason or kind,
            len(members),
            tuple(trial.number for trial in members[:EXAMPLES]),
        )
        for (status, kind), members in found.items()
    ]
    twins = [ask.twin for ask in asks if ask.verdict == "duplicate" and ask.twin is not None]
    if twins:
        text = "the same topology as an earlier trial: not trained again"
        rows.append(Reason("REPEATED", text, len(twins), tuple(dict.fromkeys(twins))[:EXAMPLES]))
    return tuple(sorted(rows, key=lambda row: (-row.count, row.status, row.reason)))
