from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import nas
from graphs import families
from nas import evaluate as module
from nas.evaluate import Job, Report, accuracy_of, build_model, evaluate
from trainers import checkpoint
from trainers.errors import Diverged
from trainers.loop import Progress
from trainers.recipe import Recipe

BACKBONE = {"kind": "mixer", "dim": 8, "patch": 4}
RECIPE = Recipe(batch=32, lr=4e-3, threads=1)


def job(topology=None, **fields) -> Job:
    topology = topology or families.residual(depth=2)
    given = {"report_at": (4, 8, 12), "ask_at": (8,), **fields}
    return Job(7, topology.to_dict(), "digits", BACKBONE, RECIPE, seed=5, steps=12, flops_per_step=1e6, **given)


def run(job, go_on=True):
    """All reports and the outcome of a job whose every question gets one answer."""
    trial, reports, answer = evaluate(job), [], None
    while True:
        try:
            reports.append(trial.send(answer))
        except StopIteration as stop:
            return reports, stop.value
        answer = go_on


def start(topology, seed):
    return build_model(topology, BACKBONE, classes=10, image=(8, 8), channels=1, seed=seed)


def test_two_topologies_at_one_seed_start_from_the_same_weights_by_name():
    wired = families.hyper(depth=3, streams=2), families.dense(depth=3), families.residual(depth=2)
    models = [dict(start(topology, 0).named_parameters()) for topology in wired]
    for other in models[1:]:
        shared = [name for name in other if name in models[0] and ".weights." not in name]
        assert {name.split(".")[0] for name in shared} == {"stem", "body", "head"}
        assert any("block" in name for name in shared)
        for name in shared:
            assert torch.equal(other[name], models[0][name]), name
    elsewhere = dict(start(wired[0], 1).named_parameters())
    assert not torch.equal(elsewhere["stem.embed.weight"], models[0]["stem.embed.weight"])


def test_a_job_reports_asks_and_ends_with_its_last_values():
    reports, outcome = run(job())
    assert [(report.step, report.asks) for report in reports] == [(4, False), (8, True), (12, False)]
    assert all(isinstance(report, Report) and report.number == 7 for report in reports)
    assert (outcome.number, outcome.kind, outcome.step, outcome.reason, outcome.traceback) == (
        7, "complete", 12, None, None,
    )  # fmt: skip
    assert (outcome.accuracy, outcome.loss) == (reports[-1].accuracy, reports[-1].loss)
    assert 0.1 < outcome.accuracy <= 1.0
    assert outcome.seconds > 0


def test_a_job_repeats_to_the_last_bit_whether_or_not_it_is_measured():
    reports, outcome = run(job())
    again, same = run(job())
    assert [(r.train_loss, r.accuracy, r.loss) for r in reports] == [(r.train_loss, r.accuracy, r.loss) for r in again]
    assert replace(same, seconds=0) == replace(outcome, seconds=0)
    _, unmeasured = run(job(report_at=(), ask_at=()))
    assert (unmeasured.accuracy, unmeasured.loss) == (outcome.accuracy, outcome.loss)


def test_stopped_at_a_rung_it_keeps_its_last_values_and_writes_no_weights(tmp_path):
    threads = torch.get_num_threads()
    reports, outcome = run(job(weights=tmp_path / "w.safetensors"), go_on=False)
    assert [report.step for report in reports] == [4, 8]  # the answer to a report that does not ask is ignored
    assert (outcome.kind, outcome.step, outcome.accuracy) == ("stopped", 8, reports[-1].accuracy)
    assert outcome.reason == "dominated at its rung"
    assert list(tmp_path.iterdir()) == []
    assert torch.get_num_threads() == threads


def test_the_weights_are_those_of_the_accuracy_reported(tmp_path):
    path = tmp_path / "w.safetensors"
    topology = families.hyper(depth=2, streams=2)
    _, outcome = run(job(topology, weights=path, metadata={"digest": topology.digest}))
    tensors, metadata = checkpoint.load(path)
    assert metadata == {"digest": topology.digest}
    model = start(topology, 99)
    assert accuracy_of(model, "digits") != (outcome.accuracy, outcome.loss)
    model.load_state_dict(tensors)
    accuracy, loss = accuracy_of(model, "digits")
    assert accuracy == outcome.accuracy
    assert loss == pytest.approx(outcome.loss, rel=1e-6)  # another number of threads may sum in another order


def test_a_loss_that_is_not_finite_is_an_outcome(tmp_path):
    wild = replace(job(weights=tmp_path / "w"), recipe=Recipe(batch=32, lr=1e30, warmup=0.0, threads=1))
    reports, outcome = run(wild)
    assert (outcome.kind, reports) == ("diverged", [])
    assert outcome.step in (1, 2, 3)
    assert (outcome.accuracy, outcome.traceback) == (None, None)
    assert f"diverged at step {outcome.step}" in outcome.reason
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "broken",
    [
        {"data": "nothing"},
        {"backbone": {"kind": "mixer", "dim": 8, "patch": 3}},
        {"topology": {"depth": 2}},
        {"report_at": (13,)},
        {"weights": Path("/proc/nowhere/w.safetensors")},
    ],
    ids=lambda broken: next(iter(broken)),
)
def test_a_crash_is_an_outcome_with_its_traceback(broken):
    _, outcome = run(replace(job(), **broken))
    assert outcome.kind == "failed"
    assert outcome.traceback.startswith("Traceback (most recent call last)")
    assert outcome.traceback.strip().endswith(outcome.reason)


def test_an_interrupt_passes_through():
    trial = evaluate(job())
    next(trial)
    with pytest.raises(KeyboardInterrupt):
        trial.throw(KeyboardInterrupt)


class Clock(SimpleNamespace):
    now = 0.0

    def perf_counter(self):
        return self.now


@pytest.mark.parametrize("end", ["complete", "stopped", "diverged", "failed"])
def test_seconds_are_those_of_training_not_of_waiting_for_an_answer(monkeypatch, end):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)

    def training(*_, **__):
        for step in (4, 8):
            clock.now += 1.0
            yield Progress(step, 1.0, 0.5, 0.7)
        clock.now += 1.0
        if end == "diverged":
            raise Diverged(9, float("nan"))
        if end == "failed":
            raise RuntimeError("no")

    monkeypatch.setattr(module, "train", training)
    trial, answer = evaluate(job()), None
    outcome = None
    while outcome is None:
        try:
            trial.send(answer)
        except StopIteration as stop:
            outcome = stop.value
        clock.now += 1000.0
        answer = end != "stopped"
    assert outcome.kind == end
    assert outcome.seconds == (2.0 if end == "stopped" else 3.0)


def test_the_package_offers_what_a_compiled_folder_needs():
    assert nas.accuracy_of is accuracy_of
    with pytest.raises(AttributeError, match="no attribute 'accuracy'"):
        _ = nas.accuracy
