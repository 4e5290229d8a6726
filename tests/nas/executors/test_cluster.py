import re
import socket
import subprocess

import pytest

from nas.executors import cluster
from nas.executors.cluster import ClusterError, Node, check_address, check_share, check_versions, refusal, slots
from nas.resources import Share

BIG, SMALL, GPU = Node("a", "10.0.0.1", 8, 0), Node("b", "10.0.0.2", 2, 0), Node("c", "10.0.0.3", 16, 4)


@pytest.mark.parametrize(
    ("share", "nodes", "count"),
    [
        (Share(1), [BIG, SMALL], 10),
        (Share(3), [BIG, SMALL], 2),
        (Share(0.1), [SMALL], 20),
        (Share(1, 0.25), [BIG, GPU], 16),
        (Share(2, 0.25), [GPU], 8),
        (Share(1, 0.4), [GPU], 8),
        (Share(1, 2), [GPU], 2),
        (Share(1, 8), [GPU], 0),
        (Share(4, 0, 2), [BIG, SMALL], 2),
        (Share(4, 4, 4), [GPU, GPU], 2),
        (Share(8, 8, 8), [GPU, GPU], 1),
        (Share(8, 8, 8), [GPU], 0),
        (Share(1), [], 0),
    ],
)
def test_slots_are_what_each_node_holds(share, nodes, count):
    assert slots(share, nodes) == count


@pytest.mark.parametrize(
    ("share", "nodes", "said"),
    [
        (Share(9), [BIG, SMALL], "resources: {cpu: 9} is more than any node .* (2 CPUs and 0 GPUs, 8 CPUs and 0 GPUs"),
        (Share(1, 0.5), [BIG], "resources: {cpu: 1, gpu: 0.5} asks for a GPU, and no node of the cluster has one"),
        (Share(1, 8), [GPU], "{cpu: 1, gpu: 8} is more than any node"),
        (Share(1), [], "nodes: none"),
        (Share(4, 8, 8), [GPU], "asks for 8 times {cpu: 0.5, gpu: 1} on one node each, and the cluster has not as"),
    ],
)
def test_a_share_that_fits_nowhere_is_refused(share, nodes, said):
    with pytest.raises(ClusterError, match=said.replace("{", r"\{").replace("(2", r"\(nodes: 2")):
        check_share(share, nodes)


def test_a_share_that_fits_is_not():
    check_share(Share(8), [BIG, SMALL])


@pytest.mark.parametrize("address", ["10.0.0.1", "http://10.0.0.1:80", "host:0", "host:65536", "", "a b:1", "ray://x"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(ClusterError, match=f"{re.escape(repr(address))} is no address; write auto, HOST:PORT"):
        check_address(address)


def test_ray_client_is_told_apart_by_its_address_and_asked_by_other_means():
    assert cluster.by_client("ray://10.0.0.1:10001")
    assert not any(map(cluster.by_client, (None, "auto", "10.0.0.1:6379")))
    with socket.create_server(("127.0.0.1", 0)) as there:
        check_address(f"ray://127.0.0.1:{there.getsockname()[1]}")


def test_where_nothing_listens_is_said_at_once():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening: nobody else gets the port
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"{address}: nothing answers there .*ray start --head"):
            check_address(address)


def test_something_that_is_no_cluster_is_given_up_on(monkeypatch):
    """What listens and never answers; ray itself would wait for minutes."""
    monkeypatch.setattr(cluster, "PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ClusterError, match="something listens there, but it does not answer as a Ray cluster"):
            check_address(address)


def test_a_refusal_of_the_health_check_is_passed_on(monkeypatch):
    said = subprocess.CompletedProcess([], 1, stdout="", stderr="Version mismatch: cluster 1\n  here 2\n")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: said)
    with (
        socket.create_server(("127.0.0.1", 0)) as there,
        pytest.raises(ClusterError, match="here 2; install the same python and ray here as on the cluster"),
    ):
        check_address(f"127.0.0.1:{there.getsockname()[1]}")


def test_no_cluster_here():
    assert "no cluster runs on this machine" in refusal("auto", ConnectionError("Could not find any"))
    assert refusal("here:10001", RuntimeError("RPC error: Method not found!")).endswith("write ray://here:10001")
    assert refusal(None, RuntimeError("\nwhat\n\n")) == "a cluster on this machine: Ray cannot be used: what"


def test_versions_must_be_the_same():
    here = cluster.versions()
    assert set(here) == {"python", "ray", "torch", "numpy"}
    check_versions({"10.0.0.1": here, "10.0.0.2": dict(here)}, here)
    with pytest.raises(
        ClusterError, match=rf"node 10.0.0.2 has torch 1.0 \(the driver {re.escape(here['torch'])}\); trials"
    ):
        check_versions({"10.0.0.1": here, "10.0.0.2": here | {"torch": "1.0"}}, here)


def test_the_packages_to_be_sent_are_all_four():
    from pathlib import Path

    assert [Path(path).name for path in cluster.packages()] == ["graphs", "search_space", "trainers", "nas"]
    assert all((Path(path) / "__init__.py").is_file() for path in cluster.packages())
