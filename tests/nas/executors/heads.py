"""Clusters with a server of Ray Client in real processes on this machine; the process of a test is no part of them."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from odd_trials import LONG, wait_for


class Head:
    """The first machine of a cluster, with two cores."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="wl-")  # short: sockets are in it
        with socket.socket() as one, socket.socket() as two:
            for each in (one, two):
                each.bind(("127.0.0.1", 0))
            gcs, client = one.getsockname()[1], two.getsockname()[1]
        self.address, self.gcs = f"ray://127.0.0.1:{client}", f"127.0.0.1:{gcs}"
        options = {
            "port": gcs,
            "ray-client-server-port": client,
            "num-cpus": 2,
            "temp-dir": self.folder,
            "min-worker-port": 0,
            "max-worker-port": 0,
            "include-dashboard": "false",
        }
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats")
        ]
        command += [f"--{name}={value}" for name, value in options.items()]
        environment = {**os.environ, "WIRELOOM_TEST": self.folder, "RAY_AUTH_MODE": "disabled"}
        self._log = (Path(self.folder) / "log").open("w")
        self._process = subprocess.Popen(
            command, env=environment, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            wait_for(self._listens)
        except BaseException:
            self.end()
            raise

    def _listens(self) -> bool:
        assert self._process.poll() is None, (Path(self.folder) / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(self.address.rpartition(":")[2]))) == 0

    def processes(self, *names: str) -> dict[int, str]:
        """Its processes by number, with their command lines, of those in which one of ``names`` is."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                mine = f"WIRELOOM_TEST={self.folder}\0".encode() in (path / "environ").read_bytes()
                line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                state = (path / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if mine and state != "Z" and any(name in line for name in names):
                found[int(path.name)] = line
        return found

    def at_work(self) -> dict[int, str]:
        """Processes that hold an engine or a trial."""
        return self.processes("ray::Engine", "ray::Trial")

    def kill(self) -> None:
        """As if its power were cut."""
        for number in self.processes(""):
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        self._process.wait(LONG)

    def end(self) -> None:
        self.kill()
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def started() -> Iterator[Head]:
    head = Head()
    try:
        yield head
    finally:
        head.end()
