"""The connection of Ray Client: tried, made and let go of, each within a time; Ray itself would wait for ever."""

import logging
import os
import threading
import traceback
import warnings
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import ray

from nas.executors import cluster
from nas.executors.cluster import ClusterError

JOINED = 120.0  # seconds that a server has to start a process for us and to unpack the code
LEFT = 10.0  # seconds that it has to let us go


def connect(address: str) -> None:
    """Join a cluster by Ray Client; ClusterError where that cannot be done."""
    cluster.check_address(address)
    ping(address)
    logging.getLogger("ray.util.client").setLevel(logging.CRITICAL)  # what it has to say comes as an error too
    hush()
    # It is in pieces as small as a trial's messages that ten megabytes are sent.
    warnings.filterwarnings("ignore", "More than 10MB of messages have been created", UserWarning)
    os.environ.update({name: value for name, value in cluster.SETTINGS.items() if name not in os.environ})
    errors: list[BaseException | None] = []

    def join() -> None:
        try:
            ray.init(
                address,
                namespace=f"wireloom-{uuid4().hex[:8]}",
                runtime_env={"py_modules": cluster.packages()},
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            errors.append(None)
        except BaseException as error:
            errors.append(error)

    bounded(join, JOINED)
    if not errors:
        disconnect()
        raise ClusterError(
            f"--ray-address {address}: the cluster answers, but has not taken us in within {JOINED:g} s; look at the "
            "logs ray_client_server*.err of its first machine"
        )
    if errors[0] is not None:
        raise ClusterError(cluster.refusal(address, errors[0])) from errors[0]
    logging.getLogger("ray.util.client.logsclient").setLevel(
        logging.CRITICAL
    )  # to which ray has set a level of its own


def hush() -> None:
    """Keep what threads of grpc die of off the terminal, as of a channel that is closed: who called is told as well."""
    before = threading.excepthook
    if getattr(before, "hushes", False):
        return

    def hook(what: threading.ExceptHookArgs, /) -> None:
        frames = traceback.walk_tb(what.exc_traceback)
        if not any(str(frame.f_globals.get("__name__")).startswith("grpc.") for frame, _ in frames):
            before(what)

    hook.hushes = True  # type: ignore[attr-defined]
    threading.excepthook = hook


def ping(address: str) -> None:
    """ClusterError where no Ray Client server answers at ``address`` in time; ray would try for minutes."""
    try:
        import grpc  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise ClusterError(
            f"--ray-address {address}: Ray Client needs grpcio, which is not installed: pip install 'wireloom[search]'"
        ) from error
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated import ray_client_pb2, ray_client_pb2_grpc

    messages: Any = ray_client_pb2
    server: Any = ray_client_pb2_grpc.RayletDriverStub

    channel = init_grpc_channel(address.removeprefix("ray://"), asynchronous=False)
    try:
        grpc.channel_ready_future(channel).result(timeout=cluster.PATIENCE / 2)
        request = messages.ClusterInfoRequest(type=messages.ClusterInfoType.PING)
        client = [("client_id", uuid4().hex)]
        server(channel).ClusterInfo(request, timeout=cluster.PATIENCE / 2, metadata=client)
    except grpc.FutureTimeoutError:
        raise ClusterError(cluster.no_client(address, "it says nothing that is of grpc")) from None
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            raise ClusterError(
                f"--ray-address {address}: the cluster asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN "
                "to what 'ray get-auth-token' prints there"
            ) from None
        raise ClusterError(cluster.no_client(address, str(error.code()))) from None
    finally:
        channel.close()


def disconnect() -> None:
    """Leave the cluster, in seconds whether it answers or not."""
    if not bounded(ray.shutdown, LEFT):
        # It waits for what will not come, and would again when Python ends. That ends with the channel.
        from ray.util.client import ray as client

        worker = client.get_context().client_worker  # type: ignore[no-untyped-call]
        if worker is not None and worker.channel is not None:
            worker.channel.close()


def bounded(action: Callable[[], object], seconds: float = LEFT) -> bool:
    """Whether ``action`` has ended within some seconds; it goes on in a thread of its own if not."""

    def act() -> None:
        try:
            action()
        except Exception:
            logging.getLogger(__name__).debug("on leaving a cluster", exc_info=True)

    thread = threading.Thread(target=act, name="ray-client", daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()
