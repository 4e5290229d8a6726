"""A process beside the driver that plans what will be proposed, where that does not depend on what trials say.

A driver of a thousand workers spends half of its time on planning. What the other process found is looked at like
anything that was planned before: without it, or where it is not as far, the driver plans itself, to the same result.
"""

import itertools
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from nas.collector import spared
from nas.experiment import Experiment
from nas.halving import BASELINE
from nas.ledger import Ledger
from nas.planner import Planner
from nas.pricing import Judged
from nas.proposal import Proposal
from nas.samplers import sampler_of
from nas.sampling import Told
from search_space.space import Point

MANY = 64  # workers from which on a driver has something to gain
FORESEEN = ("stratified",)  # samplers whose proposals follow from the asks before them alone

Found = tuple[Point, Judged]


@contextmanager
def ahead(planner: Planner, baselines: Sequence[Point], ledger: Ledger, workers: int) -> Iterator[int | None]:
    """Inside the block ``planner`` has help, if so many workers are worth it; gives the helper's process number."""
    if planner.experiment.search.sampler not in FORESEEN or workers < MANY:
        yield None
        return
    ours, theirs = Pipe()
    # Neither as a fork, which threads forbid, nor as multiprocessing does it, which runs the user's script again. In a
    # session of its own it does not hear of Ctrl-C; it ends with the connection, however the driver ends.
    start = f"import sys; sys.path[:] = {sys.path!r}; from nas.ahead import main; main({theirs.fileno()})"
    command = [sys.executable, "-c", start]
    with (
        ours,
        subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
        ) as process,
    ):
        theirs.close()
        with suppress(OSError):
            ours.send((planner.experiment, tuple(baselines), tuple(ledger.told), len(ledger.asks)))
        planner.elsewhere = partial(_found, ours, ledger)
        try:
            yield process.pid
        finally:
            planner.elsewhere = tuple
            process.kill()  # it has nothing to lose


def _found(ours: Connection, ledger: Ledger) -> Iterator[Found]:
    """What was planned and has arrived, in the order of asking; nothing where the other process has died."""
    with suppress(OSError, EOFError):
        ours.send(len(ledger.asks))
        while ours.poll():
            yield ours.recv()


def main(descriptor: int) -> None:
    """The other process: asks what the driver will ask, and sends what it will have to plan, until nobody listens."""
    with Connection(descriptor) as theirs, suppress(OSError, EOFError), spared():
        experiment, baselines, told, asks = theirs.recv()
        _foresee(experiment, baselines, list(told), _Teller(experiment, theirs, asks))


class _Teller(Planner):
    """Sends what it plans, in the order in which it is asked, unless the driver is past it."""

    def __init__(self, experiment: Experiment, theirs: Connection, asks: int) -> None:
        super().__init__(experiment)
        self.ask = self._reached = asks
        self._theirs = theirs

    def _remember(self, point: Point, found: Judged) -> None:
        super()._remember(point, found)
        while self._theirs.poll():
            self._reached = self._theirs.recv()
        if self.ask >= self._reached:
            if found.topology is not None:
                found.topology.digest  # noqa: B018 - is worked out here, and goes along
            self._theirs.send((point, found))


def _foresee(experiment: Experiment, baselines: Sequence[Point], told: list[Told], planner: _Teller) -> None:
    """Ask as the study does; what is trained, a repeat or rejected is all the same to a sampler that is foreseen."""
    sampler = sampler_of(
        experiment.search,
        experiment.space,
        seed=experiment.seed,
        goals=[objective.goal for objective in experiment.objectives],
        rank=tuple,
        identify=planner.identify,
    )
    for ask in itertools.count(planner.ask):
        planner.ask = ask
        proposed = (baselines[ask], BASELINE) if ask < len(baselines) else sampler.propose(ask, told)
        if proposed is None:
            return
        point, source = proposed
        topology = planner.judge(Proposal(point, source)).topology
        told.append(Told(point, None, None, source, f"illegal:{ask}" if topology is None else topology.digest))
