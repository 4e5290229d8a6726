"""Datasets with a fixed split: what a search trains on, what it selects by, and a test part kept apart."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from trainers.catalogue import Facts, Source, source_of
from trainers.sources import Arrays, Part, read


@dataclass(frozen=True)
class Split:
    """inputs: float32 images (n, channels, height, width), labels: int64 (n,); of text both uint8 (n, context)."""

    inputs: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class Data:
    """The train and validation parts; `fingerprint` is 16 hex digits over all arrays, test included.

    `facts` are the sizes a backbone takes from the data, `files` the sha256 of each file that was read, by name.
    """

    name: str
    train: Split
    validation: Split
    facts: Facts
    fingerprint: str
    files: Mapping[str, str]


def load(data: str | Source) -> Data:
    """The train and validation parts of a dataset, without the test part; raises TrainerError."""
    source = source_of(data)
    whole = read(source)
    return Data(
        name=source.kind,
        train=_split(whole.train),
        validation=_split(whole.validation),
        facts=whole.facts.copy(),
        fingerprint=_fingerprint(whole),
        files=whole.files,
    )


def load_test(data: str | Source) -> Split:
    """The test part alone, which no trial of a search is measured on. Raises TrainerError."""
    return _split(read(source_of(data)).test)


def _split(part: Part) -> Split:
    return Split(inputs=torch.from_numpy(part.inputs), labels=torch.from_numpy(part.labels))


def _fingerprint(whole: Arrays) -> str:
    digest = hashlib.sha256()
    for part in whole.parts():
        digest.update(part.inputs.tobytes())
        digest.update(part.labels.tobytes())
    return digest.hexdigest()[:16]
