"""The error of every file a user writes by hand, and the words for a name that is not among the valid ones."""

import difflib
from collections.abc import Iterable
from pathlib import Path

from graphs.errors import UserError

Key = tuple[str | int, ...]


class SpaceError(UserError):
    """``FILE:LINE: KEY.PATH: what was wrong (the value); what would be right``, and its parts as fields.

    ``line`` counts from 1 and is None where the whole file is meant; ``key`` is () at the top level.
    """

    def __init__(self, file: Path, line: int | None, key: Key, problem: str) -> None:
        # All parts go to args, so that the error survives pickling.
        super().__init__(file, line, key, problem)
        self.file = file
        self.line = line
        self.key = key
        self.problem = problem

    def __str__(self) -> str:
        place = f"{self.file}" if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(part for part in (place, dotted(self.key), self.problem) if part)


def dotted(key: Key) -> str:
    """A key path as people write it: ``objectives[0].goal``."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def unknown(what: str, name: str, valid: Iterable[str]) -> str:
    """``unknown WHAT 'NAME'; did you mean 'NEAR'? Valid: ...``; the question is left out if nothing is near."""
    names = list(valid)
    close = difflib.get_close_matches(name, names, n=1)
    near = f"did you mean {close[0]!r}? " if close else ""
    return f"unknown {what} {name!r}; {near}Valid: {', '.join(names) or 'none'}"
