"""The state of a training on disk, from which it goes on to the same bits: one safetensors file, no pickles.

In it: weights and buffers, AdamW's moments and step counts, the losses since the last report, and the states of the
global random generators. The schedule and the place in the data follow from the step, so they need no state.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from trainers import checkpoint
from trainers.data import Data
from trainers.errors import CheckpointError, TrainerError
from trainers.recipe import Recipe

FORMAT = "wireloom training 1"


class Keeper(Protocol):
    """Where the state of a training is kept and when it is written; :class:`Keep` is the plain one."""

    @property
    def path(self) -> Path: ...

    @property
    def closing(self) -> bool:
        """Whether to write when the training is closed at a report, to go on from there another time."""
        ...

    def due(self, step: int) -> bool:
        """Whether to write after this step, whose report was taken."""
        ...

    def notes(self) -> Mapping[str, str]:
        """What goes into the file's metadata beside what the training needs itself."""
        ...

    def saved(self) -> None:
        """Is called when the file was written."""
        ...


@dataclass(frozen=True)
class Keep:
    """Writes the state every so many steps. Raises TrainerError."""

    path: Path
    every: int
    closing: bool = False

    def __post_init__(self) -> None:
        if self.every < 1:
            raise TrainerError(f"a checkpoint is written every 1 or more steps, not {self.every}")

    def due(self, step: int) -> bool:
        return step % self.every == 0

    def notes(self) -> Mapping[str, str]:
        return {}

    def saved(self) -> None:
        pass


def identity(model: nn.Module, data: Data, recipe: Recipe, *, steps: int, seed: int) -> dict[str, str]:
    """What must be the same for a training to go on, as text by name."""
    layout = repr([(name, tuple(tensor.shape), str(tensor.dtype)) for name, tensor in model.state_dict().items()])
    return {
        "format": FORMAT,
        "seed": str(seed),
        "steps": str(steps),
        "recipe": json.dumps(asdict(recipe), sort_keys=True),
        "data": data.fingerprint,
        "model": hashlib.sha256(layout.encode()).hexdigest()[:16],
    }


def notes(path: Path, own: Mapping[str, str]) -> dict[str, str] | None:
    """The metadata of the checkpoint of this very training, whose :func:`identity` is ``own``; None without one."""
    try:
        found = checkpoint.read_metadata(path)
    except CheckpointError:
        return None
    return found if own.items() <= found.items() else None


def write(
    path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, losses: list[float], step: int, own: dict[str, str]
) -> None:
    """Replace the file by the state after ``step``; raises OSError and leaves the old one where that fails."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": tensor for name, tensor in state.items()}
    tensors["losses"] = torch.tensor(losses, dtype=torch.float64)
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    checkpoint.save(path, tensors, own | {"step": str(step)})


def read(
    path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, own: dict[str, str]
) -> tuple[int, list[float]]:
    """Put the state back, in place; the step it was written after, and the losses since the last report.

    Raises CheckpointError, and changes nothing, where the file is damaged or is that of another training.
    """
    tensors, found = checkpoint.load(path)
    for name, value in own.items():
        if found.get(name) != value:
            was = found.get(name, "not there")
            raise CheckpointError(
                f"{path} is the checkpoint of another training: its {name} is {was}, here it is {value}; "
                "remove the file to train from the start"
            )
    weights = _below(tensors, "model.")
    moments: dict[int, dict[str, torch.Tensor]] = {}
    try:
        step = int(found["step"])
        for name, tensor in _below(tensors, "optimiser.").items():
            index, _, kind = name.partition(".")
            moments.setdefault(int(index), {})[kind] = tensor
        losses, random = tensors["losses"].tolist(), tensors["random.cpu"]
        trained = sum(len(group["params"]) for group in optimiser.param_groups)
        if weights.keys() != model.state_dict().keys() or not moments.keys() <= set(range(trained)):
            raise KeyError("the tensors")
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged: {error} cannot be read; remove it to train from the start"
        ) from error
    model.load_state_dict(weights)
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    torch.set_rng_state(random)
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])
    return step, losses


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
