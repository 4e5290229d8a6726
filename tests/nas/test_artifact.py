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
from nas import artifact
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


def test_a_topology_is_not_written_over_itself(tmp_path, tree):
    graphs.families.residual(depth=2).save(tmp_path / "topology.yaml")
    (tmp_path / "topology.yaml").write_text((tmp_path / "topology.yaml").read_text() + "# by hand\n")
    before = tree(tmp_path)
    with pytest.raises(RunFolderError, match=r"is where topology\.yaml itself is, which would be written over"):
        compile_topology_file(tmp_path / "topology.yaml", tmp_path)
    assert tree(tmp_path) == before
    # An earlier compile whose topology is compiled again where it is.
    compile_topology_file(tmp_path / "topology.yaml", tmp_path / "model")
    (tmp_path / "link.yaml").symlink_to(tmp_path / "model" / "topology.yaml")
    before = tree(tmp_path)
    for source in (tmp_path / "model" / "topology.yaml", tmp_path / "link.yaml"):
        with pytest.raises(RunFolderError, match="itself is"):
            compile_topology_file(source, tmp_path / "model" / ".." / "model")
    assert tree(tmp_path) == before


def test_wiring_alone_is_not_mixed_with_the_compiled_winner_of_a_run(model, tmp_path, tree):
    out = tmp_path / "model"
    shutil.copytree(model, out)
    graphs.families.residual(depth=2).save(tmp_path / "t.yaml")
    before = tree(tmp_path)
    with pytest.raises(RunFolderError, match=r"holds the compiled winner of a run, with its weights; choose another"):
        compile_topology_file(tmp_path / "t.yaml", out)
    assert tree(tmp_path) == before


def test_files_that_one_writes_by_hand_are_not_taken_for_an_earlier_compile(finished, tmp_path, tree):
    shutil.copy(finished / "experiment.yaml", tmp_path / "experiment.yaml")
    graphs.families.residual(depth=2).save(tmp_path / "elsewhere.yaml")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "topology.yaml").write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(RunFolderError, match=r"holds other files \(topology.yaml\); choose another --out"):
        compile_topology_file(tmp_path / "elsewhere.yaml", tmp_path / "mine")
    with pytest.raises(RunFolderError, match=r"holds other files \(topology.yaml\); choose another --out"):
        compile_run(finished, tmp_path / "mine")
    assert tree(tmp_path) == before


def test_a_compile_cut_off_anywhere_can_be_done_again(finished, tmp_path, monkeypatch):
    from nas import artifact

    write = artifact.replace_file
    for left in range(3):
        writes = iter(range(left))

        def dies(path, data, writes=writes):
            if next(writes, None) is None:
                raise KeyboardInterrupt
            write(path, data)

        with monkeypatch.context() as patch:
            patch.setattr(artifact, "replace_file", dies)
            with pytest.raises(KeyboardInterrupt):
                compile_run(finished, tmp_path / "model")
    assert compile_run(finished, tmp_path / "model").folder == tmp_path / "model"


def test_weights_that_cannot_be_written_name_their_file(tmp_path, monkeypatch):
    graphs.families.residual(depth=2).save(tmp_path / "t.yaml")
    monkeypatch.setattr(checkpoint, "save", lambda *_: (_ for _ in ()).throw(OSError(27, "File too large")))
    with pytest.raises(OSError, match="too large") as caught:
        compile_topology_file(tmp_path / "t.yaml", tmp_path / "model")
    assert caught.value.filename == str(tmp_path / "model" / "model.safetensors")


def spoil(path, change):
    """Rewrite a weights file with changed tensors or metadata."""
    tensors, metadata = checkpoint.load(path)
    change(tensors, metadata)
    save_file(tensors, path, metadata)


SPOILT = {
    "another digest": (lambda tensors, metadata: metadata.update(digest="0" * 12), "belong"),
    "other data": (
        lambda tensors, metadata: metadata.update(data_fingerprint="feed" * 4),
        "the weights were trained on other data: the fingerprint of digits was (feed){4} and is [0-9a-f]{16} here",
    ),
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


@pytest.mark.parametrize("harm", ["another digest", "other data"])
def test_what_the_weights_say_of_themselves_is_checked_before_anything_is_computed(
    model, run, tmp_path, harm, monkeypatch
):
    from nas import artifact

    folder = shutil.copytree(model, tmp_path / "model")
    change, message = SPOILT[harm]
    for path in (folder / "model.safetensors", *(run / "weights").iterdir()):
        spoil(path, change)
    for name in ("build_model", "accuracy_of", "measure"):
        monkeypatch.setattr(artifact, name, lambda *_, **__: pytest.fail("something was computed"))
    with pytest.raises(RunFolderError, match=message):
        load_model(folder)
    with pytest.raises(RunFolderError, match=message):
        compile_run(run, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_weights_say_what_they_were_trained_on_and_those_that_do_not_are_taken(model, run, tmp_path):
    lock = json.loads((run / "lock.json").read_text())
    files = [model / "model.safetensors", *(run / "weights").iterdir()]
    assert {checkpoint.read_metadata(path)["data_fingerprint"] for path in files} == {lock["data_fingerprint"]}
    folder = shutil.copytree(model, tmp_path / "model")
    spoil(folder / "model.safetensors", lambda tensors, metadata: metadata.pop("data_fingerprint"))
    assert load_model(str(folder))


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
    save_file(tensors, out / "model.safetensors", {"digest": topology.digest})
    done = subprocess.run(
        [sys.executable, "-c", WIRE, out / "load.py", tmp_path / "result.pt"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout == "False\n", "a user's repository needs graphs alone"
    states, output = torch.load(tmp_path / "result.pt")
    blocks = [nn.Linear(6, 6) for _ in states]
    for block, state in zip(blocks, states, strict=True):
        block.load_state_dict(state)
    expected = graphs.compile(topology, blocks, dim=6, impl="fused")
    started = expected(torch.ones(2, 6)).detach()
    expected.weights.load_state_dict(tensors)
    assert torch.equal(expected(torch.ones(2, 6)), output)
    assert not torch.equal(started, output)
    save_file(tensors, out / "model.safetensors", {"digest": "another"})
    refused = subprocess.run(
        [sys.executable, "-c", WIRE, out / "load.py", tmp_path / "result.pt"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert f"belongs to another, the topology is {topology.digest}" in refused.stderr


def test_wiring_whose_weights_depend_on_the_width_is_left_to_compile(tmp_path):
    topology = graphs.families.layerscale(depth=3)
    topology.save(tmp_path / "t.yaml")
    compile_topology_file(tmp_path / "t.yaml", tmp_path / "wired")
    assert {path.name for path in (tmp_path / "wired").iterdir()} == MADE - {"model.safetensors"}


@pytest.mark.parametrize(("device", "harm", "fits"), [("cpu", 1e-4, False), ("cuda", 1e-4, True), ("cuda", 1.0, False)])
def test_weights_of_another_device_need_fit_up_to_rounding_alone(run, tmp_path, monkeypatch, device, harm, fits):
    """What a GPU measured is not what a CPU measures to the last digit; of a CPU's weights it must be."""
    (weights,) = [path for path in (run / "weights").iterdir() if int(logged(run)["number"]) == int(path.stem[-4:])]
    spoil(weights, lambda tensors, metadata: metadata.update(device=device))
    measured = artifact.accuracy_of

    def rounded(model, data):
        accuracy, loss = measured(model, data)
        return accuracy - harm, loss

    monkeypatch.setattr(artifact, "accuracy_of", rounded)
    if fits:
        assert artifact.compile_run(run, tmp_path / "model").accuracy == float(logged(run)["accuracy"]) - harm
        return
    with pytest.raises(RunFolderError, match="but the run logged"):
        artifact.compile_run(run, tmp_path / "model")
