"""The executor itself: what the study drives."""

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Self
from uuid import uuid4

import ray

from graphs.errors import UserError
from nas.evaluate import evaluate as train
from nas.executors import cluster
from nas.executors.desk import Desk
from nas.executors.far import Away
from nas.executors.parcel import Parcel
from nas.executors.ray.joining import connect, gpu_memory, nodes_of, on_each
from nas.executors.ray.lookout import Lookout, lost
from nas.executors.ray.trials import fit
from nas.executors.worker import Evaluate, Store, shares
from nas.files import replace_file
from nas.jobs import Job, Outcome, Report
from nas.resources import Share

ENDED = 20.0  # seconds that Tune is given to end; what it has not let go by then goes with the connection


class RayExecutor:
    """Runs as many trials at once as ``share`` of each fits into the cluster.

    ``address`` is that of a running cluster, None starts one of ``cpus`` cores on this machine for as long as this
    executor is open; a process that is connected to a cluster already stays with that one. ``share`` may be a function
    of the memory of a GPU in bytes, None where the cluster has none. ``most`` bounds the slots.

    ``folder`` is where jobs' files go. Workers that see it write there; from others weights are fetched, and
    checkpoints are kept in ``store``, if at all. ``parcel`` holds files that workers need and may lack. ``say`` is
    told, from another thread, what a user should know while waiting. ``away`` says of a study on another machine, whose
    ``folder`` is not touched here, what it has there. Raises ClusterError where the cluster cannot be used.
    """

    def __init__(
        self,
        evaluate: Evaluate = train,
        *,
        address: str | None = None,
        share: Share | Callable[[float | None], Share] | None = None,
        folder: Path | None = None,
        cpus: int | None = None,
        most: int | None = None,
        store: Store | None = None,
        parcel: Parcel | None = None,
        say: Callable[[str], None] = lambda text: None,
        away: Away | None = None,
    ) -> None:
        self._evaluate = evaluate
        self._most = most
        self._store = store
        self._parcel = parcel
        self._say = say
        self._away = away
        self._kept: dict[int, Job] = {}  # jobs under way whose checkpoints may lie in the store
        self._probe = None if folder is None else folder.absolute() / ".executor"
        self._token = uuid4().hex if away is None else away.token
        self._desk: Desk | None = None
        self._fit: threading.Thread | None = None
        self._lookout: Lookout | None = None
        self._lost = False
        os.environ.update({name: value for name, value in cluster.SETTINGS.items() if name not in os.environ})
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what trials say comes another way
        self._address = address
        self._joined = ray.is_initialized()
        if not self._joined:
            connect(address, cpus)
        try:
            nodes = nodes_of()
            self._share = share(gpu_memory(nodes)) if callable(share) else share or Share()
            cluster.check_share(self._share, nodes)
            if address is not None:
                here = cluster.versions() if away is None else away.versions
                cluster.check_versions(on_each(nodes, cluster.versions, num_cpus=0), here)
            self._lookout = Lookout(nodes, self._gone)
        except BaseException:
            self._disconnect()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.close()
        finally:
            self._disconnect()

    @property
    def slots(self) -> int:
        """How many trials the nodes of the moment hold, at least 1: what is submitted waits for a node."""
        assert self._lookout is not None
        found = cluster.slots(self._share, self._lookout.nodes)
        return max(1, found if self._most is None else min(found, self._most))

    def submit(self, job: Job) -> None:
        if self._lost:
            raise lost(self._address)
        if self._desk is None:
            self._start()
        assert self._desk is not None
        if job.keep is not None and self._store is not None:
            self._kept[job.number] = job
        paths = {name: path.absolute() for name in ("weights", "keep") if (path := getattr(job, name)) is not None}
        self._desk.submit(replace(job, **paths))

    def next(self) -> Report | Outcome:
        assert self._desk is not None, "next() without a job"
        return self._settled(self._desk.next())

    def gather(self, seconds: float) -> list[Report | Outcome]:
        """What there is to hear; waits for a message, but not for longer than ``seconds``."""
        assert self._desk is not None, "gather() without a job"
        return [self._settled(message) for message in self._desk.gather(seconds)]

    def _settled(self, message: Report | Outcome) -> Report | Outcome:
        """The message, behind which no checkpoint is left in the store that nobody needs."""
        if isinstance(message, Outcome) and (job := self._kept.pop(message.number, None)) is not None:
            goes_on = job.waits if message.kind == "stopped" else message.kind == "lost" and not job.last
            if self._store is not None and job.keep is not None and not goes_on:
                with suppress(UserError):  # one more file there does no harm to the search
                    self._store.delete(job.keep.name)
        return message

    def ready(self, seconds: float) -> bool:
        assert self._desk is not None, "ready() without a job"
        return self._desk.ready(seconds)

    def answer(self, number: int, go_on: bool) -> None:
        assert self._desk is not None, "answer() without a job"
        self._desk.answer(number, go_on)

    def close(self) -> None:
        """Stop what runs, within seconds; the connection stays, so that more can be submitted."""
        desk, fit = self._desk, self._fit
        self._desk = self._fit = None
        if desk is not None and fit is not None:
            desk.close()
            if not self._lost:
                fit.join(ENDED)

    def _gone(self) -> None:
        self._lost = True
        if self._desk is not None:
            self._desk.fail(lost(self._address))

    def _start(self) -> None:
        if self._probe is not None and self._away is None:
            replace_file(self._probe, self._token.encode())
        if self._address is not None and self._store is None:
            self._warn_apart()
        self._desk = Desk(self._say)
        given = (
            *(self._desk, self._evaluate, self._share, self._probe, self._token, self._store, self._parcel),
            None if self._away is None else self._away.landing,
        )
        self._fit = threading.Thread(target=fit, args=given, name="ray-tune", daemon=True)
        self._fit.start()

    def _warn_apart(self) -> None:
        sees = on_each(nodes_of(), partial(shares, self._probe, self._token), num_cpus=0)
        apart = [node for node, seen in sees.items() if not seen]
        if apart:
            self._say(
                f"{len(apart)} of {len(sees)} nodes do not see the run's folder ({', '.join(apart[:3])}): a trial that "
                "loses its machine begins again; --storage URI keeps checkpoints where all machines find them"
            )

    def _disconnect(self) -> None:
        if self._probe is not None and self._away is None:
            self._probe.unlink(missing_ok=True)
        if self._lookout is not None:
            self._lookout.leave()
        if not self._joined and not self._lost:  # leaving would wait for it
            ray.shutdown()
