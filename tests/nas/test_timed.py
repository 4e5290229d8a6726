from collections import defaultdict

import pytest

from nas import timed
from nas.timed import Timed


def test_seconds_add_up_whatever_happens_inside(monkeypatch):
    clock = iter([10.0, 11.5, 20.0, 20.25, 30.0, 34.0])
    monkeypatch.setattr(timed.time, "perf_counter", lambda: next(clock))
    times = defaultdict(float)
    with Timed(times, "log"):
        pass
    with pytest.raises(KeyError), Timed(times, "log"):
        raise KeyError
    with Timed(times, "planning"):
        pass
    assert times == {"log": 1.75, "planning": 4.0}
