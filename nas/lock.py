"""``lock.json``: what a run was made with, and whether what continues it is the same."""

import json
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from nas.errors import RunFolderError
from nas.files import replace_file

VERSIONED = ("wireloom", "torch", "numpy", "networkx", "optuna", "mlflow", "scikit-learn")
DATA = "data_fingerprint"
RESUMED = "resumed"  # what the run was continued with, where that was something else than before

Facts = dict[str, Any]


def environment(fingerprint: str, device: str, files: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Versions, commit, machine and data: the contents of ``lock.json``; ``files`` are sha256 by name, if any."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device,
        "versions": {name: _version(name) for name in VERSIONED},
        "commit": _commit(),
        DATA: fingerprint,
        **({"data_files": dict(files)} if files else {}),
    }


def update(path: Path, facts: Facts, *, begun: bool) -> str | None:
    """Write or complete a ``lock.json``; a sentence for the user where ``facts`` are not as they were.

    What a run was started with stays, what it is continued with is added to ``resumed``. Raises RunFolderError,
    and writes nothing, where the data are others or the file is damaged. ``begun`` says that the run has trials.
    """
    held = _read(path)
    if held is None:
        replace_file(path, _text(facts))
        missing = f"{path} was missing, so nobody can tell whether data and versions are those of the earlier trials"
        return f"{missing}; it is written anew" if begun else None
    if held[DATA] != facts[DATA]:
        raise RunFolderError(
            f"{path.parent}: the data have changed: their fingerprint is {facts[DATA]} now and {held[DATA]} in "
            "lock.json, and trials on different data cannot be compared; bring the former data back, or leave "
            "--resume out and start a new run with another --out"
        )
    resumed = held.get(RESUMED, [])
    before = resumed[-1] if resumed else {name: value for name, value in held.items() if name != RESUMED}
    if before == facts:
        return None
    replace_file(path, _text({**held, RESUMED: [*resumed, facts]}))
    changes = "; ".join(_changes(before, facts))
    return f"not what this run was last trained with: {changes}; results may differ, lock.json keeps both"


def _read(path: Path) -> dict[str, Any] | None:
    """The file's contents, None where there is none; RunFolderError where it is no lock."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        held = None
    resumed = held.get(RESUMED, []) if isinstance(held, dict) else None
    if not isinstance(resumed, list) or not all(isinstance(one, dict) and DATA in one for one in (held, *resumed)):
        raise RunFolderError(
            f"{path} is damaged; restore it from a copy, or delete it if you know that the data have not changed"
        )
    found: dict[str, Any] = held
    return found


def _text(contents: Facts) -> bytes:
    return (json.dumps(contents, indent=1) + "\n").encode()


def _changes(before: Facts, now: Facts) -> list[str]:
    """One phrase for each value that differs."""
    old, new = ({**facts, **facts.get("versions", {})} for facts in (before, now))
    names = [name for name in dict.fromkeys((*old, *new)) if name != "versions" and old.get(name) != new.get(name)]
    return [f"{name} was {old.get(name) or 'unknown'} and is {new.get(name) or 'unknown'}" for name in names]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the source this runs from, with ``+`` where the tree differs; None outside a checkout."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+"],
            cwd=here, capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
