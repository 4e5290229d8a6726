"""The winner as a folder one can use: topology, weights, a card, and a snippet that loads it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from graphs import Topology
from graphs.coefficients import Coefficients
from graphs.cost import wiring_sizes
from graphs.plan import lower
from nas.card import card
from nas.edges import Importance
from nas.errors import RunFolderError
from nas.evaluate import DEVICE, FINGERPRINT, Classifier, accuracy_of, build_model, dataset
from nas.experiment import Experiment
from nas.files import named, replace_file
from nas.importance import importance
from nas.pricing import backbone_options
from nas.records import Trial
from nas.run_folder import RunFolder
from nas.views import Views, topology_of
from search_space.document import dump, read, read_topology
from trainers import checkpoint
from trainers.catalogue import describe
from trainers.data import load_test
from trainers.errors import TrainerError
from trainers.metrics import evaluate as measure

WEIGHTS = "model.safetensors"
# What a CPU measures may differ by so much from what a GPU did: samples at the border of two classes, TF32.
ACCURACY_ROUNDING = 0.005
LOSS_ROUNDING = 0.01

TRAINED_SNIPPET = '''"""Load the found model and measure it on the validation split it was selected by."""

from pathlib import Path

import nas

model, experiment = nas.load_model(Path(__file__).parent)  # an nn.Module: inputs -> logits
accuracy, loss = nas.accuracy_of(model, experiment.data.source)
print(f"accuracy {accuracy!r} loss {loss!r}")
'''

WIRING_SNIPPET = '''"""Wire your own blocks as found: ``dim`` channels, one module per block, no skip inside them."""

from pathlib import Path

import graphs
from safetensors import safe_open

HERE = Path(__file__).parent


def load(blocks, dim, channel_axis=-1, impl="fused"):
    """The model from x0 to the output value, its mixes at the stored weights, by fused kernels."""
    topology = graphs.Topology.load(HERE / "topology.yaml")
    model = graphs.compile(topology, blocks, dim=dim, channel_axis=channel_axis, impl=impl)
    weights = HERE / "model.safetensors"
    if weights.exists():  # not where their size depends on dim: they then start as compile made them
        with safe_open(weights, "pt") as file:
            if file.metadata()["digest"] != topology.digest:
                raise ValueError(f"{weights} belongs to {file.metadata()['digest']}, the topology is {topology.digest}")
            model.weights.load_state_dict({name: file.get_tensor(name) for name in file.keys()})
    return model
'''


@dataclass(frozen=True, slots=True)
class Compiled:
    """What :func:`compile_run` made: the folder, and accuracies of the model as it loads back."""

    folder: Path
    trial: Trial
    accuracy: float
    loss: float
    test_accuracy: float


def compile_run(run: Path, out: Path) -> Compiled:
    """Write the winner of a run to ``out`` and check that it loads back to the accuracy the run logged."""
    views = Views.open(run)
    trial = views.winner
    if trial is None:
        raise RunFolderError(f"{run} has no complete trial yet, so no winner; continue it with --resume")
    weights, tensors, metadata = _weights_of(run, trial)
    _check_data(metadata, views.experiment, weights)
    topology = topology_of(trial)
    model = _trained(topology, views.experiment, tensors, weights)
    accuracy, loss = accuracy_of(model, views.experiment.data.source)
    elsewhere = metadata.get(DEVICE, "cpu") != "cpu"
    if not (_near(accuracy, loss, trial) if elsewhere else accuracy == trial.accuracy):
        raise RunFolderError(
            f"the compiled model has accuracy {accuracy!r}, but the run logged {trial.accuracy!r} for trial "
            f"{trial.number}; the weights or the versions in lock.json differ from those of the run"
        )
    _prepare(out)
    _save_weights(out, tensors, metadata | {"family": trial.family})
    topology.save(out / "topology.yaml")
    replace_file(out / "experiment.yaml", dump(views.experiment.resolved()).encode())
    calls = "function" in (views.experiment.data.kind, views.experiment.backbone.kind)
    snippet = TRAINED_SNIPPET.replace(".parent)", ".parent, trust=True)") if calls else TRAINED_SNIPPET
    replace_file(out / "load.py", snippet.encode())
    model, experiment = load_model(out, trust=True)
    accuracy, loss = accuracy_of(model, experiment.data.source)
    assert elsewhere or accuracy == trial.accuracy, "what was written is not what was checked"
    with torch.inference_mode():
        test_accuracy, _ = measure(model, load_test(experiment.data.source))
    compiled = Compiled(out, trial, accuracy, loss, test_accuracy)
    text = card(experiment, trial, topology, run.name, views.findings, test_accuracy=test_accuracy)
    replace_file(out / "card.md", text.encode())
    return compiled


def _near(accuracy: float, loss: float, trial: Trial) -> bool:
    """Whether what a CPU measures can be what another device measured, whose sums are rounded otherwise."""
    wanted = (trial.accuracy or 0.0, trial.loss or 0.0)
    return abs(accuracy - wanted[0]) <= ACCURACY_ROUNDING and math.isclose(loss, wanted[1], rel_tol=LOSS_ROUNDING)


def winner_importance(views: Views, trial: Trial) -> Importance:
    """What each edge of a run's trained winner is worth; RunFolderError where its weights cannot be used."""
    weights, tensors, metadata = _weights_of(views.folder, trial)
    _check_data(metadata, views.experiment, weights)
    topology = topology_of(trial)
    return importance(_trained(topology, views.experiment, tensors, weights), topology, views.experiment.data.source)


def _weights_of(run: Path, trial: Trial) -> tuple[Path, dict[str, torch.Tensor], dict[str, str]]:
    """The file of a trial's trained weights with what is in it."""
    weights = run / "weights" / RunFolder.weight_name(trial.number)
    try:
        tensors, metadata = checkpoint.load(weights)
    except TrainerError as error:
        raise RunFolderError(f"{error}; the run's folder is not whole") from error
    if metadata.get("digest") != trial.digest:
        raise RunFolderError(f"{weights} belongs to topology {metadata.get('digest')}, not to {trial.digest}")
    return weights, tensors, metadata


def compile_topology_file(path: Path, out: Path) -> Topology:
    """Write a topology's wiring alone, at its initial weights, with a snippet that takes the user's blocks."""
    topology = read_topology(path)
    _prepare(out, source=path)
    plan = lower(topology)
    if wiring_sizes(plan, 1) == wiring_sizes(plan, 2):  # else the weights are of a width that only the user knows
        _save_weights(out, Coefficients(plan, 1).state_dict(), {"digest": topology.digest})
    topology.save(out / "topology.yaml")
    replace_file(out / "load.py", WIRING_SNIPPET.encode())
    card = (
        f"# {topology}\n\nDigest `{topology.digest}`. The wiring of {topology.depth} blocks at its initial weights; "
        "`load.py` takes your blocks.\n\n```\n" + str(lower(topology)) + "\n```\n"
    )
    replace_file(out / "card.md", card.encode())
    return topology


def load_model(folder: Path | str, *, trust: bool = False) -> tuple[Classifier, Experiment]:
    """The trained model of a folder that ``wireloom compile RUN`` wrote, and its experiment.

    Raises UserError where the folder is not whole, or the weights belong to another topology or were trained on
    other data than those at hand. Runs no code from it; where its experiment names functions of a user, which would
    be called, it is refused but with ``trust``.
    """
    folder = Path(folder)
    named = [f"{key}.function" for key in ("data", "backbone") if "function" in _section(folder, key)]
    if named and not trust:
        raise RunFolderError(
            f"{folder}: experiment.yaml names a function to call ({', '.join(named)}); if you trust it, load the model "
            "with trust=True"
        )
    experiment = Experiment.load(folder / "experiment.yaml", read_data=False)
    topology = read_topology(folder / "topology.yaml")
    tensors, metadata = checkpoint.load(folder / WEIGHTS)
    if metadata.get("digest") != topology.digest:
        raise RunFolderError(
            f"{folder}: the weights belong to topology {metadata.get('digest')}, but topology.yaml is {topology.digest}"
        )
    _check_data(metadata, experiment, folder)
    return _trained(topology, experiment, tensors, folder), experiment


def _section(folder: Path, key: str) -> Mapping[str, object]:
    """A section of a folder's experiment as it is written, before anything in it is looked up."""
    section = read(folder / "experiment.yaml").data.get(key)
    return section if isinstance(section, dict) else {}


def _check_data(metadata: Mapping[str, str], experiment: Experiment, source: Path) -> None:
    """RunFolderError where weights from ``source`` were trained on other data than those at hand."""
    kind = experiment.data.kind
    then, now = metadata.get(FINGERPRINT), dataset(experiment.data.source).fingerprint
    if then not in (None, now):
        raise RunFolderError(
            f"{source}: the weights were trained on other data: the fingerprint of {kind} was {then} and is {now} "
            "here; bring the former data back (the run's lock.json has the versions), or search anew"
        )


def _trained(
    topology: Topology, experiment: Experiment, tensors: Mapping[str, torch.Tensor], source: Path
) -> Classifier:
    """The model with weights from ``source``; RunFolderError where they do not fit."""
    model = build_model(
        topology,
        backbone_options(experiment),
        seed=experiment.seed,
        **describe(experiment.data.source),
    )
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise RunFolderError(f"{source}: the weights do not fit the topology: {error}") from error
    return model.eval()


def _prepare(out: Path, source: Path | None = None) -> None:
    """Refuse a folder with other things in it; writing over an earlier compile of the same kind is fine.

    ``source`` is the topology file of a compile of wiring alone.
    """
    ours = {"topology.yaml", "experiment.yaml", WEIGHTS, "load.py", "card.md", "__pycache__"}
    try:
        found = {path.name for path in out.iterdir()} if out.exists() else set()
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"{out}: cannot be written: {error.strerror}; choose another --out") from error
    if source is not None and source.resolve() in {(out / name).resolve() for name in found}:
        raise RunFolderError(
            f"{out} is where {source.name} itself is, which would be written over; choose another --out"
        )
    # The weights are written first, and nobody writes them by hand as one does the YAML files.
    others = found - ours if WEIGHTS in found else found
    if others:
        raise RunFolderError(f"{out} holds other files ({', '.join(sorted(others)[:3])}); choose another --out")
    if source is not None and "experiment.yaml" in found:
        raise RunFolderError(f"{out} holds the compiled winner of a run, with its weights; choose another --out")


def _save_weights(out: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str]) -> None:
    with named(out / WEIGHTS):
        checkpoint.save(out / WEIGHTS, tensors, metadata)
