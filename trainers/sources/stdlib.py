"""The source of Python's own standard library: about 11 MB of real text on every machine, another with each version.

Its files are those `*.py` of the standard library's folder that no build or distribution makes: tests, installed
packages and what is named after a platform are left out. Each file is in one part, by a hash of its name.
"""

import hashlib
import sysconfig
from pathlib import Path

from trainers.catalogue import CONTEXT, Source
from trainers.errors import TrainerError
from trainers.sources.arrays import PARTS, Arrays
from trainers.sources.text import windows

LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
BUILT = ("_sysconfigdata", "sitecustomize", "usercustomize", "_distutils_system_mod")
VALIDATION, TEST = 0.05, 0.05  # shares of the files
SEPARATOR = b"\0"  # behind each file; in no Python source


def stdlib(source: Source) -> Arrays:
    """Its bytes in windows of ``source.context``, with the name and sha256 of every file."""
    context = source.context or CONTEXT
    folder = Path(sysconfig.get_path("stdlib"))
    files: dict[str, str] = {}
    parts: dict[str, bytearray] = {name: bytearray() for name in PARTS}
    for name in sorted(_names(folder), key=_rank):
        content = (folder / name).read_bytes()
        files[name] = hashlib.sha256(content).hexdigest()
        parts[part_of(name)] += content + SEPARATOR
    for name, held in parts.items():
        if len(held) <= context:
            raise TrainerError(
                f"data kind 'stdlib': {folder} holds {len(files)} source files, whose {name} part has {len(held):,} "
                f"bytes: too few for a context of {context}; use a Python whose library is not stripped or zipped, "
                "a shorter context, or data: {kind: text, path: ..}"
            )
    train, validation, test = (bytes(parts[name]) for name in PARTS)
    return windows((train, validation, test), context, files)


def _names(folder: Path) -> list[str]:
    """Paths below the folder, with forward slashes."""
    found = (path.relative_to(folder) for path in folder.rglob("*.py") if path.is_file())
    return [
        path.as_posix()
        for path in found
        if not LEFT_OUT.intersection(path.parts) and not path.name.startswith(BUILT) and path.parts[0][:7] != "config-"
    ]


def _rank(name: str) -> bytes:
    return hashlib.sha256(f"stdlib/{name}".encode()).digest()


def part_of(name: str) -> str:
    """The part of a file: a function of its name alone, so that other files may come and go."""
    place = int.from_bytes(_rank(name)[-8:], "big") / 2**64
    if place < TEST:
        return "test"
    return "validation" if place < TEST + VALIDATION else "train"
