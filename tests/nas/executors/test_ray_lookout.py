"""Looking at nodes that come and go, without a cluster. A head that really dies is in test_ray_client.py."""

import socket
import threading
from types import SimpleNamespace

import pytest

pytest.importorskip("ray")

from nas.executors.cluster import ClusterGone, Node
from nas.executors.ray import lookout as module
from nas.executors.ray.lookout import Lookout, lost

LONG = 30.0  # seconds after which what has not happened is a failure
ONE, TWO = Node("a", "10.0.0.1", 2, 0), Node("b", "10.0.0.2", 2, 0)


@pytest.fixture
def head(monkeypatch):
    """What answers for the head of a cluster, looked at all the time; each look sets ``looked``."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(module, "LOOK", 0.02)
        found = SimpleNamespace(server=server, nodes=[ONE], looked=threading.Event())
        place = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(module.ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address=place))

        def look():
            found.looked.set()
            if isinstance(found.nodes, Exception):
                raise found.nodes
            return found.nodes

        monkeypatch.setattr(module, "nodes_of", look)
        yield found


@pytest.fixture
def looking(head):
    made = []

    def build(gone=lambda: None):
        made.append(Lookout([], gone))
        return made[-1]

    yield build
    for one in made:
        one.leave()


def again(head, times=2) -> None:
    for _ in range(times):
        head.looked.clear()
        assert head.looked.wait(LONG)


def test_nodes_are_those_of_the_last_look(head, looking):
    subject = looking()
    again(head)
    assert subject.nodes == [ONE]
    head.nodes = [ONE, TWO]
    again(head)
    assert subject.nodes == [ONE, TWO]


def test_a_look_that_fails_leaves_what_was_seen(head, looking):
    subject = looking()
    again(head)
    head.nodes = RuntimeError("not now")
    again(head)
    assert subject.nodes == [ONE]
    head.nodes = [TWO]
    again(head)
    assert subject.nodes == [TWO]


def test_a_head_that_is_gone_is_said_once_and_ray_is_not_asked(head, looking, monkeypatch):
    monkeypatch.setattr(module, "GONE", 0.1)
    said, told = [], threading.Event()
    subject = looking(lambda: (said.append(True), told.set()))
    again(head)
    assert said == []
    head.server.close()
    assert told.wait(LONG)
    head.looked.clear()
    subject.leave()
    assert not subject._thread.is_alive()
    assert said == [True]
    assert not head.looked.is_set()


def test_a_head_that_answers_and_tells_nothing_is_gone_too(head, looking, monkeypatch):
    monkeypatch.setattr(module, "GONE", 0.1)
    told = threading.Event()
    looking(told.set)
    again(head)
    assert not told.is_set()
    head.nodes = RuntimeError("of another cluster")
    assert told.wait(LONG)


def test_who_has_left_looks_no_more(head, looking):
    subject = looking()
    again(head)
    subject.leave()
    assert not subject._thread.is_alive()


def test_what_is_said_of_it():
    error = lost("10.0.0.1:6379")
    assert isinstance(error, ClusterGone)
    assert str(error).startswith("--ray-address 10.0.0.1:6379: the connection is lost (its first machine has not")
    assert str(error).endswith("--resume goes on")
