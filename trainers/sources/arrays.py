"""Arrays with labels: what is legal, how they are split, and how pixels are scaled."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from trainers.catalogue import Facts
from trainers.errors import TrainerError

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Part:
    """Inputs (n, ...) and labels (n,) or, of text, (n, context)."""

    inputs: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Arrays:
    """A dataset: its parts, the sizes a backbone needs, and the sha256 of each file it was read from, by name."""

    train: Part
    validation: Part
    test: Part
    facts: Facts
    files: Mapping[str, str] = field(default_factory=dict)

    def parts(self) -> tuple[Part, Part, Part]:
        return self.train, self.validation, self.test


def images(
    x: np.ndarray, y: np.ndarray, split: tuple[np.ndarray, ...], files: Mapping[str, str] | None = None
) -> Arrays:
    """Images (n, channels, height, width) of numbers and labels (n,) 0, 1, .., as float32 and int64.

    ``split`` are the indices of the three parts. Pixels are scaled by mean and standard deviation of the training
    part. Raises TrainerError where all its pixels are equal.
    """
    mean, deviation = _statistics(x[split[0]])
    if not deviation > 0:
        raise TrainerError(f"all pixels of the training part are {mean:g}; a network can learn nothing from them")

    def part(chosen: np.ndarray) -> Part:
        return Part(((x[chosen] - mean) / deviation).astype(np.float32), y[chosen].astype(np.int64))

    train, validation, test = (part(chosen) for chosen in split)
    _, channels, height, width = x.shape
    facts: Facts = {"image": (height, width), "channels": channels, "classes": int(y.max()) + 1}
    return Arrays(train, validation, test, facts, files or {})


def _statistics(x: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation; of whole numbers from exact sums, so that they are the same on every machine."""
    if x.dtype == np.int64:
        count, total, squares = x.size, int(x.sum()), int((x * x).sum())
        return total / count, float(((count * squares - total * total) / count**2) ** 0.5)
    return float(x.mean(dtype=np.float64)), float(x.std(dtype=np.float64))


def stratified(salt: str, labels: np.ndarray, share: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of a share (numerator, denominator) of each class, rounded down, and the rest in two equal parts.

    The order is that of a hash of the index: it needs no seed, and no library's generator can change it.
    """

    def rank(index: int) -> bytes:
        return hashlib.sha256(f"{salt}/{index}".encode()).digest()

    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for label in np.unique(labels):
        members = sorted(np.flatnonzero(labels == label).tolist(), key=rank)
        first = len(members) * share[0] // share[1]
        rest = (len(members) - first) // 2
        parts[0].extend(members[:first])
        parts[1].extend(members[first : first + rest])
        parts[2].extend(members[first + rest :])
    train, validation, test = (np.array(sorted(part), dtype=np.int64) for part in parts)
    return train, validation, test
