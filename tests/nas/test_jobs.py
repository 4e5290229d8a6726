import pickle
from pathlib import Path

from nas.jobs import Job, Outcome, Report
from trainers.recipe import Recipe


def test_what_travels_between_processes_survives_pickling():
    job = Job(
        1, {"depth": 2}, "digits", {"kind": "mixer"}, Recipe(), 0, 10, 1e6, (5, 10), (5,), Path("w"), {"digest": "d"}
    )
    for message in (job, Report(1, 5, 1.0, 0.5, 0.7, True), Outcome(1, "failed", 5, 0.1, None, None, "why", "trace")):
        assert pickle.loads(pickle.dumps(message)) == message
