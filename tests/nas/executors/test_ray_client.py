"""A cluster that is reached by Ray Client: a real one with its server, on this machine, and this process is no part."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conformance import AnyExecutor, does_what_serial_does, making
from heads import started
from odd_trials import LONG, Odd, job, outcome, wait_for

from nas.evaluate import evaluate
from nas.events import read
from nas.executors.cluster import ClusterError
from nas.resources import Share

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def head():
    with started() as made:
        yield made


@pytest.fixture(scope="module")
def connected(head):
    """This process, connected for the tests of the module."""
    from nas.executors.ray.connection import connect, disconnect

    connect(head.address)
    yield head
    disconnect()


def through(head, trainer, **options):
    """An executor for a trainer that no worker could import."""
    from ray import cloudpickle

    from nas.executors.ray import ClientExecutor

    whole = getattr(trainer, "func", trainer)
    module = getattr(whole, "__module__", type(whole).__module__)
    if not module.startswith("nas."):
        cloudpickle.register_pickle_by_value(sys.modules[module])
    return ClientExecutor(trainer, address=head.address, **options)


@pytest.fixture
def by_client(connected):
    made = []

    def build(trainer, **options):
        made.append(through(connected, trainer, **options))
        made[-1].__enter__()
        return made[-1]

    yield build
    for one in made:
        one.__exit__(None, None, None)


@pytest.fixture
def executor(by_client):
    with making(by_client) as build:
        yield build


class TestAnyExecutor(AnyExecutor):
    pass


@pytest.mark.parametrize("seen", [True, False])
def test_one_trial_at_a_time_it_does_what_serial_does(by_client, make, tmp_path, rows, seen):
    """Workers see the run's folder, or do not."""
    does_what_serial_does(by_client(evaluate, most=1, folder=tmp_path if seen else None), make, tmp_path, rows)


def test_weights_come_in_pieces_and_none_is_left(by_client, tmp_path, monkeypatch):
    monkeypatch.setattr("nas.executors.worker.PIECE", 1000)
    content = bytes(range(256)) * 13
    subject = by_client(Odd({}, tmp_path, content))
    subject.submit(job(weights=tmp_path / "w.safetensors"))
    assert outcome(subject).kind == "complete"
    assert (tmp_path / "w.safetensors").read_bytes() == content


def test_checkpoints_are_kept_where_a_worker_sees_the_folder(by_client, tmp_path):
    """A process that is killed loses its trial, which goes on from the file that the worker wrote itself."""
    subject = by_client(Odd({0: "killed!"}, tmp_path), folder=tmp_path)
    for kind in ("lost", "complete"):
        subject.submit(job(keep=tmp_path / "state"))
        assert outcome(subject).kind == kind


def test_what_the_cluster_lacks_is_said(connected, monkeypatch):
    with pytest.raises(ClusterError, match=r"{cpu: 3} is more than any node of the cluster has \(nodes: 2 CPUs"):
        through(connected, evaluate, share=Share(3))
    with pytest.raises(ClusterError, match="asks for a GPU, and no node of the cluster has one"):
        through(connected, evaluate, share=Share(1, 0.5))
    monkeypatch.setattr("nas.executors.cluster.metadata.version", lambda name: "0.1")
    with pytest.raises(ClusterError, match=r"has ray .* \(the driver 0.1\), torch .* install the same on every node"):
        through(connected, evaluate)


def test_closing_frees_the_cluster_and_more_can_be_submitted(by_client, connected, tmp_path):
    subject = by_client(Odd({0: "waits!"}, tmp_path))
    subject.submit(job())
    wait_for((tmp_path / "began-0").exists)
    subject.close()
    wait_for(lambda: not connected.processes("ray::Trial"))
    subject.submit(job())
    assert outcome(subject).kind == "complete"
    subject.__exit__(None, None, None)
    wait_for(lambda: not connected.at_work())


def test_an_engine_that_dies_ends_the_search_with_what_can_be_done(by_client, tmp_path):
    subject = by_client(Odd({0: "waits"}, tmp_path), folder=tmp_path)
    subject.submit(job())
    wait_for((tmp_path / "began-0").exists)
    subject._engine.cut()
    with pytest.raises(ClusterError, match=r"ray://.* the connection is lost \(.*--resume goes on"):
        outcome(subject)


def test_a_server_that_hangs_is_given_up_and_left_within_seconds(tmp_path, monkeypatch):
    """In a process of its own: it is to end, too."""
    with started() as head:
        done = subprocess.run(
            [sys.executable, "-c", HANGS, head.address, head.folder, str(tmp_path)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{Path(__file__).parent}", "RAY_AUTH_MODE": "disabled"},
            capture_output=True, text=True, timeout=LONG, check=False,
        )  # fmt: skip
    assert done.stdout.strip().endswith("it has not answered for 5 s"), done.stdout + done.stderr
    assert done.returncode == 0


HANGS = r"""
import os, signal, sys
from pathlib import Path
import odd_trials
from nas.executors import far
from nas.executors.cluster import ClusterError
from nas.executors.ray import ClientExecutor
from ray import cloudpickle
cloudpickle.register_pickle_by_value(odd_trials)
address, folder, notes = sys.argv[1:]
with ClientExecutor(odd_trials.Odd({0: "waits"}, Path(notes)), address=address) as subject:
    subject.submit(odd_trials.job())
    subject.next()
    far.LOST = 3.0
    for path in Path("/proc").glob("[0-9]*"):
        line = (path / "cmdline").read_text().replace("\0", " ") if path.exists() else ""
        if "ray.util.client.server" in line and folder in (path / "environ").read_text(errors="replace"):
            os.kill(int(path.name), signal.SIGSTOP)
    try:
        subject.next()
    except ClusterError as error:
        print(str(error).partition("(")[2].partition(")")[0], flush=True)
"""


def search(write, tmp_path, address, **changes):
    """A search in a process of its own, begun: it has one result. And its command."""
    path = write(trials=6, confirm=None, search={"sampler": "random"}, resources={"cpu": 1})
    command = [sys.executable, "-m", "nas", "search", str(path), "--out", str(tmp_path / "run")]
    command += ["--ray-address", address]
    environment = {**os.environ, "WIRELOOM_TRACKING": "off", "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"}
    environment |= changes
    log = tmp_path / "run" / "events.jsonl"
    running = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: log.exists() and any(event["event"] == "result" for event in read(log)))
        assert running.poll() is None, "it ended before it could be stopped"
    except BaseException:
        running.kill()
        print(running.communicate()[0].decode())
        raise
    return running, [*command, "--resume"], environment


def resumed(command, environment, tmp_path) -> None:
    """Continue the search and see that every trial was told once."""
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL, timeout=LONG)
    with (tmp_path / "run" / "trials.csv").open(newline="") as file:
        trials = list(csv.DictReader(file))
    assert sorted(int(row["number"]) for row in trials) == list(range(6))
    assert {row["status"] for row in trials} <= {"COMPLETE", "PRUNED"}
    results = [event["number"] for event in read(tmp_path / "run" / "events.jsonl") if event["event"] == "result"]
    assert sorted(results) == list(range(6)), "told once each"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_is_stopped_leaves_the_cluster_free_and_goes_on(head, write, tmp_path, end):
    running, command, environment = search(write, tmp_path, head.address, RAY_CLIENT_RECONNECT_GRACE_PERIOD="3")
    assert head.at_work()
    running.send_signal(end)
    said = running.communicate(timeout=LONG)[0].decode()
    assert running.returncode == (-signal.SIGKILL if end == signal.SIGKILL else 130), said
    assert "Traceback" not in said
    wait_for(lambda: not head.at_work())
    resumed(command, environment, tmp_path)


@pytest.mark.parametrize("way", ["address", "gcs"])
def test_a_cluster_that_goes_ends_the_search_and_another_continues_it(write, tmp_path, way):
    """Reached by Ray Client, or the search is in its midst."""
    with started() as first:
        running, command, environment = search(write, tmp_path, getattr(first, way))
        first.kill()
        said = running.communicate(timeout=LONG)[0].decode()
    assert running.returncode == 2, said
    assert "Traceback" not in said
    assert "--resume goes on" in " ".join(said.split())
    with started() as second:
        command[command.index("--ray-address") + 1] = getattr(second, way)
        resumed(command, environment, tmp_path)
