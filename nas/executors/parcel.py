"""A user's files on machines that have not got them: packed by the driver, unpacked beside a worker. No ray here.

What an experiment names by path, data and functions, goes along, and of a function's file the modules beside it too. A
machine that has the same file at the same path uses its own.
"""

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nas.files import replace_file
from nas.jobs import Job
from trainers.catalogue import Source, source_of


@dataclass(frozen=True)
class Parcel:
    """The contents of files by their full path on the driver's machine."""

    files: Mapping[str, bytes]

    @classmethod
    def of(cls, data: str | Source, backbone: Mapping[str, Any]) -> "Parcel":
        """What trials on these data and with this backbone read; a file that is not there is left out."""
        source = source_of(data)
        paths = [] if source.path is None else [Path(source.path)]
        for reference in (source.function, backbone.get("function")):
            file = None if reference is None else _file(str(reference))
            if file is not None:
                paths += [file, *sorted(file.parent.glob("*.py"))]
        return cls({str(path): path.read_bytes() for path in paths if path.is_file()})

    def unpack(self, folder: Path) -> dict[str, str]:
        """Write into ``folder`` what this machine has not got; where it is, by its path on the driver's machine.

        Raises OSError. The files of one folder stay together, so that they find each other.
        """
        missing = {Path(path).parent for path, content in self.files.items() if not _has(Path(path), content)}
        places: dict[str, str] = {}
        for path, content in self.files.items():
            parent = Path(path).parent
            if parent in missing:
                place = folder / hashlib.sha256(str(parent).encode()).hexdigest()[:16] / Path(path).name
                place.parent.mkdir(parents=True, exist_ok=True)
                replace_file(place, content)
                places[path] = str(place)
        return places


def moved(job: Job, places: Mapping[str, str]) -> Job:
    """The job with its files where :meth:`Parcel.unpack` has put them."""
    source = source_of(job.data)
    if source.path is not None:
        source = replace(source, path=places.get(source.path, source.path))
    if source.function is not None:
        source = replace(source, function=_moved(source.function, places))
    backbone = dict(job.backbone)
    if "function" in backbone:
        backbone["function"] = _moved(str(backbone["function"]), places)
    data = source if isinstance(job.data, Source) else job.data
    return replace(job, data=data, backbone=backbone)


class Unpacked:
    """A parcel's files on this machine, in a folder that goes with :meth:`close` or with this process."""

    def __init__(self, parcel: Parcel | None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="wireloom-files-")
        self._places = {} if parcel is None else parcel.unpack(Path(self._folder.name))

    def here(self, job: Job) -> Job:
        """The job with its files where they are on this machine."""
        return moved(job, self._places) if self._places else job

    def there(self, job: Job) -> Job:
        """The job that :meth:`here` was given."""
        return moved(job, {place: path for path, place in self._places.items()}) if self._places else job

    def close(self) -> None:
        self._folder.cleanup()


def _file(reference: str) -> Path | None:
    """The file of ``path/to/file.py:function``; None of a module, which is looked for where Python does."""
    module, _, _ = reference.rpartition(":")
    return Path(module) if module.endswith(".py") else None


def _moved(reference: str, places: Mapping[str, str]) -> str:
    module, _, name = reference.rpartition(":")
    return f"{places.get(module, module)}:{name}"


def _has(path: Path, content: bytes) -> bool:
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False
