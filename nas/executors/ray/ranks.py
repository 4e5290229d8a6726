"""The other processes of a trial that several train: actors in the bundles that Tune reserved beside its own."""

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from graphs.memory import keep_memory
from nas.executors.parcel import Parcel, Unpacked
from nas.jobs import Job
from nas.ranks import follow
from nas.resources import Share
from trainers.errors import TeamError
from trainers.team import Team, lead

ENDED = 20.0  # seconds that the others are given to end with the first process


class _Rank:
    def __init__(self, share: Share, parcel: Parcel | None) -> None:
        share.enforce()
        keep_memory()
        choose_interface(_address())
        self._files = Unpacked(parcel)

    def follow(self, job: Job, rank: int, size: int, host: str, port: int) -> None:
        follow(self._files.here(job), rank=rank, size=size, host=host, port=port)


class Ranks:
    """The ``workers`` - 1 others of a trial's process, which makes it in its own placement group.

    They last from job to job and end with this process. ``files`` are a user's as they are here, and ``sent`` the
    reference of the parcel they were in. ``fail`` is told, from another thread, of what one of them died
    or failed of: the first process may be waiting for it in a place where nothing reaches it.
    """

    def __init__(self, share: Share, fail: Callable[[BaseException], None], files: Unpacked, sent: Any) -> None:
        self._share = share
        self._files = files
        self._sent = sent
        self._fail = fail
        group = ray.util.get_current_placement_group()
        assert group is not None, "Tune starts every trial in one"
        self._group = group
        self._host = _address()
        choose_interface(self._host)
        self._actors = self._made()

    @contextlib.contextmanager
    def gather(self, job: Job) -> Iterator[Team]:
        """All of them for one job: its team, led by this process."""
        called: list[_Call] = []

        def start(port: int) -> None:
            called.append(_Call(self._actors, self._files.there(job), self._host, port, self._fail))

        try:
            with lead(self._share.workers, job.device, start) as team:
                yield team
        except TeamError:
            for call in called:
                call.settle()  # it is said why before it is said that
            raise
        finally:
            if not all(call.ended() for call in called):
                for actor in self._actors:
                    ray.kill(actor)
                self._actors = self._made()

    def _made(self) -> list[Any]:
        each = self._share.each
        rank: Any = ray.remote(num_cpus=each.cpu, num_gpus=each.gpu, max_restarts=0)(_Rank)
        return [
            rank.options(
                scheduling_strategy=PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=index)
            ).remote(each, self._sent)
            for index in range(1, self._share.workers)
        ]


class _Call:
    """The others at work on one job, watched by a thread."""

    def __init__(
        self, actors: list[Any], job: Job, host: str, port: int, fail: Callable[[BaseException], None]
    ) -> None:
        self._refs = [
            actor.follow.remote(job, rank, len(actors) + 1, host, port) for rank, actor in enumerate(actors, start=1)
        ]
        self._fail = fail
        self._thread = threading.Thread(target=self._watch, name="ranks", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        waiting = self._refs
        try:
            while waiting:
                done, waiting = ray.wait(waiting, num_returns=1)
                ray.get(done)
        except BaseException as error:
            self._fail(error)

    def settle(self) -> None:
        """Wait until it was said what another one ended of, if it did."""
        self._thread.join(ENDED)

    def ended(self) -> bool:
        """Whether all have ended, which they do soon after the first; if not, nobody is told of their end any more."""
        _, waiting = ray.wait(self._refs, num_returns=len(self._refs), timeout=ENDED)
        if waiting:
            self._fail = lambda error: None
        return not waiting


def _address() -> str:
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def choose_interface(address: str) -> None:
    """Have gloo talk over the interface with this address; it would take that of the host's name, often loopback."""
    for _, name in socket.if_nameindex():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError, ImportError):
            import fcntl

            found = fcntl.ioctl(probe.fileno(), 0x8915, struct.pack("256s", name.encode()[:15]))  # SIOCGIFADDR
            if socket.inet_ntoa(found[20:24]) == address:
                os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
