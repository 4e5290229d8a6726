import importlib
import os
import pickle
import threading
import time
import uuid

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from nas import storage
from nas.storage import Storage, StorageError


@pytest.fixture(params=["folder", "file", "memory"])
def place(request, tmp_path):
    """The address of a place that takes files."""
    return {
        "folder": str(tmp_path / "a folder" / "deep"),
        "file": (tmp_path / "by-uri").as_uri(),
        "memory": f"memory://{uuid.uuid4().hex}/x",
    }[request.param]


def test_files_go_there_and_come_back(place, tmp_path):
    held = Storage.open(place)
    assert held.list() == []  # the check leaves nothing behind
    local, back = tmp_path / "local", tmp_path / "back" / "here"
    for data in (b"one", b"", b"two" * 100_000):
        local.write_bytes(data)
        held.put(local, "checkpoints/trial-0001.safetensors")
        assert held.get("checkpoints/trial-0001.safetensors", back) is True
        assert back.read_bytes() == data
    held.put_bytes(b"log", "events.jsonl")
    assert held.list() == ["checkpoints/trial-0001.safetensors", "events.jsonl"]
    assert held.list("checkpoints/") == ["checkpoints/trial-0001.safetensors"]
    assert held.below("checkpoints").list() == ["trial-0001.safetensors"]
    held.delete("events.jsonl")
    held.delete("events.jsonl")  # what is gone is gone
    assert held.read("events.jsonl") is None
    assert held.get("events.jsonl", back) is False
    assert back.read_bytes() == data


def test_another_process_opens_what_is_sent_to_it(place):
    held = Storage.open(place)
    held.put_bytes(b"here", "a")
    assert pickle.loads(pickle.dumps(held)).read("a") == b"here"


def test_a_folder_is_told_from_what_is_far_away(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Storage.open("mirror").local == tmp_path / "mirror"
    assert Storage.open("mirror").below("run").local == tmp_path / "mirror" / "run"
    assert Storage.open("memory://x").local is None


def test_a_put_that_fails_leaves_the_old_file_whole(tmp_path, monkeypatch):
    held = Storage.open(str(tmp_path / "s"))
    held.put_bytes(b"old", "a")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(held._files), "mv", full)
    with pytest.raises(StorageError, match=r"s/a cannot be written: No space left on device"):
        held.put_bytes(b"new", "a")
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["a"]
    assert held.read("a") == b"old"


@pytest.mark.parametrize("name", ["../a", "/a", "", "a/../../b"])
def test_names_stay_within(tmp_path, name):
    with pytest.raises(StorageError, match="names no file"):
        Storage.open(str(tmp_path)).put_bytes(b"", name)


class Odd(MemoryFileSystem):
    """A store with a fault of its own, set by each test."""

    protocol = "odd"
    store = {}  # noqa: RUF012
    fault = None

    def pipe_file(self, path, value, mode="overwrite", **options):
        fault = type(self).fault
        if callable(fault):
            fault()
        super().pipe_file(path, value, mode, **options)


@pytest.fixture
def odd():
    fsspec.register_implementation("odd", Odd, clobber=True)
    Odd.fault = None
    return Odd


def test_missing_credentials_are_named(odd):
    class NoCredentialsError(Exception):  # as botocore's, which is not a dependency
        pass

    def fault():
        raise NoCredentialsError("Unable to locate credentials")

    odd.fault = fault
    with pytest.raises(StorageError, match=r"odd://bucket cannot be written: no credentials were found"):
        Storage.open("odd://bucket")


def test_a_refusal_and_an_unreachable_place_are_named(odd):
    def refused():
        raise PermissionError("Access Denied")

    odd.fault = refused
    with pytest.raises(StorageError, match=r"not permitted \(Access Denied\)"):
        Storage.open("odd://bucket")

    def away():
        raise ConnectionError("Cannot connect to host 10.0.0.1:9000")

    odd.fault = away
    with pytest.raises(StorageError, match=r"cannot be written: Cannot connect to host"):
        Storage.open("odd://bucket")


def test_a_place_that_never_answers_is_given_up(odd):
    free = threading.Event()
    odd.fault = free.wait
    started = time.monotonic()
    with pytest.raises(StorageError, match=r"odd://bucket did not answer within 0.2 s; is the address right"):
        Storage.open("odd://bucket", seconds=0.2)
    assert time.monotonic() - started < 20
    free.set()
    assert storage.OPENING < 30


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("nowhere://x", r"nowhere://x is no storage: Protocol not known: nowhere"),
        ("/dev/null/x", r"/dev/null/x cannot be written: Not a directory"),
        ("ftp://me:secret@host/x", r"ftp://me@host/x: the address holds a password.*FSSPEC_FTP_PASSWORD"),
    ],
)
def test_what_is_no_storage_is_refused(uri, said):
    with pytest.raises(StorageError, match=said) as caught:
        Storage.open(uri)
    assert "secret" not in str(caught.value)


def test_a_missing_driver_is_named(monkeypatch):
    known = importlib.import_module("fsspec.registry").known_implementations
    monkeypatch.setitem(known, "far", {"class": "not_there.F", "err": "Install not_there"})
    with pytest.raises(StorageError, match=r"far://b needs a package that is not installed: Install not_there"):
        Storage.open("far://b")


def test_a_folder_that_may_not_be_written(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(StorageError, match="not permitted"):
        Storage.open(str(folder))
