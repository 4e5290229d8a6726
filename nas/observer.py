"""Who is told what happens in a study: a progress display, a tracker."""

from typing import Protocol

from nas.jobs import Report
from nas.ledger import Ask
from nas.records import Trial


class Observer(Protocol):
    """Is told what happens, after it is in the log."""

    def asked(self, ask: Ask, reason: str | None) -> None:
        """A point was proposed; ``reason`` says why it is not trained."""
        ...

    def reported(self, report: Report, steps: int) -> None:
        """A running trial measured itself."""
        ...

    def paused(self, trial: Trial) -> None:
        """A trial waits at a rung; it is promoted later, or finished when the search ends."""
        ...

    def finished(self, trial: Trial) -> None:
        """A trial ended, rejected ones included."""
        ...
