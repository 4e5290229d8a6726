"""Machines that come and go: several Ray nodes on this one, and drivers that are killed, in real processes."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from odd_trials import Odd, alive, job, outcome, wait_for

from nas.events import read
from nas.executors import cluster
from nas.executors.cluster import ClusterError
from nas.executors.ray import RayExecutor
from nas.resources import Share

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[3]


@pytest.fixture
def nodes(monkeypatch):
    """A cluster whose first node has no cores, to which tests add some."""
    from ray import cloudpickle
    from ray.cluster_utils import Cluster

    cloudpickle.register_pickle_by_value(sys.modules[Odd.__module__])
    for name in ("health_check_initial_delay_ms", "health_check_period_ms"):
        monkeypatch.setenv(f"RAY_{name}", "1000")
    folder = tempfile.mkdtemp(prefix="wl-")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "temp_dir": folder})
    yield made
    made.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def test_nodes_come_and_go(nodes, tmp_path):
    """A node dies with its trial, another has joined; then there is none for a while, which is said."""
    said = []
    first = nodes.add_node(num_cpus=1)
    notes = tmp_path / "notes"
    notes.mkdir()
    trainer = Odd({0: "waits!"}, notes)
    with RayExecutor(trainer, address=nodes.address, folder=tmp_path, say=said.append) as subject:
        assert subject.slots == 1
        subject.submit(job())
        wait_for((notes / "began-0").exists)
        second = nodes.add_node(num_cpus=1)
        wait_for(lambda: subject.slots == 2)
        nodes.remove_node(first, allow_graceful=False)
        assert outcome(subject).kind == "lost"
        subject.submit(job())
        assert outcome(subject).kind == "complete"
        assert "py_modules" in (notes / "path").read_text(), "the code was sent"
        assert not said
        nodes.remove_node(second, allow_graceful=False)
        # An idle process outlives its node for some seconds, in which it would still do the job.
        wait_for(lambda: not any(alive(int(path.name[4:])) for path in notes.glob("pid-*")))
        ends = []
        study = threading.Thread(target=lambda: ends.append(persist(subject, job(1))), daemon=True)
        study.start()
        wait_for(lambda: said != [])
        assert "no node of the cluster that holds one with resources {cpu: 1}" in said[0]
        nodes.add_node(num_cpus=1)
        wait_for(lambda: ends == ["complete"])


def persist(subject, job) -> str:
    """How a job ends that is run again when it is lost, as a study does: its idle process died with its node."""
    while True:
        subject.submit(job)
        kind = outcome(subject).kind
        if kind != "lost":
            return kind


def test_what_a_cluster_lacks_is_said_at_once(nodes, monkeypatch):
    nodes.add_node(num_cpus=1)
    with pytest.raises(ClusterError, match="asks for a GPU, and no node of the cluster has one"):
        RayExecutor(address=nodes.address, share=Share(1, 0.5))
    with pytest.raises(ClusterError, match=r"{cpu: 3} is more than any node of the cluster has \(nodes: 0 CPUs"):
        RayExecutor(address=nodes.address, share=Share(3))
    monkeypatch.setattr(cluster.metadata, "version", lambda name: "0.1")
    with pytest.raises(ClusterError, match=r"has ray .* \(the driver 0.1\), torch .* install the same on every node"):
        RayExecutor(address=nodes.address)


def test_a_run_folder_that_no_node_sees_is_said(nodes, tmp_path, monkeypatch):
    """Weights come through the object store, and checkpoints through a store, if there is one."""
    monkeypatch.setattr("nas.executors.ray.executor.shares", lambda probe, token: False)
    said = []
    nodes.add_node(num_cpus=1)
    notes = tmp_path / "notes"
    notes.mkdir()
    with RayExecutor(Odd({}, notes), address=nodes.address, folder=tmp_path / "none", say=said.append) as subject:
        subject.submit(job(weights=tmp_path / "weights"))
        assert outcome(subject).kind == "complete"
    assert (tmp_path / "weights").read_bytes() == b"weights"
    assert "2 of 2 nodes do not see the run's folder" in said[0] or "nodes do not see" in said[0]
    assert "--storage URI" in said[0]


def processes(folder: str) -> list[int]:
    """All processes that were started with Ray's folder ``folder`` in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            mine = f"RAY_TMPDIR={folder}\0".encode() in path.read_bytes()
            state = (path.parent / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if mine and state != "Z":
            found.append(int(path.parent.name))
    return found


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_is_stopped_leaves_nothing_running_and_goes_on(write, tmp_path, rows, end):
    path = write(trials=6, confirm=None, search={"sampler": "random"}, resources={"cpu": 1})
    folder = tempfile.mkdtemp(prefix="wl-")
    environment = {**os.environ, "WIRELOOM_TRACKING": "off", "PYTHONPATH": str(ROOT), "RAY_TMPDIR": folder}
    command = [sys.executable, "-m", "nas", "search", str(path), "--out", str(tmp_path / "run"), "--executor", "ray"]
    log = tmp_path / "run" / "events.jsonl"
    running = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: log.exists() and any(event["event"] == "result" for event in read(log)))
        assert running.poll() is None, "it ended before it could be stopped"
        running.send_signal(end)
        status = running.wait(60)
        assert status == (-signal.SIGKILL if end == signal.SIGKILL else 130)
        wait_for(lambda: not processes(folder))
        subprocess.run([*command, "--resume"], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    finally:
        running.kill()
        running.wait()
        shutil.rmtree(folder, ignore_errors=True)
    with (tmp_path / "run" / "trials.csv").open(newline="") as file:
        trials = list(csv.DictReader(file))
    assert sorted(int(row["number"]) for row in trials) == list(range(6))
    assert {row["status"] for row in trials} <= {"COMPLETE", "PRUNED"}
    results = [event["number"] for event in read(log) if event["event"] == "result"]
    assert sorted(results) == list(range(6)), "told once each"
