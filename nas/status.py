"""``wireloom status``: where the search in a folder stands, read from its log and its lock by any process."""

from collections.abc import Callable, Iterator
from pathlib import Path

from nas import holder
from nas.events import read
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
        self.experiment: Experiment = Views.open(folder).experiment  # as of the last look
        self._reference: Reference | None = None

    def look(self) -> Standing:
        """The state now. Nothing is written, and a line that is being written is left for the next time."""
        alive, driver = holder.held(self.folder), holder.driver(self.folder)
        events = read(self.folder / "events.jsonl")  # after the lock: what a driver that just ended wrote is in it
        ledger = Ledger.replay(events)
        # A search may have been made longer since the last look, or have learned its seed noise.
        self.experiment = with_noise(Experiment.load(self.folder / "experiment.yaml", read_data=False), ledger)
        if self._reference is None or self._reference.problem:
            self._reference = reference_for(self.experiment, ledger)
        finished, last = times(events)
        return standing(
            self.experiment, ledger, alive=alive, driver=driver, finished=finished, last=last, reference=self._reference
        )

    def follow(self, wait: Callable[[float], None]) -> Iterator[Standing]:
        """The state every few seconds, for as long as somebody drives the search; at least once."""
        while True:
            found = self.look()
            yield found
            if not found.alive:
                return
            wait(INTERVAL)
