import csv
import json
import os
import signal

import pytest
import torch

from graphs import families
from graphs.errors import UserError
from nas import accuracy_of, load_model
from nas import train as module
from nas.errors import RunFolderError
from nas.evaluate import held_out
from nas.events import read
from nas.train import LOG, STATE, Said, default_folder, train_topology
from trainers import checkpoint
from trainers.catalogue import describe
from trainers.errors import TrainerError
from trainers.metrics import evaluate as measure

FILES = {
    "topology.yaml", "experiment.yaml", "model.safetensors", "card.md", "result.json", "curve.csv", "load.py", LOG,
}  # fmt: skip
FACTS = describe("digits")
TOPOLOGY = families.hyper(depth=4, streams=2)


@pytest.fixture
def experiment(make):
    return make()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_file):
    """A training that nothing interrupted: its folder and its result."""
    from nas.experiment import Experiment

    folder = tmp_path_factory.mktemp("whole")
    experiment = Experiment.load(tiny_file(folder / "tiny.yaml"))
    return folder / "out", train_topology(TOPOLOGY, experiment, folder / "out")


def stop_at(step):
    """A Ctrl-C while that step is counted."""

    def count(number, steps):
        if number == step:
            os.kill(os.getpid(), signal.SIGINT)

    return Said(step=count)


def events(folder):
    return [event["event"] for event in read(folder / LOG)]


def weights(folder):
    """To the bit; the file's own order of metadata is not fixed."""
    tensors, metadata = checkpoint.load(folder / "model.safetensors")
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()} | metadata


def test_what_a_training_leaves_is_a_model_to_use(whole, experiment):
    out, result = whole
    assert {path.name for path in out.iterdir()} == FILES
    assert json.loads((out / "result.json").read_text())["test_accuracy"] == result.test_accuracy
    model, loaded = load_model(out)
    assert loaded == experiment
    accuracy, loss = accuracy_of(model, "digits")
    # The kernels of training sum in another order than the plain engine that loads the model.
    assert (accuracy, loss) == (pytest.approx(result.accuracy, abs=2e-3), pytest.approx(result.loss, rel=1e-4))
    test_accuracy, test_loss = measure(model, held_out("digits"))
    assert (test_accuracy, test_loss) == (
        pytest.approx(result.test_accuracy, abs=3e-3), pytest.approx(result.test_loss, rel=1e-4),
    )  # fmt: skip
    assert result.digest == TOPOLOGY.digest
    assert result.spent_flops <= experiment.train.budget_gflops * 1e9
    card = (out / "card.md").read_text()
    assert TOPOLOGY.digest in card
    assert "The test split was\nopened once" in card


def test_the_curve_ends_with_the_result(whole):
    out, result = whole
    with (out / "curve.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 10
    assert int(found[-1]["step"]) == result.steps
    assert float(found[-1]["accuracy"]) == result.accuracy
    assert float(found[-1]["flops"]) == result.spent_flops


def test_the_test_split_is_opened_once_and_logged(whole, experiment):
    out, result = whole
    assert events(out) == ["start", *["report"] * 10, "open", "result"]
    notes = []
    again = train_topology(TOPOLOGY, experiment, out, resumed=True, said=Said(note=notes.append))
    assert again == result
    assert notes == [f"{out} has ended; its result is"]
    assert events(out).count("open") == 1


def test_it_is_trained_by_the_fused_engine_and_a_search_is_not(experiment, tmp_path, monkeypatch):
    made = []
    original = module.build_model

    def build(*arguments, **options):
        made.append(original(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(module, "build_model", build)
    train_topology(families.dense(depth=4), experiment, tmp_path / "out")
    assert made[0].body.impl == "fused"
    assert original(TOPOLOGY, {"kind": "mixer", "dim": 8, "patch": 4}, seed=0, **FACTS).body.impl == "reference"


@pytest.mark.parametrize("step", [1, 7, "last"])
def test_ctrl_c_loses_no_step(whole, experiment, tmp_path, step):
    uninterrupted, result = whole
    step = result.steps if step == "last" else step
    out = tmp_path / "out"
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train_topology(TOPOLOGY, experiment, out, said=stop_at(step))
    assert signal.getsignal(signal.SIGINT) is handler
    assert checkpoint.read_metadata(out / STATE)["step"] == str(step)
    steps, reports = [], []
    said = Said(step=lambda number, total: steps.append(number), report=reports.append)
    done = train_topology(TOPOLOGY, experiment, out, resumed=True, said=said)
    assert steps == list(range(step + 1, result.steps + 1))  # none is trained twice
    assert weights(out) == weights(uninterrupted)
    assert (out / "curve.csv").read_bytes() == (uninterrupted / "curve.csv").read_bytes()
    assert {report.step for report in reports if report.kept} == {r.step for r in reports if r.step <= step}
    assert (done.accuracy, done.test_loss) == (result.accuracy, result.test_loss)
    assert {path.name for path in out.iterdir()} == FILES
    assert events(out) == events(uninterrupted)


def test_a_crash_costs_what_was_trained_since_the_state_was_kept(whole, experiment, tmp_path, monkeypatch):
    uninterrupted, _ = whole
    out = tmp_path / "out"

    def crash(number, steps):
        if number == 9:
            raise SystemExit("killed")

    monkeypatch.setattr(module, "KEEP_SECONDS", 0.0)  # after each step
    with pytest.raises(SystemExit):
        train_topology(TOPOLOGY, experiment, out, said=Said(step=crash))
    assert checkpoint.read_metadata(out / STATE)["step"] == "8"
    train_topology(TOPOLOGY, experiment, out, resumed=True)
    assert weights(out) == weights(uninterrupted)


def test_a_second_ctrl_c_does_not_wait(experiment, tmp_path):
    def impatient(number, steps):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_topology(TOPOLOGY, experiment, tmp_path / "out", said=Said(step=impatient))
    assert not (tmp_path / "out" / STATE).exists()
    train_topology(TOPOLOGY, experiment, tmp_path / "out", resumed=True)


def test_a_crash_between_the_opening_and_the_result_opens_once(whole, experiment, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_topology(TOPOLOGY, experiment, out)
    monkeypatch.undo()
    assert events(out)[-1] == "open"
    done = train_topology(TOPOLOGY, experiment, out, resumed=True)
    assert events(out).count("open") == 1
    assert done.test_accuracy == whole[1].test_accuracy


def test_another_seed_is_another_model(whole, make, tmp_path):
    other = make(seed=4)
    train_topology(TOPOLOGY, other, tmp_path / "out")
    assert weights(tmp_path / "out") != weights(whole[0])
    assert default_folder(other, TOPOLOGY).name == f"tiny-{TOPOLOGY.digest[:8]}-s4"


def test_folders_that_are_taken(whole, experiment, make, tmp_path):
    with pytest.raises(RunFolderError, match="holds a training already; --resume goes on with it, or choose another"):
        train_topology(TOPOLOGY, experiment, whole[0])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(RunFolderError, match="other is not empty; choose another --out"):
        train_topology(TOPOLOGY, experiment, tmp_path / "other")
    with pytest.raises(RunFolderError, match="holds no training to resume; leave --resume out"):
        train_topology(TOPOLOGY, experiment, tmp_path / "none", resumed=True)
    with pytest.raises(RunFolderError, match="holds another training: seed is 3 there and 4 here"):
        train_topology(TOPOLOGY, make(seed=4), whole[0], resumed=True)
    with pytest.raises(RunFolderError, match="holds another training: digest is"):
        train_topology(families.residual(depth=4), experiment, whole[0], resumed=True)


def test_a_topology_over_a_limit_is_trained_and_told(make, tmp_path):
    notes = []
    train_topology(TOPOLOGY, make(limits={"parameters": 10}), tmp_path / "out", said=Said(note=notes.append))
    assert len(notes) == 1
    assert notes[0].startswith("a search would reject this topology: parameters ")


def test_what_cannot_be_trained(make, tmp_path):
    with pytest.raises(TrainerError):
        train_topology(TOPOLOGY, make(train={"budget_gflops": 1e-9, "batch": 32, "lr": 1e-3, "warmup": 0.1}), tmp_path)
    assert list(tmp_path.glob("*.jsonl")) == []
    hot = make(train={"budget_gflops": 0.05, "batch": 32, "lr": 1e30, "warmup": 0.0, "threads": 1})
    with pytest.raises(TrainerError, match="diverged at step"):
        train_topology(TOPOLOGY, hot, tmp_path / "out")
    assert events(tmp_path / "out")[-1] == "diverged"


def test_it_needs_no_gpu_and_takes_one(whole):
    tensors, metadata = checkpoint.load(whole[0] / "model.safetensors")
    assert {tensor.device for tensor in tensors.values()} == {torch.device("cpu")}
    assert metadata["digest"] == TOPOLOGY.digest
    assert issubclass(RunFolderError, UserError)
