"""Who is told what a study does."""

from typing import Protocol

from nas.jobs import Report
from nas.ledger import Ask
from nas.records import Trial


class Observer(Protocol):
    """Is told what happens, after it is in the log; a progress display, a tracker."""

    def asked(self, ask: Ask, reason: str | None) -> None:
        """A point was proposed; ``reason`` says why it is not trained."""
        ...

    def reported(self, report: Report, steps: int) -> None:
        """A running trial measured itself."""
        ...

    def finished(self, trial: Trial) -> None:
        """A trial ended, rejected ones included."""
        ...
