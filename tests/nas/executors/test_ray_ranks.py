"""Trials that several processes train, on Ray: what comes of them, and what happens when one of them dies."""

import os
import signal
from dataclasses import replace
from functools import partial

import pytest
from odd_trials import job as plain

from nas.evaluate import evaluate
from nas.jobs import Outcome
from nas.resources import Share
from trainers import checkpoint
from trainers.recipe import Recipe

pytestmark = pytest.mark.cluster
TWO = Share(1.0, 0.0, 2)  # half a core each
RECIPE = Recipe(batch=32, lr=4e-3, threads=1)


def job(**changes):
    backbone = {"kind": "mixer", "dim": 8, "patch": 4}
    return replace(plain(**changes), backbone=backbone, recipe=RECIPE, steps=12, report_at=(4, 8), seed=5)


def messages(subject, job) -> list:
    """All that a job says, be it of an executor or in this process."""
    if subject is None:
        training = evaluate(job)
        found = []
        try:
            while True:
                found.append(training.send(True if found else None))
        except StopIteration as stop:
            return [*found, stop.value]
    subject.submit(job)
    found = [subject.next()]
    while not isinstance(found[-1], Outcome):
        found.append(subject.next())
    return found


def alike(mine, theirs) -> None:
    assert [type(one) for one in mine] == [type(one) for one in theirs]
    assert [one.step for one in mine] == [one.step for one in theirs] == [4, 8, 12, 12]
    assert mine[-1].kind == theirs[-1].kind == "complete"
    for one, other in zip(mine, theirs, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-3)


def deadly(job, written=lambda path: None, *, mark, gather):
    """Trains; the first time the second of its processes is killed at the first report."""
    import ray

    other = gather.__self__._actors[0]
    pid = ray.get(other.__ray_call__.remote(lambda rank: os.getpid()))
    training = evaluate(job, written, gather=gather)
    answer = None
    while True:
        try:
            report = training.send(answer)
        except StopIteration as stop:
            return stop.value
        if not mark.exists():
            mark.touch()
            os.kill(pid, signal.SIGKILL)
        answer = yield report


def test_two_processes_train_to_what_one_does(on_ray, tmp_path):
    subject = on_ray(evaluate, share=TWO, folder=tmp_path)
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    expected = messages(None, job(weights=one))
    for _ in range(2):  # the second time by processes that are there already
        alike(messages(subject, job(weights=two)), expected)
    assert checkpoint.load(two)[0].keys() == checkpoint.load(one)[0].keys()


def test_a_process_that_dies_loses_the_trial_which_goes_on_from_its_checkpoint(on_ray, tmp_path):
    subject = on_ray(partial(deadly, mark=tmp_path / "killed"), share=TWO, folder=tmp_path)
    given = job(keep=tmp_path / "state.safetensors", keep_seconds=0.0)
    *_, lost = messages(subject, given)
    assert lost.kind == "lost"
    assert given.keep.exists()
    alike(messages(subject, given), messages(None, job()))
