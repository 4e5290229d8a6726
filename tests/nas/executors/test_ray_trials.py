"""What the callbacks of Tune decide, without a cluster. What comes of it in real processes is in test_ray.py."""

from types import SimpleNamespace

import pytest
from odd_trials import job

pytest.importorskip("ray")

from nas.executors.desk import Desk
from nas.executors.ray import trials as module
from nas.executors.running import Running
from nas.resources import Share


@pytest.fixture
def clock(monkeypatch):
    """Seconds that a test sets."""
    at = SimpleNamespace(now=100.0)
    monkeypatch.setattr("time.monotonic", lambda: at.now)
    return at


@pytest.fixture
def killed(monkeypatch):
    found = []
    monkeypatch.setattr(module.ray, "kill", found.append)
    return found


def watched(limit):
    """A watch over one trial that begins now, and a look of it."""
    desk = Desk()
    forward = module._Forward(desk)
    forward.jobs["a"] = Running(job(seconds_limit=limit))
    forward.jobs["a"].since = module.time.monotonic()
    watch = module._Watch(desk, forward, Share())
    trial = SimpleNamespace(trial_id="a", temporary_state=SimpleNamespace(ray_actor="actor"))
    return lambda: watch.on_step_begin(0, [trial])


def test_a_trial_whose_time_is_over_is_killed_once(clock, killed):
    look = watched(limit=3.0)
    for _ in range(5):
        clock.now += 0.5
        look()
    assert killed == []
    for _ in range(5):
        clock.now += 0.5
        look()
    assert killed == ["actor"]


def test_a_worker_keeps_its_share_and_the_memory_it_freed(monkeypatch):
    kept, shares = [], []
    monkeypatch.setattr(module.ray, "get", lambda sent: None)
    monkeypatch.setattr(module, "keep_memory", lambda: kept.append(True))
    monkeypatch.setattr(Share, "enforce", lambda share: shares.append(share))
    trial = SimpleNamespace()
    module._trainable(None, Share(2.0), None, "token", None, "sent").setup(trial, {})
    trial._files.close()
    assert (kept, shares) == ([True], [Share(2.0)])


def test_time_in_which_nobody_listened_is_not_the_trials(clock, killed):
    """It may have said that it is done; what it said is read between two looks."""
    look = watched(limit=3.0)
    clock.now += 60.0  # the study was thinking
    look()
    assert killed == []
    for _ in range(6):
        clock.now += 0.5
        look()
    assert killed == ["actor"], "a trial that hangs is ended all the same"
