"""Does a search lose anything, whatever dies? A seeded fault about every tenth trial, and a report of conformance.

    python experiments/faults.py [--trials 200] [--seeds 0 1 2 3 4] [--every 10] [--out report.md]

For each seed: a Ray cluster of a first node without CPUs and two nodes of one, an MLflow server, and ``wireloom
search`` on the cluster (``fault_driver.py``), its folder on a file system of its own where one may be mounted. Every
kind of fault strikes equally often, in an order and at trials that are drawn from the seed: ::

    worker   its process is killed                    hang     it hangs in C, until its time limit
    node     its node is killed, another joins        memory   it wants more memory than there is
    driver   the driver is killed (-9), and resumed   raise    it raises what nobody foresaw
    disk     the run's disk is full, then freed       nan      its loss is not finite
    mlflow   the tracking server is killed, and comes back some trials later

Exit status 0 where the report finds nothing wrong, else 1. Needs Linux.
"""

import argparse
import errno
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from fault_report import ROOT, Conformance, examine
from ray.cluster_utils import Cluster

from search_space.document import dump

KINDS = ("worker", "node", "driver", "hang", "memory", "raise", "nan", "disk", "mlflow")
SETTINGS = {  # a dead node is noticed in seconds; nobody is told of what happens here
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
}
ROOM = 64  # MiB of the run's file system
AWAY = 5  # results after which the tracking server comes back
LONGEST = 1800.0  # seconds for a seed
BAD_INPUT = 2  # the exit status of a search that ends with a message


def experiment(trials: int, seed: int) -> dict[str, object]:
    """A search of really trained trials of a fraction of a second."""
    return {
        "name": f"faults-{seed}",
        "seed": seed,
        "trials": trials,
        "data": {"kind": "digits"},
        "backbone": {"kind": "mixer", "dim": 8, "patch": 4},
        "space": {"depth": {"low": 4, "high": 12}, "families": {"wiring": {"edges": {"low": 1, "high": 24}}}},
        "objectives": [{"metric": "accuracy", "goal": "maximize"}, {"metric": "flops", "goal": "minimize"}],
        "train": {"budget_gflops": 0.04, "batch": 32, "lr": 4.0e-3, "warmup": 0.1, "threads": 1},
        "search": {"sampler": "random", "baselines": False, "checkpoint_seconds": 0.1},
        "resources": {"cpu": 1},
    }


def schedule(trials: int, every: int, seed: int) -> dict[int, str]:
    """What happens to which trial: one of every ``every``, drawn; every kind once before any is there twice."""
    draw = random.Random(f"faults {seed}")
    kinds: list[str] = []
    found = {}
    for first in range(0, trials - every + 1, every):
        kinds = kinds or draw.sample(KINDS, len(KINDS))
        found[first + draw.randrange(every)] = kinds.pop()
    return found


class Server:
    """``mlflow server`` on a loopback port that stays the same when it comes back."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{port}"
        self.store = f"sqlite:///{folder / 'mlflow.db'}"
        self._folder = folder
        self._command = [
            sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self.store, "--artifacts-destination",
            str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def up(self) -> bool:
        """Whether it was started, be it that it does not answer yet."""
        return self._process is not None

    def start(self) -> None:
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, cwd=self._folder, env=environment, start_new_session=True
            )

    def wait(self) -> None:
        """Until it answers."""
        end = time.monotonic() + 180
        while True:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


class Search:
    """One seed: the cluster, the server, the driver of the moment, and the faults that strike from outside."""

    def __init__(self, trials: int, every: int, seed: int, folder: Path, *, limit: bool = False) -> None:
        self.trials, self.folder, self.limit = trials, folder, limit
        self.disk, self.marks = folder / "disk", folder / "marks"
        self.run = self.disk / "run"
        self.disk.mkdir()
        self.marks.mkdir()
        self.fates = schedule(trials, every, seed)
        (self.marks / "fates.json").write_text(json.dumps(self.fates))
        (folder / "faults.yaml").write_text(dump(experiment(trials, seed)))
        self.outside = {number for number, kind in self.fates.items() if kind in ("node", "driver", "disk", "mlflow")}
        self.back: int | None = None  # the number of results at which the tracking server comes back
        self.full = False
        self.drivers = 0
        self.driver: subprocess.Popen[bytes] | None = None
        self.server = Server(folder)

    def play(self) -> Conformance:
        """From the first driver to one that ends well, and what is left then. Raises RuntimeError where none does."""
        with ExitStack() as stack:
            self._mount(stack)
            stack.callback(self.server.kill)
            self.server.start()
            head = {"num_cpus": 0, "include_dashboard": False, "temp_dir": str(self.folder / "ray")}
            self.cluster = Cluster(initialize_head=True, head_node_args=head)
            stack.callback(self.cluster.shutdown)
            for _ in range(2):
                self.cluster.add_node(num_cpus=1)
            self.server.wait()
            self._drive()
            stack.callback(self._stop)
            end = time.monotonic() + LONGEST
            while not self._over():
                if time.monotonic() > end:
                    raise RuntimeError(f"it has not ended after {LONGEST:g} s")
                self._strike()
                if self.back is not None and self.results >= self.back:
                    self._come_back()
                time.sleep(0.02)
            self.server.kill()
            return examine(self.run, self.trials, self.fates, self.marks, self.server.store)

    def _mount(self, stack: ExitStack) -> None:
        """Give the run a small file system of its own; where that is not allowed, files may not grow instead."""
        mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}m", "none", str(self.disk)]
        self.mounted = not self.limit and not subprocess.run(mount, capture_output=True, check=False).returncode
        if self.mounted:
            stack.callback(subprocess.run, ["umount", "-l", str(self.disk)], check=True)

    def _drive(self) -> None:
        """Start a driver, on what an earlier one left."""
        resume = ["--resume"] if (self.run / "events.jsonl").exists() else []
        if not resume:  # killed before its first line
            shutil.rmtree(self.run, ignore_errors=True)
        command = [sys.executable, str(ROOT / "experiments" / "fault_driver.py"), str(self.marks / "fates.json")]
        command += [str(self.folder / "faults.yaml"), "--out", str(self.run), "--ray-address", self.cluster.address]
        environment = os.environ | {"MLFLOW_TRACKING_URI": self.server.uri, "WIRELOOM_TRACKING": "", "COLUMNS": "400"}
        environment["PYTHONPATH"] = str(ROOT)
        self.drivers += 1
        self.output = self.folder / f"driver-{self.drivers}.log"
        with self.output.open("wb") as output:
            self.driver = subprocess.Popen([*command, *resume], stdout=output, stderr=output, cwd=ROOT, env=environment)

    def _stop(self) -> None:
        if self.driver is not None:
            self.driver.kill()
            self.driver.wait()

    @property
    def results(self) -> int:
        log = self.run / "events.jsonl"
        return log.read_bytes().count(b'"event":"result"') if log.exists() else 0

    def _strike(self) -> None:
        """Do what is due to trials that have come as far as their fault."""
        for number in sorted(self.outside):
            mark = self.marks / f"struck-{number}"
            if mark.exists():
                self.outside.remove(number)
                getattr(self, f"_{self.fates[number]}")(mark)

    def _node(self, mark: Path) -> None:
        """Kill the node that the trial ran on; another joins."""
        raylet = int(mark.read_text())
        nodes = {node.all_processes["raylet"][0].process.pid: node for node in self.cluster.worker_nodes}
        # A worker outlives its node for some seconds: its trial ends anyway, and any node may be killed.
        self.cluster.remove_node(nodes.get(raylet) or min(nodes.items())[1], allow_graceful=False)
        self.cluster.add_node(num_cpus=1)

    def _driver(self, mark: Path) -> None:
        self._stop()
        self._drive()

    def _disk(self, mark: Path) -> None:
        """Fill the disk under the search; :meth:`_over` frees it when the driver has ended for it."""
        if self.mounted:
            with (self.disk / "filler").open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
        elif self.driver is not None:
            most = (self.run / "events.jsonl").stat().st_size
            resource.prlimit(self.driver.pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
        self.full = True
        (self.marks / "full").touch()

    def _mlflow(self, mark: Path) -> None:
        self.server.kill()
        self.back = self.results + AWAY

    def _come_back(self) -> None:
        self.back = None
        self.server.start()

    def _over(self) -> bool:
        """Whether the search is over; a driver that ended for a full disk, or left tracking undone, goes on."""
        if self.driver is None or (status := self.driver.poll()) is None:
            return False
        said = self.output.read_text()
        if status == BAD_INPUT and self.full and ("No space left" in said or "File too large" in said):
            self.full = False
            (self.disk / "filler").unlink(missing_ok=True)
            (self.marks / "full").unlink()
        elif status:
            raise RuntimeError(f"a driver ended with {status}: {said[-2000:]}")
        elif "tracking is not complete" in said:  # --resume writes what is missing
            if self.back is not None:
                self._come_back()
            self.server.wait()
        else:
            return True
        self._drive()
        return False


def table(found: dict[int, Conformance], seconds: dict[int, float], drivers: dict[int, int]) -> str:
    """The report: a column for each seed."""
    names = list(dict.fromkeys(name for one in found.values() for name in one.counts))
    causes = sorted({cause for one in found.values() for cause in one.restarts})
    rows = [[name, *(f"{one.counts.get(name, 0):g}" for one in found.values())] for name in names]
    rows += [[f"restarts: {cause}", *(str(one.restarts[cause]) for one in found.values())] for cause in causes]
    rows += [["drivers", *(str(drivers[seed]) for seed in found)]]
    rows += [["seconds", *(f"{seconds[seed]:.0f}" for seed in found)]]
    rows += [["wrong", *(str(len(one.wrong)) for one in found.values())]]
    head = ["seed", *map(str, found)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--limit", action="store_true", help="a full disk is a limit on the size of the driver's files")
    parser.add_argument("--out", type=Path, help="write the table there, too")
    asked = parser.parse_args()
    os.environ |= SETTINGS
    found: dict[int, Conformance] = {}
    seconds, drivers = {}, {}
    for seed in asked.seeds:
        folder = Path(tempfile.mkdtemp(prefix="wl-"))  # short: sockets are in it
        began = time.monotonic()
        search = Search(asked.trials, asked.every, seed, folder, limit=asked.limit)
        print(f"seed {seed}: {dict(Counter(search.fates.values()))} in {folder}", flush=True)
        try:
            found[seed] = search.play()
        except (RuntimeError, OSError, ValueError) as error:
            found[seed] = Conformance(wrong=[f"{type(error).__name__}: {error}"])
        seconds[seed], drivers[seed] = time.monotonic() - began, search.drivers
        for text in found[seed].wrong:
            print(f"seed {seed}: WRONG: {text}", flush=True)
        if found[seed].wrong:
            print(f"seed {seed}: drivers' words and the server's are in {folder}", flush=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
        print(table(found, seconds, drivers), flush=True)
    if asked.out is not None:
        asked.out.write_text(table(found, seconds, drivers) + "\n")
    return int(any(one.wrong for one in found.values()))


if __name__ == "__main__":
    sys.exit(main())
