"""Servers that a test starts and ends: PostgreSQL in a folder of its own, and MLflow's in front of it."""

import getpass
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

DEADLINE = 180.0  # for a server to come up on a busy machine


def programs() -> Path:
    """The folder of PostgreSQL's programs; skips the test where they are not installed."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    folders = [folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()]
    if not folders:
        pytest.skip("PostgreSQL is not installed: no initdb in PATH or /usr/lib/postgresql/*/bin")
    return folders[-1]


def owner() -> str:
    """Whose a PostgreSQL server is: it refuses to run as root."""
    if os.geteuid() != 0:
        return getpass.getuser()
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@contextmanager
def postgres():
    """A fresh cluster on a Unix socket alone; gives the URI of its database."""
    pytest.importorskip("psycopg2", reason="the driver is not installed: pip install 'wireloom[postgres]'")
    binaries, user = programs(), owner()
    # Not pytest's folder, which another user may not enter and whose path is too long for a socket.
    folder = Path(tempfile.mkdtemp(prefix="wireloom-pg-"))
    account = {} if os.geteuid() != 0 else {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
    options = {"env": {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(folder)}, "cwd": folder, **account}
    server = None
    try:
        if account:
            shutil.chown(folder, user, account["group"])
        data = folder / "data"
        subprocess.run(
            [binaries / "initdb", "-D", data, "-U", "wireloom", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True, capture_output=True, **options,
        )  # fmt: skip
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [binaries / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"],
                stdout=log, stderr=log, **options,
            )  # fmt: skip
        wait_for(lambda: "ready to accept" in (folder / "log").read_text(), server, folder / "log")
        subprocess.run(
            [binaries / "createdb", "-h", folder, "-U", "wireloom", "mlflow"],
            check=True,
            capture_output=True,
            **options,
        )
        yield f"postgresql+psycopg2://wireloom@/mlflow?host={folder}"
    finally:
        if server is not None:
            server.send_signal(signal.SIGINT)  # end every session, and then the server
            server.wait(timeout=DEADLINE)
        shutil.rmtree(folder)


def wait_for(done, process, log: Path) -> None:
    deadline = time.monotonic() + DEADLINE
    while not done():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


class MlflowServer:
    """``mlflow server`` on a loopback port that stays the same when it is stopped and started again."""

    def __init__(self, folder: Path, database: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        self._arguments = [
            sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database, "--artifacts-destination",
            str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
        ]  # fmt: skip
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
        environment |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._arguments, stdout=log, stderr=log, cwd=self._folder, env=environment, start_new_session=True
            )
        wait_for(self._healthy, self._process, self.log)

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> None:
        """At once and without a goodbye, with the workers that it started."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
