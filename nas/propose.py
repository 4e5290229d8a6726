"""``wireloom propose``: put one topology before a search by its open door, and wait for what becomes of it."""

import json
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.errors import RunFolderError
from nas.experiment import Experiment
from nas.files import replace_file
from nas.open_door import NAME, PROPOSALS, RESULTS, is_final
from nas.proposal_file import MAX_BYTES, read_proposal
from nas.units import show

POLL = 0.5
TAIL = 4096  # bytes, more than the line of an end
NEVER = "the search has ended without taking it"


@dataclass(frozen=True, slots=True)
class Proposed:
    """A proposal that lies before a search: its name, its file, and the file in which the result will be."""

    name: str
    file: Path
    result: Path

    def read(self) -> dict[str, Any] | None:
        """What became of it so far; None while nothing did."""
        try:
            found: dict[str, Any] = json.loads(self.result.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found


def propose(run: Path, file: Path) -> Proposed:
    """Check a topology's file as the search will and put it before the search.

    Its name is the file's, with a number behind it where that was used. RunFolderError where the folder is no run with
    an open door, or the proposal would be refused for what it is.
    """
    experiment = opened(run)
    try:
        with file.open("rb") as handle:
            data = handle.read(MAX_BYTES + 1)
    except OSError as error:
        raise RunFolderError(f"{file}: cannot be read: {error.strerror or error}") from error
    found = read_proposal(data, file.stem, experiment)
    if found.problem is not None:
        raise RunFolderError(f"{file}: {found.problem}")
    name = _free(run, file.stem)
    target = run / PROPOSALS / f"{name}.yaml"
    try:
        replace_file(target, data)
    except OSError as error:
        raise RunFolderError(f"{target}: cannot be written: {error.strerror or error}") from error
    return Proposed(name, target, run / RESULTS / f"{name}.json")


def opened(run: Path) -> Experiment:
    """The experiment of a run whose door is open; RunFolderError where it has none."""
    if not (run / "events.jsonl").is_file():
        raise RunFolderError(f"{run} is no run's folder: it has no events.jsonl")
    experiment = Experiment.load(run / "experiment.yaml", read_data=False)
    if experiment.search.open is None:
        raise RunFolderError(
            f"{run} takes no proposals: start a search whose file has 'search: {{open: {{share: 0.5}}}}'"
        )
    return experiment


def wait(
    run: Path, proposed: Proposed, *, seconds: float | None = None, sleep: Callable[[float], None] = time.sleep
) -> dict[str, Any]:
    """The result, once it is the last word on the proposal: not while its trial runs or waits at a rung.

    RunFolderError where the search ended or ``seconds`` went by without one.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        ended = _ended(run)  # before the result is looked at, which is written before the search ends
        found = proposed.read()
        if found is not None and is_final(found):
            return found
        if ended:
            proposed.file.unlink(missing_ok=True)
            raise RunFolderError(f"{run}: {NEVER}; start it again with more --trials and --resume, and propose again")
        if deadline is not None and time.monotonic() > deadline:
            so_far = "no result" if found is None else f"no last word, but {found.get('status')},"
            raise RunFolderError(f"{proposed.result} has {so_far} after {seconds:g} s; is the search running?")
        sleep(POLL)


def _ended(run: Path) -> bool:
    """Whether the last whole line of the log says that the search is over."""
    with (run / "events.jsonl").open("rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - TAIL, 0))
        lines = file.read().split(b"\n")[:-1]
    with suppress(ValueError, LookupError, TypeError):  # the end of a longer line, or a damaged one
        return bool(lines) and bool(json.loads(lines[-1])["event"] == "end")
    return False


def _free(run: Path, stem: str) -> str:
    """A name like ``stem`` that was not used."""
    base = re.sub(r"[^A-Za-z0-9_.-]", "-", stem).lstrip("_.-")[:90] or "proposal"
    taken = {entry.name for folder in (PROPOSALS, RESULTS) for entry in _entries(run / folder)}
    number = 1
    while True:
        name = base if number == 1 else f"{base}-{number}"
        if not {f"{name}.yaml", f"{name}.json"} & taken:
            assert NAME.fullmatch(f"{name}.yaml"), name
            return name
        number += 1


def _entries(folder: Path) -> list[Any]:
    try:
        return list(os.scandir(folder))
    except OSError:
        return []


def sentence(found: dict[str, Any]) -> str:
    """A result for people."""
    figures = ", ".join(f"{name} {show(name, value)}" for name, value in (found.get("objectives") or {}).items())
    said = f"{found['name']}: {found['status']}"
    said += f" as trial {found['trial']}" if found.get("trial") is not None else ""
    said += f": {found['reason']}" if found.get("reason") else ""
    said += f"; {figures}" if figures else ""
    place = found.get("front")
    return said + (f"; on the front, place {place}" if place is not None else "")
