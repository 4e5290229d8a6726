"""Text as bytes: windows of a fixed length, each byte to be told from those before it."""

import hashlib
from pathlib import Path

import numpy as np

from trainers.catalogue import BYTES, CONTEXT, Source
from trainers.errors import TrainerError
from trainers.sources.arrays import PARTS, Arrays, Part

# Bytes that are measured: all of them would take longer than the training of a trial.
MEASURED = {"train": None, "validation": 2**16, "test": 2**18}
# A text of one piece is cut where it stands: its last twentieth is the test part, the one before the validation part.
SHARES = (18, 1, 1)


def text(source: Source) -> Arrays:
    """A user's file, whatever its encoding; TrainerError where there is none or it is too short."""
    assert source.path is not None
    content = read_file(Path(source.path), "a file of text")
    return cut(source.path, content, source.context, {Path(source.path).name: hashlib.sha256(content).hexdigest()})


def cut(what: str, content: bytes, context: int | None, files: dict[str, str]) -> Arrays:
    """One text cut into its parts by place; TrainerError, which begins with ``what``, where it is too short."""
    context = context or CONTEXT
    if not content:
        raise TrainerError(f"{what}: the text is empty; a context of {context} needs {_least(context):,} bytes")
    if len(content) < _least(context):
        raise TrainerError(
            f"{what}: the text has {len(content):,} bytes, too few: a context of {context} needs {_least(context):,}, "
            "so that the twentieth that is kept for validation holds one window"
        )
    total, whole = sum(SHARES), len(content)
    ends = [whole * SHARES[0] // total, whole * (SHARES[0] + SHARES[1]) // total]
    return windows((content[: ends[0]], content[ends[0] : ends[1]], content[ends[1] :]), context, files)


def _least(context: int) -> int:
    return sum(SHARES) * (context + 1)


def windows(parts: tuple[bytes, bytes, bytes], context: int, files: dict[str, str]) -> Arrays:
    """Each part of a text in windows side by side: inputs (n, context) in uint8, labels the byte behind each."""

    def part(name: str, content: bytes) -> Part:
        count = (len(content) - 1) // context
        flat = np.frombuffer(bytearray(content), dtype=np.uint8)  # a copy, which may be written to
        inputs, labels = (flat[start : start + count * context].reshape(count, context) for start in (0, 1))
        measured = MEASURED[name]
        if measured is None or count * context <= measured:
            return Part(inputs, labels)
        # Evenly over the whole part, so that every file has its share.
        kept = max(1, measured // context)
        chosen = np.arange(kept) * count // kept
        return Part(inputs[chosen], labels[chosen])

    train, validation, test = (part(name, content) for name, content in zip(PARTS, parts, strict=True))
    return Arrays(train, validation, test, {"context": context, "classes": BYTES}, files)


def read_file(path: Path, what: str) -> bytes:
    """A user's file; TrainerError names it and says what belongs there."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise TrainerError(f"{path}: there is no such file; give {what}") from None
    except IsADirectoryError:
        raise TrainerError(f"{path}: this is a folder; give {what}") from None
    except OSError as error:
        raise TrainerError(f"{path}: the file cannot be read: {error.strerror or error}") from None
