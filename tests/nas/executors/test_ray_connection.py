"""What is no server of Ray Client is told apart from one within seconds. What one does is in test_ray_client.py."""

import builtins
import http.server
import socket
import threading

import pytest

pytest.importorskip("ray")

from nas.executors import cluster
from nas.executors.cluster import ClusterError
from nas.executors.ray import connection
from nas.executors.ray.connection import bounded, connect


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 1.0)


def test_where_nothing_listens_is_said_at_once():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"ray://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"{address}: nothing answers there"):
            connect(address)


def test_a_socket_that_never_answers_is_given_up_on():
    pytest.importorskip("grpc")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"ray://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ClusterError, match=r"does not answer as a Ray Client server .*by default 10001"):
            connect(address)


def test_a_web_server_is_no_cluster():
    pytest.importorskip("grpc")
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        with pytest.raises(ClusterError, match="does not answer as a Ray Client server"):
            connect(f"ray://127.0.0.1:{web.server_port}")
        web.shutdown()


def test_another_server_of_grpc_is_told_apart():
    """Such as the port that 'ray start' prints."""
    grpc = pytest.importorskip("grpc")
    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with pytest.raises(ClusterError, match=r"Ray Client server \(.*UNIMPLEMENTED\); .* goes without ray://"):
            connect(f"ray://127.0.0.1:{port}")
    finally:
        server.stop(None).wait()


def test_without_grpc_it_is_said_what_to_install(monkeypatch):
    whole = builtins.__import__

    def lacking(name, *rest):
        if name == "grpc":
            raise ModuleNotFoundError("No module named 'grpc'", name="grpc")
        return whole(name, *rest)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with (
        socket.create_server(("127.0.0.1", 0)) as there,
        pytest.raises(ClusterError, match=r"needs grpcio, which is not installed: pip install 'wireloom\[search\]'"),
    ):
        connect(f"ray://127.0.0.1:{there.getsockname()[1]}")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("Version mismatch: The cluster was started with:\n Ray: 2\n here 3"), "install the same python"),
        (ConnectionError("Ray Client\n connection timeout"), "Ray cannot be used: connection timeout"),
    ],
)
def test_a_server_that_does_not_take_us_in_is_a_users_error(monkeypatch, error, said):
    def refuse(*arguments, **options):
        raise error

    monkeypatch.setattr(connection, "ping", lambda address: None)
    monkeypatch.setattr(connection.cluster, "check_address", lambda address: None)
    monkeypatch.setattr(connection.ray, "init", refuse)
    with pytest.raises(ClusterError, match=f"ray://here:1: .*{said}"):
        connect("ray://here:1")


def test_a_server_that_begins_and_does_not_end_is_left(monkeypatch):
    monkeypatch.setattr(connection, "ping", lambda address: None)
    monkeypatch.setattr(connection, "JOINED", 0.1)
    monkeypatch.setattr(connection.cluster, "check_address", lambda address: None)
    monkeypatch.setattr(connection.ray, "init", lambda *arguments, **options: threading.Event().wait())
    with pytest.raises(ClusterError, match=r"has not taken us in within 0.1 s; .*ray_client_server"):
        connect("ray://here:1")


@pytest.mark.parametrize(("module", "heard"), [("grpc._channel", 0), ("nas.study", 1)])
def test_what_a_thread_of_grpc_dies_of_is_not_shown(monkeypatch, module, heard):
    shown = []
    monkeypatch.setattr(threading, "excepthook", shown.append)
    connection.hush()
    connection.hush()
    space = {"__name__": module}
    exec("def die(): raise ValueError('the channel is closed')", space)
    thread = threading.Thread(target=space["die"])
    thread.start()
    thread.join()
    assert len(shown) == heard


def test_what_does_not_end_is_not_waited_for():
    assert bounded(lambda: None, 30.0)
    assert not bounded(threading.Event().wait, 0.05)


def test_what_fails_on_leaving_has_ended():
    def fail():
        raise LookupError

    assert bounded(fail, 30.0)
