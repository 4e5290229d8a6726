"""Datasets with a fixed split: what a search trains on, what it selects by, and a test part kept apart."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from trainers.catalogue import describe
from trainers.errors import TrainerError


@dataclass(frozen=True)
class Split:
    """images: float32 (n, channels, height, width); labels: int64 (n,)."""

    images: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class Data:
    """The train and validation parts; `fingerprint` is 16 hex digits over all arrays, test included."""

    name: str
    train: Split
    validation: Split
    classes: int
    image: tuple[int, int]
    channels: int
    fingerprint: str


@dataclass(frozen=True)
class _Whole:
    train: Split
    validation: Split
    test: Split


def load(kind: str) -> Data:
    """The train and validation parts of a dataset, without the test part; raises TrainerError."""
    facts = describe(kind)
    whole = READERS[kind]()
    return Data(
        name=kind,
        train=whole.train,
        validation=whole.validation,
        classes=facts["classes"],
        image=facts["image"],
        channels=facts["channels"],
        fingerprint=_fingerprint(whole),
    )


def load_test(kind: str) -> Split:
    """The test part alone, which no trial of a search is measured on. Raises TrainerError."""
    describe(kind)
    return READERS[kind]().test


def _digits() -> _Whole:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise TrainerError("data kind 'digits' needs scikit-learn: pip install 'wireloom[search]'") from error
    pixels, labels = load_digits(return_X_y=True)
    pixels = pixels.astype(np.int64).reshape(-1, 1, 8, 8)
    labels = labels.astype(np.int64)
    parts = _stratified("digits", labels)
    train = pixels[parts[0]]
    # Pixels are whole numbers, so these sums are exact and the fingerprint is the same on every machine.
    count, total, squares = train.size, int(train.sum()), int((train * train).sum())
    mean = total / count
    deviation = ((count * squares - total * total) / count**2) ** 0.5

    def split(chosen: np.ndarray) -> Split:
        images = ((pixels[chosen] - mean) / deviation).astype(np.float32)
        return Split(images=torch.from_numpy(images), labels=torch.from_numpy(labels[chosen]))

    return _Whole(*(split(chosen) for chosen in parts))


def _stratified(salt: str, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of a sixth of each class, and the rest in two equal parts.

    The order is that of a hash of the index: it needs no seed, and no library's generator can change it.
    """

    def rank(index: int) -> bytes:
        return hashlib.sha256(f"{salt}/{index}".encode()).digest()

    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for label in np.unique(labels):
        members = sorted(np.flatnonzero(labels == label).tolist(), key=rank)
        sixth, rest = len(members) // 6, (len(members) - len(members) // 6) // 2
        parts[0].extend(members[:sixth])
        parts[1].extend(members[sixth : sixth + rest])
        parts[2].extend(members[sixth + rest :])
    train, validation, test = (np.array(sorted(part), dtype=np.int64) for part in parts)
    return train, validation, test


def _fingerprint(whole: _Whole) -> str:
    digest = hashlib.sha256()
    for split in (whole.train, whole.validation, whole.test):
        digest.update(split.images.numpy().tobytes())
        digest.update(split.labels.numpy().tobytes())
    return digest.hexdigest()[:16]


READERS: dict[str, Callable[[], _Whole]] = {"digits": _digits}
