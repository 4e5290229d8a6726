"""A long search must not bury its file system: what it leaves grows with the front, not with the trials."""

import pytest

from graphs import Topology
from nas import tracked
from nas.views import Views


def files(path):
    return sorted(each for each in path.rglob("*") if each.is_file())


@pytest.mark.slow
@pytest.mark.parametrize("form", ["stopping", "promotion"])
def test_a_thousand_trials_leave_fewer_than_five_thousand_files(make, study, fake, form):
    space = {
        "depth": {"low": 2, "high": 12},
        "families": {"residual": {}, "wiring": {"edges": {"low": 1, "high": 12}}},
    }
    search = {"sampler": "random", "baselines": False, "halving": {"form": form, "rungs": 3, "keep": 0.34}}
    trainer = fake(ends=("complete",) * 8 + ("diverged", "failed"))
    checkpoints = []

    def training(job):
        """The same, with a checkpoint at each rung, as a real training keeps."""
        steps = trainer(job)
        answer = None
        try:
            while True:
                report = steps.send(answer)
                if report.asks:
                    job.keep.parent.mkdir(exist_ok=True)
                    job.keep.write_bytes(b"state")
                    checkpoints.append(job.keep)
                answer = yield report
        except StopIteration as end:
            return end.value

    done = study(make(space=space, trials=1000, search=search, confirm=None), training)
    run = done.folder.path
    views = Views.open(run)
    views.write_all()
    front = {done.folder.weight_file(trial.number) for trial in views.front}
    assert len(set(checkpoints)) > 500
    assert {path for path in files(run) if path.parent.name == "weights"} == front
    kept = {path for path in files(run) if path.parent.name == "checkpoints"}
    assert kept == {done.folder.checkpoint_file(number) for number in done.rungs.waiting}
    # Tracking keeps its artifacts as files: those of each topology.
    artifacts = sum(len(tracked.files(trial, b"png")) for trial in views.trials)
    assert len(files(run)) + artifacts < 5000
    assert len(files(run)) < 1200 + len(front)
    assert all(Topology.from_dict(dict(trial.topology)).digest == trial.digest for trial in views.front)
