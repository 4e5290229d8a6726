"""Looks at the nodes of the cluster all the time, so that nobody who asks for them waits for a cluster that is gone."""

import socket
import threading
import time
from collections.abc import Callable, Sequence

import ray

from nas.executors import cluster
from nas.executors.cluster import ClusterGone, Node
from nas.executors.ray.joining import nodes_of

LOOK = 2.0  # seconds between looks
GONE = 30.0  # seconds for which the head may be away; after 60 ray ends this process, without a word of ours


class Lookout:
    """``nodes`` are those of the last look. ``gone`` is told, once, from another thread, that the head does not answer.

    ``nodes`` are to be those of now when it is made.
    """

    def __init__(self, nodes: Sequence[Node], gone: Callable[[], None]) -> None:
        self.nodes = nodes
        self._gone = gone
        self._left = threading.Event()
        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        self._head = host.strip("[]"), int(port)
        self._thread = threading.Thread(target=self._look, name="lookout", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Look no more. Waits for a look under way: ray must not be left in the midst of one."""
        self._left.set()
        self._thread.join(2 * LOOK)

    def _look(self) -> None:
        seen = time.monotonic()
        while not self._left.wait(LOOK):
            if (nodes := _found(self._head)) is not None:
                if not self._left.is_set():
                    self.nodes = nodes
                seen = time.monotonic()
            elif time.monotonic() - seen > GONE:
                self._gone()
                return


def _found(head: tuple[str, int]) -> list[Node] | None:
    """The nodes, None where the head does not tell."""
    # By hand first: ray would wait in there, and in the end take the whole process with it.
    if not reached(head):
        return None
    try:
        return nodes_of()
    except Exception:  # of several kinds; another head may listen there by now
        return None


def reached(place: tuple[str, int]) -> bool:
    """Whether something listens at a host and port."""
    try:
        socket.create_connection(place, timeout=LOOK).close()
    except OSError:
        return False
    return True


def lost(address: str | None) -> ClusterGone:
    """What is said of a cluster whose head is gone."""
    return ClusterGone(cluster.gone(address, f"its first machine has not answered for {GONE:g} s"))
