import os
import shutil
import signal
import subprocess
import sys
import time
import uuid

import pytest

from nas import mirror
from nas.events import EventLog, read
from nas.mirror import Mirror, mirrored, place_of, prepare, restore
from nas.run_folder import RunFolder
from nas.storage import Storage, StorageError
from search_space.document import dump

DEADLINE = 120.0


@pytest.fixture
def store():
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def run(make, study, tmp_path):
    """The folder of a search that pretended to train."""
    return study(make(trials=6), folder=tmp_path / "run").folder.path


@pytest.fixture
def said():
    return []


def held(place):
    return {name: place.read(name) for name in place.list() if name != mirror.CLAIM}


def here(run):
    return {
        path.relative_to(run).as_posix(): path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and path.relative_to(run).parts[0] in (mirror.LOG, *mirror.FILES, *mirror.FOLDERS)
    }


def until(condition):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_copy_follows_the_run_and_brings_it_back(run, store, said, tmp_path):
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "trial-0009.safetensors").write_bytes(b"half trained")
    (run / "weights" / ".trial-0009.safetensors.77.tmp").write_bytes(b"half written")
    place = place_of(store, run)
    with mirrored(run, store, said.append, every=0.01):
        until(lambda: place.read(mirror.LOG) is not None)
        assert "checkpoints/trial-0009.safetensors" in place.list()
        (run / "checkpoints" / "trial-0009.safetensors").unlink()
        log = EventLog(run / "events.jsonl")
        log.append("end")
        log.close()
        with (run / "events.jsonl").open("ab") as file:  # what a driver is just writing
            file.write(b'{"seq": 9')
        until(lambda: "checkpoints/trial-0009.safetensors" not in place.list())
    assert said == []
    (run / "weights" / ".trial-0009.safetensors.77.tmp").unlink()
    EventLog(run / "events.jsonl").close()
    assert held(place) == here(run)
    (tmp_path / "lost").mkdir()
    restore(place, tmp_path / "lost" / "run")
    assert here(tmp_path / "lost" / "run") == here(run)


def test_a_search_goes_on_from_its_mirror_as_if_nothing_had_been_lost(make, study, store, said, tmp_path):
    whole = study(make(trials=10), folder=tmp_path / "whole")
    path = tmp_path / "run"
    study(make(trials=4), folder=path)
    with mirrored(path, store, said.append):
        pass
    shutil.rmtree(path)
    assert "was taken back from its mirror" in prepare(store, path, resume=True)
    experiment = make(trials=10)
    done = study(experiment, folder=path)
    assert done.ledger.ordered() == whole.ledger.ordered()
    assert prepare(store, path, resume=True) is None  # what is here is gone by


def test_a_storage_that_fails_is_said_once_and_tried_again(run, store, said, monkeypatch):
    place, put, broken = place_of(store, run), Storage.put_bytes, [True]

    def put_bytes(self, data, name):
        if broken and name == mirror.LOG:
            broken.append(True)
            raise StorageError("the bucket is away")
        put(self, data, name)

    monkeypatch.setattr(Storage, "put_bytes", put_bytes)
    monkeypatch.setattr(mirror, "MOST", 0.02)
    with mirrored(run, store, said.append, every=0.005):
        until(lambda: len(broken) > 4)
        assert said == ["the mirror fails and the search goes on: the bucket is away; it is tried again"]
        broken.clear()
        until(lambda: len(said) == 2)
    assert said[1].endswith("is up to date again")
    assert held(place) == here(run)


def test_a_storage_that_stays_away_is_said_at_the_end_and_hangs_nobody(run, store, said, monkeypatch):
    put = Storage.put_bytes

    def put_bytes(self, data, name):
        if name == mirror.LOG:
            time.sleep(3600)
        put(self, data, name)

    monkeypatch.setattr(Storage, "put_bytes", put_bytes)
    made = Mirror(run, place_of(store, run), said.append)
    made.close(seconds=0.1)
    assert len(said) == 1
    assert "is behind" in said[0]


def test_a_mirror_of_something_else_is_refused(run, store, said, make, study, tmp_path):
    with mirrored(run, store, said.append):
        pass
    place = place_of(store, run)
    whole = (run / "events.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    (run / "events.jsonl").write_bytes(b"".join(lines[:-3]))
    with pytest.raises(
        StorageError, match=r"is 3 events ahead of .*run: the search went on.*; move .*run away and resume"
    ):
        Mirror(run, place, said.append)
    (run / "events.jsonl").write_bytes(b"".join([*lines[:-3], lines[-3].replace(b"at", b"as"), *lines[-2:]]))
    with pytest.raises(StorageError, match=f"its log parts from this one at line {len(lines) - 2}"):
        Mirror(run, place, said.append)
    other = study(make(trials=6), folder=tmp_path / "other").folder.path
    with pytest.raises(StorageError, match=r"is no mirror of .*other: it is another run"):
        Mirror(other, place, said.append)
    assert place.read(mirror.LOG) == whole  # refused before anything was written


def test_a_driver_whose_mirror_was_taken_over_leaves_it_alone(run, store, said):
    place = place_of(store, run)
    made = Mirror(run, place, said.append, every=0.01)
    until(lambda: place.read(mirror.LOG) is not None)
    Mirror(run, place, said.append, every=3600).close()
    log = EventLog(run / "events.jsonl")
    before = place.read(mirror.LOG)
    log.append("end")
    log.close()
    until(lambda: said)
    made.close()
    assert said == [f"another driver mirrors to {place.uri} now; this run is not mirrored any more"]
    assert place.read(mirror.LOG) == before


def test_what_cannot_be_is_refused_before_a_folder_is_made(run, store, said, tmp_path):
    with mirrored(run, store, said.append):
        pass
    with pytest.raises(StorageError, match="holds the mirror of a run already; continue that with --resume"):
        prepare(store, tmp_path / "elsewhere" / "run", resume=False)
    with pytest.raises(StorageError, match=r"neither .*nowhere nor its mirror .*nowhere holds a run"):
        prepare(store, tmp_path / "nowhere", resume=True)
    for folder in (tmp_path, run, tmp_path / "x" / ".."):
        with pytest.raises(StorageError, match="choose another place"):
            place_of(str(folder), run)
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_with_something_else_is_not_filled(run, store, said, tmp_path):
    with mirrored(run, store, said.append):
        pass
    other = tmp_path / "other" / "run"
    other.mkdir(parents=True)
    (other / "thesis.tex").write_text("mine")
    assert prepare(store, other, resume=True) is None
    assert [path.name for path in other.iterdir()] == ["thesis.tex"]


def test_a_storage_that_cannot_be_used_is_one_message(wireloom, write, tmp_path, tree):
    path = write()
    before = tree(tmp_path)
    ran = wireloom("search", path, "--out", "run", "--storage", "nowhere://bucket")
    assert (ran.status, ran.err) == (2, "wireloom: nowhere://bucket is no storage: Protocol not known: nowhere\n")
    assert tree(tmp_path) == before


def test_storage_and_report_may_change_when_a_search_goes_on(run, make, tmp_path):
    folder = RunFolder.resume(run, make(trials=6, storage="mirrors", report={"refresh": 5}))
    folder.log.close()
    assert folder.experiment.storage == str(tmp_path / "mirrors")  # relative to the experiment's file
    assert folder.experiment.report.refresh == 5


@pytest.mark.slow
def test_killed_and_its_folder_lost_a_search_ends_the_same_from_its_mirror(finished, write, tmp_path, rows, wireloom):
    """A real search in a process of its own, killed where the mirror is behind the log."""
    path = write()
    command = [sys.executable, "-m", "nas", "search", path, "--out", tmp_path / "run", "--storage", tmp_path / "there"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, env=os.environ | {"WIRELOOM_TRACKING": "off"}
    )
    log = tmp_path / "there" / "run" / "events.jsonl"
    try:
        until(lambda: (log.exists() and len(read(log)) > 12) or process.poll() is not None)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    shutil.rmtree(tmp_path / "run")
    ran = wireloom("search", path, "--out", "run", "--storage", "there", "--resume")
    assert ran.status == 0, ran.err
    assert "was taken back from its mirror" in ran.out
    for table in ("trials.csv", "pareto.csv", "confirm.csv"):
        assert rows(tmp_path / "run" / table) == rows(finished / table), table
    there = Storage.open(str(tmp_path / "there" / "run"))
    assert held(there) == here(tmp_path / "run")
    assert dump({"name": "tiny"}).strip() in there.read("experiment.yaml").decode()
