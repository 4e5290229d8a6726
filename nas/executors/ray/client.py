"""A cluster that is reached by Ray Client: this machine is no node of it, and need not be reached from there.

Tune runs in an actor beside the server that we talk with; the study stays in this process.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from nas.evaluate import evaluate as train
from nas.executors import cluster
from nas.executors.cluster import ClusterError
from nas.executors.far import Away, Engine, FarExecutor
from nas.executors.parcel import Parcel
from nas.executors.ray.connection import bounded, connect, disconnect
from nas.executors.ray.executor import RayExecutor
from nas.executors.worker import Evaluate, Store
from nas.resources import Share


class ClientExecutor(FarExecutor):
    """:class:`RayExecutor` in the cluster at ``address``, ray://HOST:PORT, and as such for the study here.

    A process that is connected to a cluster already stays with that one. Raises ClusterError where the cluster cannot
    be used, or later on where it is not reached any more.
    """

    def __init__(
        self,
        evaluate: Evaluate = train,
        *,
        address: str | None,
        share: Share | Callable[[float | None], Share] | None = None,
        folder: Path | None = None,
        most: int | None = None,
        store: Store | None = None,
        parcel: Parcel | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        assert address is not None
        self._joined = ray.is_initialized()
        if not self._joined:
            connect(address)
        options = {
            "address": address,
            "share": share,
            "folder": None if folder is None else folder.absolute(),
            "most": most,
            "store": store,
            "parcel": parcel,
        }
        try:
            wire = _Wire(address, partial(_there, evaluate, options))
            super().__init__(wire, cluster.versions(), folder=folder, say=say, lost=partial(lost, address))
        except BaseException:
            self._disconnect()
            raise
        self._engine = wire

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.leave()
            if self.reached:
                self._engine.cut()
        finally:
            self._disconnect()

    def _disconnect(self) -> None:
        if not self._joined:
            disconnect()


def _there(evaluate: Evaluate, options: Mapping[str, Any], away: Away, say: Callable[[str], None]) -> RayExecutor:
    """The executor in the cluster, in a process that is connected to it."""
    return RayExecutor(evaluate, **options, say=say, away=away)


class _Wire:
    """Calls to the engine, an actor that ends with our connection."""

    def __init__(self, address: str, make: Callable[[Away, Callable[[str], None]], RayExecutor]) -> None:
        self._address = address
        self._make = make
        self._actor: Any = None
        self._told: list[Any] = []

    def tell(self, name: str, *arguments: object) -> None:
        try:
            self._told.append(getattr(self._actor, name).remote(*arguments))
        except Exception as error:
            raise lost(self._address, error) from error

    def ask(self, name: str, *arguments: object) -> Any:
        told, self._told = self._told, []
        try:
            if self._actor is None:
                self._actor = _actor(self._make)
            return ray.get([*told, getattr(self._actor, name).remote(*arguments)])[-1]
        except ray.exceptions.RayTaskError:
            raise  # it is there, and has a fault
        except Exception as error:  # of many kinds: of ray, of grpc, of sockets, and plain ones
            raise lost(self._address, error) from error

    def cut(self) -> None:
        """End the engine with all it runs, where it is reached."""
        if self._actor is not None:
            bounded(lambda: ray.kill(self._actor))


def _actor(make: Callable[..., RayExecutor]) -> Any:
    # Beside the server that we are connected to: without that node nothing goes on anyway.
    node = ray.get_runtime_context().get_node_id()
    kind: Any = ray.remote(num_cpus=0, max_restarts=0, max_task_retries=0)(Engine)
    return kind.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True)).remote(make)


def lost(address: str, why: str | BaseException) -> ClusterError:
    if isinstance(why, ConnectionError):
        why = "its server is gone"
    return ClusterError(cluster.gone(address, cluster.last_line(str(why)) or type(why).__name__))
