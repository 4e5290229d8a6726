from dataclasses import replace

import pytest
import torch

from graphs import families
from nas import ranks as module
from nas.jobs import Job
from nas.ranks import RankFailed, follow
from trainers.errors import Diverged, TeamError
from trainers.recipe import Recipe

BACKBONE = {"kind": "mixer", "dim": 8, "patch": 4}
JOB = Job(1, families.residual(depth=2).to_dict(), "digits", BACKBONE, Recipe(batch=32), 0, 9, 1.0, ())
WHERE = {"rank": 1, "size": 2, "host": "127.0.0.1", "port": 1}


def raising(error):
    def join(*where):
        raise error

    return join


@pytest.mark.parametrize("error", [Diverged(3, float("nan")), TeamError("gone")])
def test_what_ends_the_trial_elsewhere_is_no_error_here(monkeypatch, error):
    monkeypatch.setattr(module, "join", raising(error))
    follow(JOB, **WHERE)


@pytest.mark.parametrize(
    ("error", "said"),
    [(torch.OutOfMemoryError("all of it"), "out of memory: all of it"), (LookupError("what"), "LookupError: what")],
)
def test_what_only_happens_here_is_said(monkeypatch, error, said):
    monkeypatch.setattr(module, "join", raising(error))
    with pytest.raises(RankFailed, match=said):
        follow(JOB, **WHERE)


def test_data_that_are_not_here_are_said():
    with pytest.raises(RankFailed, match=r"TrainerError: .*'nothing'"):
        follow(replace(JOB, data="nothing"), **WHERE)
