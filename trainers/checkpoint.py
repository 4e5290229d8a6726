"""Tensors on disk: safetensors, written whole or not at all."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from trainers.errors import CheckpointError


def save(path: Path, state_dict: Mapping[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Replace the file by these tensors; a failure leaves the old file as it was. Raises OSError."""
    # The format refuses tensors that share memory and keeps no strides, so each gets memory of its own.
    dense = torch.contiguous_format
    tensors = {name: each.detach().cpu().clone(memory_format=dense) for name, each in state_dict.items()}
    content = safetensors.torch.save(tensors, metadata)
    # In the same folder, because a rename is atomic only within one file system.
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def load(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors, on the CPU, and the metadata; CheckpointError if the file is missing or damaged."""
    with _opened(path) as file:
        names = file.keys()
        return {name: file.get_tensor(name) for name in names}, file.metadata() or {}


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata alone; CheckpointError if the file is missing or damaged."""
    with _opened(path) as file:
        metadata: dict[str, str] = file.metadata() or {}
        return metadata


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError as error:
        raise CheckpointError(f"no checkpoint at {path}") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error}") from error
