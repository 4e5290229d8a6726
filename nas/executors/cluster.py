"""What can be wrong with a cluster, and how it is said. No ray here: addresses, nodes, versions, messages."""

import platform
import re
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from graphs.errors import UserError
from nas.resources import Share

# Ray's own settings, unless the user has set them: no telemetry, no files of its own, no chatter. Tune's snapshots
# are for resuming Tune; ours is the event log.
SETTINGS: Mapping[str, str] = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1e9",
}
PATIENCE = 20.0  # seconds that a cluster has to answer
VERSIONED = ("ray", "torch", "numpy")


class ClusterError(UserError):
    """A cluster cannot be reached, has not what is asked for, or differs from this machine."""


class ClusterGone(ClusterError):
    """A cluster is gone in whose midst this process is: it does well to end now, before ray ends it in its way."""


@dataclass(frozen=True)
class Node:
    """A machine of the cluster with all it has, used or not."""

    id: str
    address: str
    cpu: float
    gpu: float


def check_address(address: str) -> None:
    """ClusterError where nothing that answers as a cluster is at ``address``; at most half a minute."""
    if address == "auto":
        return  # Ray says at once where there is none
    found = re.fullmatch(r"(ray://)?(\[[0-9a-fA-F:]+\]|[^:/\s]+):(\d{1,5})", address)
    if found is None or not 0 < int(found[3]) < 65536:
        raise ClusterError(
            f"--ray-address {address!r} is no address; write auto, HOST:PORT, such as 10.0.0.1:6379, or "
            "ray://HOST:PORT, such as ray://10.0.0.1:10001"
        )
    try:
        socket.create_connection((found[2].strip("[]"), int(found[3])), timeout=5).close()
    except OSError as error:
        raise ClusterError(
            f"--ray-address {address}: nothing answers there ({error.strerror or error}); start a cluster with "
            "'ray start --head' on its first machine, or name another address"
        ) from error
    if not by_client(address):  # that is asked by other means
        _check_health(address)


def by_client(address: str | None) -> bool:
    """Whether a cluster is to be reached by Ray Client."""
    return address is not None and address.startswith("ray://")


def no_client(address: str, why: str) -> str:
    """What listens at ``address`` is no server of Ray Client."""
    return (
        f"--ray-address {address}: something listens there, but it does not answer as a Ray Client server ({why}); its "
        "port is that of 'ray start --head --ray-client-server-port', by default 10001; what 'ray start' prints "
        "is the other one, which goes without ray://"
    )


def _check_health(address: str) -> None:
    """Ask in a process of its own, because ray has no time limit of ours and may end the process that asks."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise ClusterError(
            f"--ray-address {address}: something listens there, but it does not answer as a Ray cluster within "
            f"{PATIENCE:g} s; name the address that 'ray start --head' printed"
        ) from None
    if done.returncode:
        raise ClusterError(refusal(address, RuntimeError(done.stdout + done.stderr)))


def refusal(address: str | None, error: BaseException) -> str:
    """What ray says on refusing to work, with what can be done about it."""
    at = "a cluster on this machine" if address is None else f"--ray-address {address}"
    text = last_line(str(error)) or type(error).__name__
    if "ersion mismatch" in str(error):
        return f"{at}: {text}; install the same python and ray here as on the cluster"
    if address is not None and "Method not found" in str(error):
        return f"{at}: no head of a cluster listens there; if it is a Ray Client server, write ray://{address}"
    if address == "auto" and isinstance(error, ConnectionError):
        return f"{at}: no cluster runs on this machine; start one with 'ray start --head', or name its HOST:PORT"
    return f"{at}: Ray cannot be used: {text}"


def gone(address: str | None, why: str) -> str:
    """What is said of a cluster that was there."""
    at = "the cluster on this machine" if address is None else f"--ray-address {address}"
    return (
        f"{at}: the connection is lost ({why}); what the run's folder has is kept: once a cluster answers again, "
        "--resume goes on"
    )


def packages() -> list[str]:
    """The folders of our packages, to be sent to nodes that lack them."""
    root = Path(__file__).parents[2]
    return [str(root / name) for name in ("graphs", "search_space", "trainers", "nas")]


def versions() -> dict[str, str]:
    """What must be the same wherever trials run."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def check_versions(facts: Mapping[str, Mapping[str, str]], here: Mapping[str, str]) -> None:
    """ClusterError where a node's versions, given by its address, are not those of ``here``, the driver's."""
    for address, there in facts.items():
        differing = [
            f"{name} {there.get(name, 'unknown')} (the driver {here[name]})"
            for name in here
            if here[name] != there.get(name)
        ]
        if differing:
            raise ClusterError(
                f"node {address} has {', '.join(differing)}; trials of different versions cannot be compared: install "
                "the same on every node"
            )


def slots(share: Share, nodes: Sequence[Node]) -> int:
    """How many trials the nodes hold together."""
    return sum(_fits(share.each, node) for node in nodes) // share.workers


def _fits(share: Share, node: Node) -> int:
    slack = 1e-6  # ten tenths are one
    by_cpu = node.cpu / share.cpu if share.cpu else float("inf")
    if not share.gpu:
        return int(by_cpu + slack)
    each = int(1 / share.gpu + slack) * int(node.gpu) if share.gpu < 1 else int(node.gpu / share.gpu)
    return min(int(by_cpu + slack), each)


def check_share(share: Share, nodes: Sequence[Node]) -> None:
    """ClusterError where not even one trial fits."""
    if slots(share, nodes):
        return
    wanted = f"resources: {share}"
    if share.gpu and not any(node.gpu for node in nodes):
        raise ClusterError(
            f"{wanted} asks for a GPU, and no node of the cluster has one; leave gpu out, or add such a node"
        )
    if share.workers > 1:
        total = f"{sum(node.cpu for node in nodes):g} CPUs and {sum(node.gpu for node in nodes):g} GPUs"
        raise ClusterError(
            f"{wanted} asks for {share.workers} times {share.each} on one node each, and the cluster has not as many "
            f"({len(nodes)} nodes with {total}); ask for less, or add a node"
        )
    largest = ", ".join(sorted({f"{node.cpu:g} CPUs and {node.gpu:g} GPUs" for node in nodes})) or "none"
    raise ClusterError(
        f"{wanted} is more than any node of the cluster has (nodes: {largest}); ask for less, or add a node"
    )


def unwritten(path: Path, error: OSError) -> str:
    return (
        f"{path}: the trained weights cannot be written: {error.strerror or error}; mend that (make room on a full "
        "disk), then --resume trains this trial again and goes on"
    )


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
