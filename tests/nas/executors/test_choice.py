import os
import signal
import sys
from contextlib import contextmanager
from functools import partial

import pytest
from odd_trials import job, outcome

from graphs.errors import UserError
from nas.executors.choice import CHECKPOINTS, Place, opened
from nas.executors.serial import SerialExecutor
from nas.jobs import Outcome, Report


def test_the_same_place_is_asked_for_when_a_run_is_continued():
    assert Place().options == []
    assert Place("ray").options == ["--executor", "ray"]
    assert Place(address="10.0.0.1:6379").options == ["--ray-address", "10.0.0.1:6379"]


@pytest.mark.parametrize(("executor", "address"), [("dask", None), ("", None), ("serial", "auto")])
def test_what_there_is_not_is_refused(executor, address):
    with pytest.raises(UserError, match="--executor"):
        Place(executor, address)


@pytest.mark.parametrize("name", [None, "serial"])
def test_without_an_address_trials_run_here(make, tmp_path, name):
    with opened(Place(name), make(), tmp_path, print) as executor:
        assert isinstance(executor, SerialExecutor)


def test_an_address_alone_means_ray(make, tmp_path):
    pytest.importorskip("ray")
    with (
        pytest.raises(UserError, match="nothing answers there"),
        opened(Place(address="127.0.0.1:1"), make(), tmp_path, print),
    ):
        pass


def letters(job, written):
    """Adds a letter to its checkpoint; the first time its process dies of it."""
    before = job.keep.read_bytes() if job.keep.exists() else b""
    job.keep.write_bytes(before + b"x")
    written(job.keep)
    yield Report(job.number, 1, 1.0, 0.5, 0.7, False)
    if not before:
        os.kill(os.getpid(), signal.SIGKILL)
    return Outcome(job.number, "complete", len(before) + 1, 0.1)


@pytest.mark.cluster
def test_workers_that_do_not_see_the_run_keep_checkpoints_in_its_storage(cores, make, tmp_path, monkeypatch):
    from ray import cloudpickle

    import nas.executors.ray as module

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(module, "RayExecutor", partial(module.RayExecutor, letters))
    monkeypatch.setattr("nas.executors.ray.executor.replace_file", lambda *file: None)  # what workers look for
    run, kept = tmp_path / "run", tmp_path / "storage" / "run" / CHECKPOINTS / "trial.safetensors"
    run.mkdir()
    with opened(Place("ray"), make(storage=str(tmp_path / "storage")), run, print) as executor:
        executor.submit(job(keep=run / "checkpoints" / "trial.safetensors"))
        assert outcome(executor).kind == "lost"
        assert kept.read_bytes() == b"x"
        executor.submit(job(keep=run / "checkpoints" / "trial.safetensors"))
        end = outcome(executor)
        assert (end.kind, end.step) == ("complete", 2), "it went on from what it had kept"
        assert not kept.exists(), "what nobody needs any more is gone"
        given_up = job(1, keep=run / "checkpoints" / "hopeless.safetensors", last=True)
        executor.submit(given_up)
        assert outcome(executor).kind == "lost"
        assert not kept.with_name("hopeless.safetensors").exists(), "nor what a trial that was given up has kept"
    assert list(run.iterdir()) == []


def test_an_address_of_ray_client_means_its_executor(make, tmp_path, monkeypatch):
    module = pytest.importorskip("nas.executors.ray")
    asked = []

    @contextmanager
    def client(**options):
        asked.append(options)
        yield "executor"

    monkeypatch.setattr(module, "ClientExecutor", client)
    with opened(Place(address="ray://10.0.0.1:10001"), make(), tmp_path, print) as executor:
        assert executor == "executor"
    assert asked[0]["address"] == "ray://10.0.0.1:10001"
    assert asked[0]["folder"] == tmp_path


def test_a_storage_that_cannot_be_used_is_said(make, tmp_path):
    pytest.importorskip("ray")
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="file"),
        opened(Place("ray"), make(storage=str(tmp_path / "file")), tmp_path / "run", print),
    ):
        pass
