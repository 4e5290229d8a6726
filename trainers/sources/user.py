"""The user's own data: an `.npz` of arrays, or what a function returns, checked before anything is trained."""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from trainers import functions
from trainers.catalogue import Source
from trainers.errors import TrainerError
from trainers.sources.arrays import PARTS, Arrays, images, stratified
from trainers.sources.text import cut, read_file

NAMES = ("x", "y", "split")
WANTED = "x of images (n, height, width) or (n, channels, height, width), or of signals (n, length)"
MOST_CLASSES = 100_000


def npz(source: Source) -> Arrays:
    """A file with the arrays ``x``, ``y`` and, if wanted, ``split``; pickles in it are not read."""
    assert source.path is not None
    content = read_file(Path(source.path), "an .npz file with the arrays x and y")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise TrainerError(f"{source.path}: cannot be read as an .npz of plain arrays: {error}") from error
    return labelled(source.path, found, {Path(source.path).name: hashlib.sha256(content).hexdigest()})


def function(source: Source) -> Arrays:
    """What a function of no arguments returns: (x, y), (x, y, split), a mapping of these, or bytes of text."""
    reference = source.function
    assert reference is not None
    given = functions.call(reference)
    if isinstance(given, str):
        given = given.encode()
    if isinstance(given, bytes):
        return cut(reference, given, source.context, {})
    if source.context is not None:
        raise TrainerError(f"{reference}: context is of text, but the function returned a {type(given).__name__}")
    if isinstance(given, tuple) and len(given) in (2, 3):
        given = dict(zip(NAMES, given, strict=False))
    if not isinstance(given, Mapping):
        shown = f"{len(given)} values" if isinstance(given, tuple) else f"a {type(given).__name__}"
        raise TrainerError(
            f"{reference}: returned {shown}; must return (x, y), (x, y, split), a mapping of these names, or bytes"
        )
    arrays = {}
    for name, value in given.items():
        try:
            arrays[str(name)] = np.asarray(value)
        except (ValueError, TypeError, RuntimeError) as error:
            raise TrainerError(f"{reference}: {name} is no array: {error}") from error
    return labelled(reference, arrays, {})


def labelled(what: str, found: Mapping[str, np.ndarray], files: Mapping[str, str]) -> Arrays:
    """Arrays ``x``, ``y`` and maybe ``split`` (n,) of 0 train, 1 validation, 2 test.

    Without a split seven tenths of every class are trained on, and the rest is halved. Raises TrainerError, which
    begins with ``what``, for the first thing that is wrong.
    """
    for name in NAMES[:2]:
        if name not in found:
            held = ", ".join(sorted(found)) or "nothing"
            raise TrainerError(f"{what}: there is no array {name!r}; it must hold x and y, and holds {held}")
    for name in found:
        if name not in NAMES:
            raise TrainerError(f"{what}: nobody reads an array {name!r}; the names are {', '.join(NAMES)}")
    try:
        x, y = _pixels(found["x"]), _labels(found["y"], len(found["x"]))
        split = _given(found["split"], y) if "split" in found else stratified("user", y, (7, 10))
        _check_parts(y, split)
        return images(x, y, split, files)
    except TrainerError as error:
        raise TrainerError(f"{what}: {error}") from error.__cause__


def _pixels(x: np.ndarray) -> np.ndarray:
    """(n, channels, height, width), int64 or float64."""
    if x.dtype.kind not in "iuf":
        raise TrainerError(f"x holds {x.dtype}, not numbers; must be {WANTED}")
    if x.ndim not in (2, 3, 4) or 0 in x.shape:
        raise TrainerError(f"x has the shape {x.shape}; must be {WANTED}")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        first = int(np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(axis=1))[0])
        worst = x[first][~np.isfinite(x[first])][0]
        raise TrainerError(f"x[{first}] holds {worst}; all values must be finite")
    if x.ndim == 2:
        x = x[:, None, None, :]
    elif x.ndim == 3:
        x = x[:, None]
    # Small whole numbers have exact sums; larger ones would overflow them.
    small = x.dtype.kind in "iu" and x.dtype.itemsize <= 2
    return x.astype(np.int64 if small else np.float64)


def _labels(y: np.ndarray, count: int) -> np.ndarray:
    if y.ndim != 1 or len(y) != count:
        raise TrainerError(f"y has the shape {y.shape}; must be ({count},), a label for each of the {count} in x")
    if y.dtype.kind not in "iu":
        raise TrainerError(f"y holds {y.dtype}; must hold whole numbers, the classes 0, 1, ..")
    least, greatest = int(y.min()), int(y.max())
    if least < 0 or greatest >= MOST_CLASSES:
        odd = least if least < 0 else greatest
        raise TrainerError(f"y holds the label {odd}; classes are numbered 0, 1, .. up to {MOST_CLASSES - 1}")
    classes = np.unique(y)
    if len(classes) < 2:
        raise TrainerError(f"y holds one class, {greatest}; there must be at least two to tell apart")
    if len(classes) != greatest + 1:
        missing = int(np.setdiff1d(np.arange(greatest + 1), classes)[0])
        raise TrainerError(f"y has labels up to {greatest} but none is {missing}; number the classes 0, 1, .. in a row")
    return y.astype(np.int64)


def _given(split: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
    if split.shape != y.shape or split.dtype.kind not in "iu":
        raise TrainerError(
            f"split is {split.dtype} of the shape {split.shape}; must be whole numbers ({len(y)},): 0 train, "
            "1 validation, 2 test"
        )
    odd = np.setdiff1d(split, (0, 1, 2))
    if len(odd):
        raise TrainerError(f"split holds {int(odd[0])}; must be 0 train, 1 validation, 2 test")
    return tuple(np.flatnonzero(split == part) for part in range(3))


def _check_parts(y: np.ndarray, split: tuple[np.ndarray, ...]) -> None:
    for name, chosen in zip(PARTS, split, strict=True):
        if not len(chosen):
            raise TrainerError(f"the {name} part of the {len(y)} samples is empty; give more samples or another split")
    missing = np.setdiff1d(y, y[split[0]])
    if len(missing):
        raise TrainerError(f"no sample of class {int(missing[0])} is in the training part; give it more samples")
