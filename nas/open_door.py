"""The open door: any program proposes topologies as files and reads what became of them.

``DIR/proposals/NAME.yaml`` is taken in the order of names, ``DIR/results/NAME.json`` says what came of it. What was
taken is in the log with its whole text, so that a resumed search needs the file no more and never takes it twice.
"""

import json
import os
import re
import stat
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphs import Topology
from graphs.dag import edges_of
from nas.files import replace_file
from nas.front import grown, pareto
from nas.halving import BASELINE
from nas.ledger import Ask, Ledger
from nas.open_page import page
from nas.proposal import Later, Proposal
from nas.proposal_file import MAX_BYTES, read_proposal
from nas.records import Status, Trial

if TYPE_CHECKING:
    from nas.experiment import Experiment
    from nas.jobs import Report

SOURCE = "open:"
PROPOSALS, RESULTS = "proposals", "results"
FRONT = "_front.json"
NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,99})\.yaml")
POLL = 0.5  # seconds between looks at the folder while the search waits
ROUNDING = 1e-9


class OpenDoor:
    """Takes proposals from a run's folder while their share of asks and of trials allows; see :class:`Proposer`.

    With ``wait`` the sampler's turn comes only after so many seconds without a proposal. Time is told by ``clock``.
    """

    def __init__(self, experiment: "Experiment", folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        assert experiment.search.open is not None, "the file opens no door"
        self.experiment = experiment
        self.folder = folder / PROPOSALS
        self.share = experiment.search.open.share
        self.wait = experiment.search.open.wait
        self.clock = clock
        self.taken: set[str] = set()
        self._since: float | None = None  # since when it waits
        self._counted = 0  # asks that are in the counts below; baselines are in none of them
        self._asks = self._trials = self._own_asks = self._own_trials = 0

    def propose(self, ledger: Ledger) -> Proposal | Later | None:
        """The next proposal whose turn it is; Later while it waits for one."""
        self._count(ledger)
        if not self._turn():
            self._since = None
            return None
        found = self._next()
        if found is not None:
            self._since = None
            name, data = found
            return read_proposal(data, name, self.experiment)
        now = self.clock()
        self._since = now if self._since is None else self._since
        left = self.wait - (now - self._since)
        if left > 0:
            return Later(min(left, POLL))
        self._since = None
        return None

    def _count(self, ledger: Ledger) -> None:
        for ask in ledger.asks[self._counted :]:
            name = name_of(ask)
            if name is not None:
                self.taken.add(name)
                self._own_asks += 1
                self._own_trials += ask.verdict == "job"
            if ask.source != BASELINE:
                self._asks += 1
                self._trials += ask.verdict == "job"
        self._counted = len(ledger.asks)

    def _turn(self) -> bool:
        """Whether one proposal more keeps within the share, of trials and of asks: rejected ones cost those."""
        counts = ((self._own_trials, self._trials), (self._own_asks, self._asks))
        return all(own + 1 <= self.share * (every + 1) + ROUNDING for own, every in counts)

    def _next(self) -> tuple[str, bytes] | None:
        """The first proposal by name that was not taken, with its bytes, at most one more than is allowed."""
        try:
            names = sorted(match[1] for entry in os.scandir(self.folder) if (match := NAME.fullmatch(entry.name)))
        except OSError:
            return None
        for name in names:
            if name not in self.taken:
                data = _read(self.folder / f"{name}.yaml")
                if data is not None:
                    return name, data
        return None


def _read(path: Path) -> bytes | None:
    """The bytes of a plain file; None for a link, a folder or a pipe, which are not looked into."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return None
    try:
        return os.read(handle, MAX_BYTES + 1) if stat.S_ISREG(os.fstat(handle).st_mode) else None
    except OSError:
        return None
    finally:
        os.close(handle)


def name_of(ask: Ask) -> str | None:
    """The name of an ask's proposal; None where it did not come by the door."""
    return ask.source.removeprefix(SOURCE) if ask.source.startswith(SOURCE) else None


class DoorKeeper:
    """The observer that writes results and the page that states the protocol; everything in them is in the log.

    What an event did not change is not written again: of thousands of results that would take longer than the search.
    A folder that cannot be written is said once by ``say`` and ends nothing.
    """

    def __init__(self, experiment: "Experiment", folder: Path, ledger: Ledger, say: Callable[[str], None]) -> None:
        self.experiment = experiment
        self.folder = folder
        self.ledger = ledger
        self.say = say
        self._said = False
        self._asks: dict[int, list[Ask]] = defaultdict(list)  # proposals by the trial that is their answer
        self._front: tuple[Trial, ...] = ()
        self._members: dict[int, dict[str, Any]] = {}  # of the front by trial, but for their places
        self._resting: set[int] = set()  # trials at a rung
        self._settled: set[int] = set()  # those of them that had their last word when an earlier search ended
        self._stale: dict[str, Ask] = {}  # whose results are to be written
        self._stale_front = self._stale_page = True

    def start(self) -> None:
        """Make the folders, and bring everything in them up to date with the log."""
        self._front = pareto(self.ledger.ordered(), self.experiment.objectives)
        halving = self.experiment.search.halving
        if halving is not None and halving.form == "promotion":
            self._resting = set(self.ledger.pruned)
            self._settled = set(self.ledger.pruned) if self.ledger.ended else set()
        for ask in self.ledger.asks:
            self._note(ask)
        self._refresh()

    def asked(self, ask: Ask, reason: str | None) -> None:
        """See :class:`nas.observer.Observer`."""
        if self._note(ask):
            self._refresh()

    def reported(self, report: "Report", steps: int) -> None:
        """Of running trials the status alone is told: that one goes on which had waited."""
        if report.number in self._resting:
            self._resting.remove(report.number)
            self._settled.discard(report.number)
            self._touch(report.number)
            self._refresh()

    def paused(self, trial: Trial) -> None:
        """A trial that waits has a result, which is not its last."""
        self._resting.add(trial.number)
        self._touch(trial.number)
        self._refresh()

    def finished(self, trial: Trial) -> None:
        """A trial that ended may have moved others from the front."""
        self._resting.discard(trial.number)
        self._touch(trial.number)
        before = self._places()
        self._front = grown(self._front, trial, self.experiment.objectives)
        after = self._places()
        for number in before.keys() | after.keys():
            if before.get(number) != after.get(number):
                self._touch(number)
        self._stale_front |= before != after
        self._stale_page |= trial.source == BASELINE
        self._refresh()

    def _note(self, ask: Ask) -> bool:
        """Take in an ask; whether it came by the door."""
        name, number = name_of(ask), ask.number if ask.number is not None else ask.twin
        if name is None or number is None:
            return False
        self._asks[number].append(ask)
        self._stale[name] = ask
        return True

    def _touch(self, number: int) -> None:
        """The results that a trial answers are not what they were."""
        self._stale |= {name_of(ask) or "": ask for ask in self._asks.get(number, ())}

    def _places(self) -> dict[int, int]:
        return {trial.number: place for place, trial in enumerate(self._front, start=1)}

    def _refresh(self) -> None:
        """Write what has changed; what cannot be written is tried again the next time."""
        places = self._places()
        try:
            for name in (PROPOSALS, RESULTS):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            for name, ask in [*self._stale.items()]:
                number = ask.number if ask.number is not None else ask.twin
                waits = number in self._resting and number not in self._settled
                replace_file(
                    self.folder / RESULTS / f"{name}.json", _json(result(ask, self.ledger, places, waits=waits))
                )
                del self._stale[name]
            if self._stale_front:
                front = [self._member(trial, places) for trial in self._front]
                replace_file(self.folder / RESULTS / FRONT, _json(front))
                self._stale_front = False
            if self._stale_page:
                replace_file(self.folder / PROPOSALS / "README.md", page(self.experiment, self.ledger).encode())
                self._stale_page = False
        except OSError as error:
            self._complain(error)

    def _member(self, trial: Trial, places: Mapping[int, int]) -> dict[str, Any]:
        if trial.number not in self._members:
            self._members[trial.number] = _member(trial)
        return {"front": places[trial.number]} | self._members[trial.number]

    def _complain(self, error: OSError) -> None:
        if not self._said:
            self._said = True
            self.say(f"open door: {error.filename}: {error.strerror}; results are not written, the search goes on")


def result(ask: Ask, ledger: Ledger, places: Mapping[int, int], *, waits: bool = False) -> dict[str, Any]:
    """What became of a proposal, as plain data. ``places`` on the front are by trial number, 1 the winner's.

    Of a duplicate the figures are those of the trial it repeats, whose number is ``twin``. A trial that ``waits`` at
    a rung has the figures it has there, and its last word is yet to come.
    """
    number = ask.number if ask.number is not None else ask.twin
    trial = ledger.trials.get(-1 if number is None else number)
    status = "RUNNING" if trial is None else "WAITING" if waits else trial.status.value
    found: dict[str, Any] = {
        "name": name_of(ask),
        "status": "DUPLICATE" if ask.verdict == "duplicate" else status,
        "final": trial is not None and not waits,
        "trial": ask.number,
        "twin": ask.twin,
        "digest": None if ask.digest.startswith("illegal:") else ask.digest,
        "reason": f"the same topology as trial {ask.twin}" if ask.twin is not None else trial and trial.reason,
        "front": None if number is None else places.get(number),
    }
    if trial is not None:
        known = trial.status is not Status.REJECTED
        found |= {
            "objectives": dict(trial.objectives),
            "accuracy": trial.accuracy,
            "loss": trial.loss,
            "flops": trial.flops if known else None,
            "parameters": trial.parameters if known else None,
            "traffic": trial.traffic if known else None,
            "spent_flops": trial.spent_flops,
            "seconds": trial.seconds,
        }
    return found


def is_final(found: Mapping[str, Any]) -> bool:
    """Whether a result is the last word: of a trial that runs, or waits at a rung, another one follows."""
    return bool(found.get("final", found.get("status") not in (None, "RUNNING", "WAITING")))


def _member(trial: Trial) -> dict[str, Any]:
    """A member of the front as a program reads it; ``edges`` where fixed numbers on edges are all there is."""
    assert trial.topology is not None, "what was trained has a topology"
    edges = edges_of(Topology.from_dict(dict(trial.topology)))
    return {
        "trial": trial.number,
        "source": trial.source,
        "point": dict(trial.point),
        "depth": trial.topology["depth"],
        "digest": trial.digest,
        "objectives": dict(trial.objectives),
        "edges": None if edges is None else [[i, j, float(weight)] for (i, j), weight in edges.items()],
        "topology": dict(trial.topology),
    }


def _json(data: Any) -> bytes:
    return (json.dumps(data, indent=1) + "\n").encode()
