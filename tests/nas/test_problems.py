import json
import os
import shutil

import pytest

from nas import problems
from nas.problems import Case
from nas.views import Views


@pytest.fixture
def run(finished, tmp_path):
    """A copy of a real run."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def found(run, *, alive=False):
    case = Case(Views.open(run), alive)
    parts = (problems.of_log, problems.of_facts, problems.of_proposals, problems.of_files, problems.of_views)
    return [problem for part in parts for problem in part(case)]


def events(run):
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


def rewrite(run, change):
    """Change events one by one; None drops one."""
    kept = [new for event in events(run) if (new := change(dict(event))) is not None]
    (run / "events.jsonl").write_text("".join(json.dumps(one | {"seq": i}) + "\n" for i, one in enumerate(kept)))


def test_a_finished_run_has_none(run):
    assert found(run) == []
    assert found(run, alive=True) == []


def dead(run):
    front = Views.open(run).front[0].number
    return run / "weights" / f"trial-{front:04d}.safetensors"


HARM = {
    "half a line": (lambda run: append(run / "events.jsonl", '{"seq": 9'), "log", "the last line was cut off", True),
    "a dead driver": (lambda run: (run / "driver.json").write_text("{}"), "log", "a driver that has died", True),
    "no lock": (lambda run: (run / "lock.json").unlink(), "files", "are not written down", False),
    "a bad lock": (lambda run: (run / "lock.json").write_text("{"), "files", "it is damaged", False),
    "another seed": (
        lambda run: (run / "experiment.yaml").write_text(
            (run / "experiment.yaml").read_text().replace("seed: 3", "seed: 4")
        ),
        "files", "its seed is 4, but the log began with 3", False,
    ),
    "weights off the front": (
        lambda run: (run / "weights" / "trial-0777.safetensors").write_bytes(b""),
        "files", "weights of a trial that is not in the log", True,
    ),
    "no weights": (lambda run: dead(run).unlink(), "files", "on the front, are missing", False),
    "bad weights": (lambda run: dead(run).write_bytes(b"x"), "files", "on the front, are damaged", False),
    "a checkpoint that is over": (
        lambda run: put(run / "checkpoints" / "trial-0000.safetensors"),
        "files", "checkpoints of a trial that is over", True,
    ),
    "a traceback of nothing": (lambda run: put(run / "failures" / "trial-0000.txt"), "files", "did not fail", True),
    "a draft": (lambda run: put(run / f".trials.csv.{2**22 + 1}"), "files", "half a file", True),
    "half a tensor": (
        lambda run: put(run / "weights" / f".trial-0000.safetensors.{2**22 + 1}.tmp"), "files", "half a file", True
    ),
    "another table": (lambda run: append(run / "trials.csv", "1,2\n"), "views", "is not what the log gives", True),
    "no table": (lambda run: (run / "pareto.csv").unlink(), "views", "it is missing", True),
    "another curve": (lambda run: append(run / "hypervolume.csv", "1\n"), "views", "is not what the log gives", True),
    "no report": (lambda run: (run / "report.html").unlink(), "views", "it is missing", True),
    "a page of old": (
        lambda run: (run / "report.html").write_text('<meta http-equiv="refresh" content="30">'),
        "views", "the page of a search that runs", True,
    ),
    "another winner": (
        lambda run: (run / "winner" / "topology.yaml").write_text("{}"), "views", "not that of the winner", True
    ),
}  # fmt: skip


def append(path, text):
    with path.open("a") as file:
        file.write(text)


def put(path):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")


@pytest.mark.parametrize("case", HARM)
def test_each_disagreement_is_found_and_nothing_else(run, case):
    harm, kind, what, mendable = HARM[case]
    harm(run)
    (one,) = found(run)
    assert one.kind == kind
    assert what in one.what
    assert (one.fix is not None) == mendable
    assert one.where.startswith(str(run))
    assert one.repair


@pytest.mark.parametrize("case", ["half a line", "a dead driver", "no table", "a checkpoint that is over", "a draft"])
def test_what_a_driver_has_under_way_is_none(run, case):
    HARM[case][0](run)
    assert found(run, alive=True) == []


def test_a_draft_that_is_being_written_is_none(run):
    put(run / f".trials.csv.{os.getpid()}")
    assert found(run) == []


def test_a_topology_that_is_another_now(run):
    def change(event):
        if event.get("number") == 0 and event["event"] == "ask":
            event["digest"] = "0123456789ab"
        return event

    rewrite(run, change)
    whats = [one.what for one in found(run) if one.kind == "proposals"]
    assert any("the topology of trial 0 has another digest now" in what for what in whats)


def test_a_repeat_of_another_topology(run):
    repeats = [event for event in events(run) if event.get("verdict") == "duplicate"]
    assert repeats

    def change(event):
        return event | {"twin": event["twin"] + 1} if event.get("verdict") == "duplicate" else event

    rewrite(run, change)
    assert sum("which is another topology" in one.what for one in found(run)) == len(repeats)


def test_what_optuna_would_be_told_is_compared(run, monkeypatch):
    monkeypatch.setattr(problems.Proposer, "seen", lambda self, told: ("FAIL", None))
    found_ = [one for one in found(run) if one.kind == "proposals"]
    assert len(found_) == sum(event["event"] == "ask" for event in events(run))
    assert "Optuna would be told FAIL of ask 0, and the log says COMPLETE" in found_[0].what

    def refuse(self, told):
        raise ValueError("no")

    monkeypatch.setattr(problems.Proposer, "seen", refuse)
    assert "Optuna refuses ask 0: no" in {one.what for one in found(run)}


def test_every_kind_of_trial_at_any_moment_is_in_order(make, study, fake, wide, tmp_path):
    ends = ("complete", "complete", "diverged", "failed")
    halving = {"form": "promotion", "rungs": 3, "keep": 0.34}
    experiment = make(space=wide, trials=25, limits={"flops": 6000}, search={"halving": halving})
    run = study(experiment, fake(ends=ends)).folder.path
    (run / "lock.json").write_text('{"data_fingerprint": "x"}')
    files = [one for one in found(run) if not one.what.startswith("the weights of trial")]  # they are no tensors here
    assert {one.kind for one in files} == {"views"}  # which nobody wrote


def test_what_earlier_searches_found_is_no_ask_of_this_one(run):
    last = max(event["ask"] for event in events(run) if event["event"] == "ask")
    asked = next(event for event in events(run) if event["event"] == "ask" and event["verdict"] == "job")
    one = {"point": asked["point"], "status": "COMPLETE", "values": [0.5, 1.0], "digest": "0123456789ab"}
    warm = {"event": "warm", "runs": ["before"], "told": [one, one]}
    kept = [*events(run)[:1], warm, *events(run)[1:]]
    (run / "events.jsonl").write_text("".join(json.dumps(event | {"seq": at}) + "\n" for at, event in enumerate(kept)))
    assert len(Views.open(run).ledger.history()) == last + 1 + 2
    assert found(run) == []


def test_the_checkpoint_of_a_confirmation_is_needed_until_the_search_has_ended(run):
    left = run / "checkpoints" / "confirm-0123456789ab-4-100.safetensors"
    put(left)
    (one,) = found(run)
    assert (one.where, one.what) == (str(left), "the checkpoint of a confirmation that is over")
    rewrite(run, lambda event: None if event["event"] == "end" else event)
    assert [one for one in found(run) if one.where == str(left)] == []
