"""A disk that is full while a search runs: one message, and nothing is lost once there is room again."""

import os
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def small(tmp_path):
    """A file system of a megabyte, which a test may fill."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def ends_as_if_nothing_had_been(wireloom, path, run, finished, rows):
    ran = wireloom("search", path, "--out", run, "--resume")
    assert ran.status == 0, ran.err
    for table in ("trials.csv", "pareto.csv", "confirm.csv"):
        assert rows(run / table) == rows(finished / table), table
    assert wireloom("doctor", run).out == "healthy\n"


@pytest.mark.parametrize("room", [16, 40, 130])  # KiB: in the first trials, later, and among the views at the end
def test_a_full_file_system(small, room, wireloom, write, finished, rows):
    path, run, filler = write(), small / "run", small / "filler"
    filler.write_bytes(bytes((1024 - room) * 1024))
    ran = wireloom("search", path, "--out", run)
    assert ran.status == 2
    assert ran.err.count("\n") == 1
    assert ran.err.startswith(f"wireloom: {run}/")
    assert "No space left on device" in ran.err
    assert "Traceback" not in ran.out + ran.err
    again = wireloom("search", path, "--out", run, "--resume")  # nothing was freed: the same, and nothing is lost
    assert again.status == 2
    assert "No space left on device" in again.err
    filler.unlink()
    ends_as_if_nothing_had_been(wireloom, path, run, finished, rows)


def test_files_that_may_not_grow(wireloom, write, finished, rows, tmp_path):
    resource = pytest.importorskip("resource")
    path, run = write(), tmp_path / "run"
    code = (
        "import resource, sys\nfrom nas.cli import main\nimport nas.evaluate, nas.search\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, {resource.RLIM_INFINITY}))\n"
        f"sys.argv = {['wireloom', 'search', str(path), '--out', str(run)]!r}\nmain()"
    )
    environment = os.environ | {"WIRELOOM_TRACKING": "off"}
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "File too large" in done.stderr
    ends_as_if_nothing_had_been(wireloom, path, run, finished, rows)
