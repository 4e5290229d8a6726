"""Joining a cluster, or starting one on this machine, and asking its nodes."""

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import uuid4

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from nas.executors import cluster
from nas.executors.cluster import ClusterError, Node

T = TypeVar("T")


def connect(address: str | None, cpus: int | None) -> None:
    """Join a cluster or start one; ClusterError where that cannot be done."""
    if address is not None:
        cluster.check_address(address)
    options: dict[str, Any] = {"address": address or "local", "log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        options |= {"num_cpus": cpus, "include_dashboard": False}
    else:
        options["runtime_env"] = {"py_modules": cluster.packages()}
    try:
        ray.init(namespace=f"wireloom-{uuid4().hex[:8]}", **options)
    except (OSError, RuntimeError, ValueError, TimeoutError) as error:
        raise ClusterError(cluster.refusal(address, error)) from error


def nodes_of() -> list[Node]:
    return [
        Node(
            node["NodeID"], node["NodeManagerAddress"], node["Resources"].get("CPU", 0), node["Resources"].get("GPU", 0)
        )
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]


def on_each(nodes: list[Node], function: Callable[[], T], **takes: float) -> dict[str, T]:
    """What ``function`` gives on each node, by the node's address; ClusterError where one does not answer."""
    task: Any = ray.remote(max_retries=0, **takes)(lambda: function())  # type: ignore[call-overload]
    asked = {
        node.address: task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote()
        for node in nodes
    }
    try:
        found = ray.get(list(asked.values()), timeout=cluster.PATIENCE)
    except ray.exceptions.RayError as error:
        raise ClusterError(cluster.refusal(None, error)) from error
    return dict(zip(asked, found, strict=True))


def gpu_memory(nodes: list[Node]) -> float | None:
    """The memory of a GPU in bytes, the least of those of all nodes; None where no node has one."""

    def of_this_node() -> float:
        import torch

        return float(torch.cuda.get_device_properties(0).total_memory)

    having = [node for node in nodes if node.gpu]
    if not having:
        return None
    return min(on_each(having, of_this_node, num_gpus=0.001).values())
