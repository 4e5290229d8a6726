import pickle
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import nas
from graphs import families
from nas import evaluate as module
from nas.errors import RunFolderError
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
    fingerprint = module.dataset("digits").fingerprint
    assert metadata == {"digest": topology.digest, "data_fingerprint": fingerprint, "device": "cpu"}
    model = start(topology, 99)
    assert accuracy_of(model, "digits") != (outcome.accuracy, outcome.loss)
    model.load_state_dict(tensors)
    accuracy, loss = accuracy_of(model, "digits")
    assert accuracy == outcome.accuracy
    assert loss == pytest.approx(outcome.loss, rel=1e-6)  # another number of threads may sum in another order


def test_the_test_split_is_measured_once_at_the_very_end_and_only_if_asked(monkeypatch):
    from trainers.data import load_test

    asked = []
    monkeypatch.setattr(module, "held_out", lambda kind: asked.append(kind) or load_test(kind))
    _, plain = run(job())
    assert (plain.test_accuracy, plain.test_loss, asked) == (None, None, [])
    _, stopped = run(job(test=True), go_on=False)
    assert (stopped.test_accuracy, asked) == (None, [])
    _, measured = run(job(test=True))
    assert asked == ["digits"]
    assert (measured.accuracy, measured.loss) == (plain.accuracy, plain.loss)
    assert 0.1 < measured.test_accuracy < 1
    assert measured.test_accuracy != measured.accuracy
    assert run(job(test=True))[1].test_loss == measured.test_loss


def test_the_test_accuracy_is_that_of_the_weights_kept(tmp_path):
    path = tmp_path / "w.safetensors"
    _, outcome = run(job(weights=path, test=True))
    model = start(families.residual(depth=2), 99)
    model.load_state_dict(checkpoint.load(path)[0])
    assert module.measure(model, module.held_out("digits"))[0] == outcome.test_accuracy


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


@pytest.mark.parametrize("taken", ["a file", "nothing"])
def test_weights_that_cannot_be_saved_are_no_outcome(tmp_path, taken):
    weights = tmp_path / "weights"
    if taken == "a file":
        weights.write_text("")
    with pytest.raises(RunFolderError) as caught:
        run(job(weights=weights / "trial-0007.safetensors"))
    why = "Not a directory" if taken == "a file" else "No such file or directory"
    assert str(caught.value).startswith(
        f"{weights}/trial-0007.safetensors: the trained weights cannot be written: {why}"
    )
    assert str(caught.value).endswith("then --resume trains this trial again and goes on")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # a worker may send it


class Clock(SimpleNamespace):
    now = 0.0

    def perf_counter(self):
        return self.now


@pytest.mark.parametrize("end", ["complete", "stopped", "diverged", "failed"])
def test_seconds_are_those_of_training_steps(monkeypatch, end, tmp_path):
    """Not of imports and building, of validation, of waiting for an answer, or of the test split."""
    clock = Clock()
    monkeypatch.setattr("nas.keeping.time", clock)

    def slow(function):
        def taking(*arguments, **named):
            clock.now += 100.0
            return function(*arguments, **named)

        return taking

    for name in ("dataset", "build_model", "measure", "held_out", "_save"):
        monkeypatch.setattr(module, name, slow(getattr(module, name)))

    def training(model, *_, **__):
        clock.now += 100.0  # the optimiser is made, and with it much of torch imported
        model.train()
        for step in (4, 8):
            clock.now += 1.0
            model.eval()
            clock.now += 100.0
            model.train()
            yield Progress(step, 1.0, 0.5, 0.7)
        clock.now += 1.0
        if end == "diverged":
            raise Diverged(9, float("nan"))
        if end == "failed":
            raise RuntimeError("no")

    monkeypatch.setattr(module, "train", training)
    trial, answer = evaluate(job(test=True, weights=tmp_path / "w")), None
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


def test_the_real_loop_is_in_training_mode_for_its_steps_alone(monkeypatch):
    """What the seconds are measured by: the modes of the model at its forward passes, and when they change."""
    modes, forward, measured = [], module.Classifier.forward, module.Stopwatch.run
    monkeypatch.setattr(
        module.Classifier, "forward", lambda self, x: modes.append((self.training, len(x))) or forward(self, x)
    )
    monkeypatch.setattr(module.Stopwatch, "run", lambda self, on: modes.append(on) or measured(self, on))
    reports, outcome = run(job(report_at=(2,), ask_at=(2,)), go_on=False)
    assert (len(reports), outcome.kind) == (1, "stopped")
    validation = len(module.dataset("digits").validation.labels)
    steps, back = [(True, 32)] * 2, [True, False]  # the loop goes on, the report waits
    assert modes == [True, *steps, False, (False, validation), *back]
    assert 0 < outcome.seconds < 60


def test_the_package_offers_what_a_compiled_folder_needs():
    assert nas.accuracy_of is accuracy_of
    with pytest.raises(AttributeError, match="no attribute 'accuracy'"):
        _ = nas.accuracy


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no more"),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ],
    ids=["python", "cuda", "cpu"],
)
def test_want_of_memory_is_an_evaluation_with_a_cause(monkeypatch, error):
    def none(*arguments, **options):
        raise error

    monkeypatch.setattr(module, "build_model", none)
    topology = families.residual(depth=2).to_dict()
    running = module.evaluate(Job(0, topology, "digits", {"kind": "mixer"}, Recipe(), 0, 9, 1.0, ()))
    with pytest.raises(StopIteration) as stop:
        next(running)
    outcome = stop.value.value
    assert (outcome.kind, outcome.cause, outcome.traceback) == ("failed", "memory", None)
    assert outcome.reason == f"out of memory: {error}"


def test_what_torch_says_of_too_much_memory_is_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert module.out_of_memory(caught.value)
    assert not module.out_of_memory(RuntimeError("something else"))
