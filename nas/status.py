"""``wireloom status``: where the search in a folder stands, read from its log and its lock by any process."""

from collections.abc import Callable, Iterator
from pathlib import Path

from nas import holder
from nas.events import Tail
from nas.experiment import Experiment
from nas.ledger import Ledger
from nas.noise import with_noise
from nas.standing import Standing, reference_for, standing, times
from nas.views import Views
from nas.volume import Reference

INTERVAL = 2.0  # seconds between two looks of --watch


class Watch:
    """The run in a folder, looked at as often as one likes; RunFolderError where there is none or it is damaged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.experiment: Experiment = Views.experiment_of(folder)  # as of the last look
        self._reference: Reference | None = None
        self._begin()

    def _begin(self) -> None:
        self._tail, self._ledger = Tail(self.folder / "events.jsonl"), Ledger()
        self._finished: list[float] = []
        self._last: float | None = None

    def look(self) -> Standing:
        """The state now. Nothing is written, and a line that is being written is left for the next time.

        Only what is new in the log is read: of thousands of trials the whole takes seconds.
        """
        alive, driver = holder.held(self.folder), holder.driver(self.folder)
        if self._tail.shrunk:  # somebody began the run anew
            self._begin()
        events = self._tail.more()  # after the lock: what a driver that just ended wrote is in it
        ledger = self._ledger
        ledger.follow(events)
        finished, last = times(events)
        self._finished += finished
        self._last = self._last if last is None else last
        # A search may have been made longer since the last look, or have learned its seed noise.
        self.experiment = with_noise(Experiment.load(self.folder / "experiment.yaml", read_data=False), ledger)
        if self._reference is None or self._reference.problem:
            self._reference = reference_for(self.experiment, ledger)
        return standing(
            self.experiment,
            ledger,
            alive=alive,
            driver=driver,
            finished=self._finished,
            last=self._last,
            reference=self._reference,
        )

    def follow(self, wait: Callable[[float], None]) -> Iterator[Standing]:
        """The state every few seconds, for as long as somebody drives the search; at least once."""
        while True:
            found = self.look()
            yield found
            if not found.alive:
                return
            wait(INTERVAL)
