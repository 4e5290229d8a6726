import json
import os
import socket
import subprocess
import sys
import time

import pytest

from nas import holder
from nas.errors import RunFolderError
from nas.events import EventLog

HOLD = """
import sys
from pathlib import Path
from nas.events import EventLog
log = EventLog(Path(sys.argv[1]) / "events.jsonl")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that drives the run in the test's folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def names(folder, **changes):
    """Make the folder name another driver than it did."""
    path = folder / holder.NAME
    data = json.loads(path.read_text()) if path.exists() else {"started": ""}
    path.write_text(json.dumps(data | changes))


def test_the_second_driver_is_refused_with_the_name_of_the_first(other, tmp_path):
    assert holder.held(tmp_path)
    named = holder.driver(tmp_path)
    assert (named.host, named.pid) == (socket.gethostname(), other.pid)
    assert abs(named.since - time.time()) < 120
    with pytest.raises(RunFolderError) as caught:
        EventLog(tmp_path / "events.jsonl")
    said = str(caught.value)
    assert (
        f"another process is running this search: process {other.pid} of {named.user} on {named.host}, since 20" in said
    )
    assert said.endswith("wait for it or stop it")
    assert holder.driver(tmp_path) == named  # the refused one took nothing away


def test_one_that_was_killed_is_not_trusted(other, tmp_path):
    other.kill()
    other.communicate()
    assert (tmp_path / holder.NAME).exists()
    assert not holder.held(tmp_path)
    assert holder.driver(tmp_path) is None
    log = EventLog(tmp_path / "events.jsonl")
    assert holder.driver(tmp_path).pid == os.getpid()
    log.close()
    log.close()
    assert not (tmp_path / holder.NAME).exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pid": 2**22 + 1}, "its driver, process 4194305 of .* has died, but something that it started still runs"),
        ({"started": "another boot/1"}, "has died"),  # the number was given to another process
        ({"host": "elsewhere", "pid": 2**22 + 1}, "process 4194305 of .* on elsewhere, since .*; wait for it"),
        ({"pid": None}, "running this search; wait for it"),
        ({"since": "x"}, "running this search; wait for it"),
    ],
)
def test_a_name_that_does_not_fit_the_lock(other, tmp_path, changes, said):
    names(tmp_path, **changes)
    with pytest.raises(RunFolderError, match=said):
        EventLog(tmp_path / "events.jsonl")


def test_looking_does_not_keep_a_driver_out(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    log = EventLog(tmp_path / "events.jsonl")
    log.close()
    assert not holder.held(tmp_path)
    with (tmp_path / "events.jsonl").open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        before = time.monotonic()
        with pytest.raises(RunFolderError, match="another process"):
            EventLog(tmp_path / "events.jsonl")
        assert time.monotonic() - before >= holder.PATIENCE  # it waits for whoever only looks
    EventLog(tmp_path / "events.jsonl").close()


def test_on_a_file_system_without_locks_the_name_counts(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def unlocked(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unlocked)
    log = EventLog(tmp_path / "events.jsonl")
    assert holder.held(tmp_path)
    names(tmp_path, host="elsewhere", pid=7)
    with pytest.raises(RunFolderError, match=r"process 7 of .* on elsewhere.*if it is dead, delete .*driver.json"):
        EventLog(tmp_path / "events.jsonl")
    names(tmp_path, host=socket.gethostname(), pid=2**22 + 1)
    EventLog(tmp_path / "events.jsonl").close()
    log.close()


def test_a_folder_without_a_run_is_held_by_nobody(tmp_path):
    assert not holder.held(tmp_path)
    assert holder.driver(tmp_path / "none") is None
