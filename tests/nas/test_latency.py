import pytest
import torch
from torch import nn

from nas import latency as clock
from nas.latency import Latency, latency


class Timed(nn.Module):
    """Says when it is run; the time it takes is added to a clock by hand."""

    def __init__(self, name, seconds, log, now):
        super().__init__()
        self.name, self.seconds, self.log, self.now = name, seconds, log, now

    def forward(self, inputs):
        assert not self.training
        assert torch.is_inference_mode_enabled()
        self.log.append(self.name)
        self.now[0] += next(self.seconds)
        return inputs


@pytest.fixture
def by_hand(monkeypatch):
    now, log = [0.0], []
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    return lambda name, seconds: Timed(name, iter(seconds), log, now), log


def test_medians_of_turns_without_the_first_ones(by_hand):
    timed, log = by_hand
    mine = timed("m", [100, 100, 3, 2, 10])
    other = timed("o", [100, 100, 1, 2, 2])
    assert latency(mine, other, torch.zeros(1), 3) == Latency(3, 3)  # ratios 3, 1, 5
    assert "".join(log) == "ommoommoom"


def test_the_mode_is_left_as_it_was(by_hand):
    timed, _ = by_hand
    mine, other = timed("m", [1] * 9), timed("o", [1] * 9)
    other.eval()
    latency(mine, other, torch.zeros(1), 1)
    assert (mine.training, other.training) == (True, False)


def test_real_networks_take_time():
    small, large = nn.Linear(4, 4), nn.Sequential(*(nn.Linear(512, 512) for _ in range(8)))
    found = latency(nn.Sequential(nn.Linear(4, 512), large), nn.Sequential(small, nn.Identity()), torch.zeros(64, 4), 5)
    assert found.seconds > 0
    assert found.ratio > 1
