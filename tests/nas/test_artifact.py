import csv
import json
import re
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import graphs
import nas
from nas.artifact import compile_run, compile_topology_file, load_model
from nas.errors import RunFolderError
from nas.evaluate import accuracy_of
from trainers import checkpoint
from trainers.errors import TrainerError

MADE = {"topology.yaml", "model.safetensors", "card.md", "load.py"}


@pytest.fixture(scope="module")
def model(finished, tmp_path_factory):
    """The compiled winner of the finished run."""
    out = tmp_path_factory.mktemp("artifact") / "deep" / "model"
    compile_run(finished, out)
    return out


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def logged(run):
    with (run / "pareto.csv").open(newline="") as file:
        return next(csv.DictReader(file))


def test_the_folder_holds_what_is_promised(finished, model):
    assert {path.name for path in model.iterdir()} == MADE | {"experiment.yaml"}
    best = logged(finished)
    assert graphs.Topology.load(model / "topology.yaml").digest == best["digest"]
    card = (model / "card.md").read_text()
    for part in (best["digest"], f"{float(best['accuracy']):.2%}".replace("%", " %"), "test accuracy", "parameters"):
        assert part in card
    assert checkpoint.read_metadata(model / "model.safetensors")["digest"] == best["digest"]


def test_the_snippet_prints_in_a_fresh_process_the_accuracy_the_run_logged(finished, model, tmp_path):
    done = subprocess.run([sys.executable, model / "load.py"], capture_output=True, text=True, check=True, cwd=tmp_path)
    found = re.fullmatch(r"accuracy (\S+) loss (\S+)\n", done.stdout)
    assert found.group(1) == logged(finished)["accuracy"]
    assert float(found.group(2)) == pytest.approx(float(logged(finished)["loss"]), rel=1e-6)


def test_the_model_is_a_module_ready_for_use(finished, model):
    loaded, experiment = nas.load_model(model)
    assert isinstance(loaded, nn.Module)
    assert not loaded.training
    assert loaded(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert repr(accuracy_of(loaded, experiment.data.kind)[0]) == logged(finished)["accuracy"]


def test_compiling_again_writes_over_its_own_files_alone(finished, model, tmp_path):
    again = tmp_path / "model"
    shutil.copytree(model, again)
    (again / "card.md").write_text("old")
    compile_run(finished, again)
    assert (again / "card.md").read_bytes() == (model / "card.md").read_bytes()
    (again / "notes.txt").write_text("mine")
    (again / "card.md").write_text("old")
    with pytest.raises(RunFolderError, match=r"holds other files \(notes.txt\); choose another --out"):
        compile_run(finished, again)
    assert (again / "card.md").read_text() == "old"


def spoil(path, change):
    """Rewrite a weights file with changed tensors or metadata."""
    tensors, metadata = checkpoint.load(path)
    change(tensors, metadata)
    save_file(tensors, path, metadata)


SPOILT = {
    "another digest": (lambda tensors, metadata: metadata.update(digest="0" * 12), "belong"),
    "a missing tensor": (lambda tensors, metadata: tensors.pop(sorted(tensors)[0]), "do not fit the topology"),
    "one too many": (lambda tensors, metadata: tensors.update(more=torch.zeros(1)), "do not fit the topology"),
    "another shape": (lambda tensors, metadata: tensors.update({sorted(tensors)[0]: torch.zeros(1)}), "do not fit"),
}


@pytest.mark.parametrize("harm", SPOILT)
def test_weights_that_are_not_the_topologys_are_refused(model, tmp_path, harm):
    change, message = SPOILT[harm]
    folder = shutil.copytree(model, tmp_path / "model")
    spoil(folder / "model.safetensors", change)
    with pytest.raises(RunFolderError, match=message):
        load_model(folder)


@pytest.mark.parametrize("harm", [*SPOILT, "other values"])
def test_a_run_with_spoilt_weights_compiles_to_nothing(run, tmp_path, harm):
    change, message = SPOILT.get(harm, (lambda tensors, _: [t.neg_() for t in tensors.values()], "but the run logged"))
    (weights,) = [path for path in (run / "weights").iterdir() if int(logged(run)["number"]) == int(path.stem[-4:])]
    spoil(weights, change)
    with pytest.raises(RunFolderError, match=message):
        compile_run(run, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("harm", ["gone", "cut off", "empty"])
def test_a_run_whose_weights_are_not_whole_says_so(run, tmp_path, harm):
    for path in (run / "weights").iterdir():
        content = path.read_bytes()
        path.unlink()
        if harm != "gone":
            path.write_bytes(content[:100] if harm == "cut off" else b"")
    with pytest.raises(RunFolderError, match="the run's folder is not whole"):
        compile_run(run, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_run_without_a_complete_trial_has_no_winner(run, tmp_path):
    log = (run / "events.jsonl").read_bytes().splitlines(keepends=True)
    first = next(i for i, line in enumerate(log) if json.loads(line)["event"] == "result")
    (run / "events.jsonl").write_bytes(b"".join(log[:first]))
    with pytest.raises(RunFolderError, match="no complete trial yet, so no winner; continue it with --resume"):
        compile_run(run, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_no_weights_no_model(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with pytest.raises(TrainerError, match="no checkpoint"):
        load_model(folder)


WIRE = """
import importlib.util, sys, torch
from torch import nn
spec = importlib.util.spec_from_file_location("load", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
torch.manual_seed(0)
blocks = [nn.Linear(6, 6) for _ in range(3)]
model = module.load(blocks, dim=6)
x = torch.ones(2, 6)
torch.save([[block.state_dict() for block in blocks], model(x)], sys.argv[2])
print("nas" in sys.modules)
"""


def test_wiring_alone_takes_ones_own_blocks(tmp_path):
    topology = graphs.families.hyper(depth=3, streams=2)
    topology.save(tmp_path / "t.yaml")
    out = tmp_path / "wired"
    assert compile_topology_file(tmp_path / "t.yaml", out) == topology
    assert {path.name for path in out.iterdir()} == MADE
    # Other weights than the initial ones: those in the file are the ones used.
    tensors = load_file(out / "model.safetensors")
    tensors = {name: tensor + 0.1 for name, tensor in tensors.items()}
    save_file(tensors, out / "model.safetensors")
    done = subprocess.run(
        [sys.executable, "-c", WIRE, out / "load.py", tmp_path / "result.pt"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout == "False\n", "a user's repository needs graphs alone"
    states, output = torch.load(tmp_path / "result.pt")
    blocks = [nn.Linear(6, 6) for _ in states]
    for block, state in zip(blocks, states, strict=True):
        block.load_state_dict(state)
    expected = graphs.compile(topology, blocks, dim=6)
    started = expected(torch.ones(2, 6)).detach()
    expected.weights.load_state_dict(tensors)
    assert torch.equal(expected(torch.ones(2, 6)), output)
    assert not torch.equal(started, output)
