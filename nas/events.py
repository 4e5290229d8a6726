"""The append-only event log: the truth of a search. Everything else is a view rebuilt from it.

One JSON object a line, numbered by ``seq``. A line is on disk before anything else learns of it. The driver is
the only writer. A last line without its newline was cut off by a crash and is dropped; any other damage is an
error, because a silent gap would change what the search proposes next. ``at`` is when a line was written, in
seconds since 1970: it tells people how long things take, and decides nothing.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import pydantic_core

from nas import holder
from nas.errors import RunFolderError

Event = dict[str, Any]

# What was written and the file's new length, but not the time of its change, which costs up to a fifth more.
_to_disk = getattr(os, "fdatasync", os.fsync)


def read(path: Path) -> tuple[Event, ...]:
    """The whole events of a log; RunFolderError names the first damaged line."""
    return tuple(event for _, event in _parse(path))


class Tail:
    """A log as it grows: whole lines are read once, and one that is being written is left for the next time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = self._count = 0

    def more(self) -> tuple[Event, ...]:
        """The events behind those given before; RunFolderError names the first damaged line."""
        parsed = _parse(self.path, self._offset, self._count)
        if parsed:
            self._offset, self._count = parsed[-1][0], self._count + len(parsed)
        return tuple(event for _, event in parsed)

    @property
    def shrunk(self) -> bool:
        """Whether the file is shorter than what was read of it, so that it is another one."""
        return self.path.is_file() and self.path.stat().st_size < self._offset


def _parse(path: Path, offset: int = 0, known: int = 0) -> list[tuple[int, Event]]:
    """Each event from an offset on, with that just behind it; ``known`` events are before."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read: {error.strerror}") from error
    events: list[tuple[int, Event]] = []
    for number, line in enumerate(data.split(b"\n")[:-1], start=known + 1):
        offset += len(line) + 1
        try:
            event = _decoded(line)
        except ValueError as error:
            raise RunFolderError(_damaged(path, number, f"it is not JSON ({error})")) from error
        if not isinstance(event, dict) or not isinstance(event.get("event"), str):
            raise RunFolderError(_damaged(path, number, "it is not an event"))
        if event.get("seq") != number - 1:
            raise RunFolderError(_damaged(path, number, f"its seq is {event.get('seq')!r}, not {number - 1}"))
        problem = _mistyped(event)
        if problem is not None:
            raise RunFolderError(_damaged(path, number, problem))
        events.append((offset, event))
    return events


def _decoded(line: bytes) -> Any:
    """What a line says; ValueError where it is not JSON."""
    try:
        return pydantic_core.from_json(line, allow_inf_nan=False)
    except ValueError:  # or what its parser does not take: half a surrogate pair, of a file's name that is not UTF-8
        return json.loads(line, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number there")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: object) -> bool:
    largest = sys.float_info.max
    return isinstance(value, int | float) and not isinstance(value, bool) and -largest <= value <= largest


def _text(value: object) -> bool:
    return isinstance(value, str)


def _mapping(value: object) -> bool:
    return isinstance(value, dict)


# What the fields of events and of a report's point hold: in words, the check, whether null will do, the fields.
# Which of them an event needs is the ledger's business.
_KINDS: tuple[tuple[str, Callable[[object], bool], bool, str], ...] = (
    ("a whole number", _whole, False, "ask seed step depth parameters trained asks rung opening front"),
    ("a whole number or null", _whole, True, "number twin trial"),
    ("a number", _number, False, "flops traffic budget_flops spent_flops train_loss share at"),
    ("a number or null", _number, True, "accuracy loss seconds latency test_accuracy test_loss"),
    ("a text", _text, False, "name key source verdict digest status family"),
    ("a text or null", _text, True, "reason"),
    ("a mapping", _mapping, False, "point objectives"),
)
_FIELDS = {name: kind for kind in _KINDS for name in kind[3].split()}


def _mistyped(event: Mapping[str, Any]) -> str | None:
    """The first field that does not hold what it should, in words; fields that are not known pass."""
    known = [(name, value, _FIELDS[name]) for name, value in event.items() if name in _FIELDS]
    known += [(f"point.{name}", value, _FIELDS[name]) for name, value in _below(event, "point") if name in _FIELDS]
    known += [(f"objectives.{name}", value, _FIELDS["flops"]) for name, value in _below(event, "objectives")]
    for name, value, (wanted, fits, nullable, _) in known:
        if not fits(value) and not (nullable and value is None):
            return f"{name} is {json.dumps(value)[:60]}; must be {wanted}"
    return None


def _below(event: Mapping[str, Any], name: str) -> list[tuple[str, Any]]:
    found = event.get(name)
    return list(found.items()) if isinstance(found, dict) else []


def _damaged(path: Path, number: int, why: str) -> str:
    mend = "restore the file from a copy, or start anew with another --out"
    return f"{path}:{number}: the event log is damaged: {why}; {mend}"


class EventLog:
    """Appends events; opening an existing log drops a line that a crash cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file: IO[bytes] = path.open("ab")
        except OSError as error:
            raise RunFolderError(f"{path}: cannot be written: {error.strerror}") from error
        try:
            holder.hold(self._file, path)
            # Read only under the lock: what another driver adds until then is not to be cut off.
            parsed = _parse(path)
            self._file.truncate(parsed[-1][0] if parsed else 0)
        except BaseException:
            self.close()
            raise
        self._dirty = bool(parsed)  # who wrote the last of it may have died before it was on the disk
        self.events: list[Event] = [event for _, event in parsed]

    def append(self, event: str, *, durable: bool = True, **fields: Any) -> Event:
        """Write one event through to the disk and return it as a reader would see it.

        Without ``durable`` it survives the death of this process, and from the next :meth:`sync` on a power cut.
        """
        line = _encoded({"seq": len(self.events), "event": event, **fields, "at": round(time.time(), 3)})
        record: Event = _decoded(line)
        try:
            self._file.write(line + b"\n")
            self._file.flush()
        except OSError as error:
            raise self._full(error) from error
        self._dirty = True
        if durable:
            self.sync()
        self.events.append(record)
        return record

    def sync(self) -> None:
        """Bring to the disk what was appended, if it is not there yet."""
        if self._dirty:
            try:
                _to_disk(self._file.fileno())
            except OSError as error:
                raise self._full(error) from error
            self._dirty = False

    def _full(self, error: OSError) -> RunFolderError:
        why = f"{self.path}: cannot be written: {error.strerror}"
        return RunFolderError(f"{why}; free space and continue with --resume")

    def close(self) -> None:
        if not self._file.closed:
            holder.release(self.path)
        # What a full disk left in the buffer was reported when it was written.
        with suppress(OSError):
            self._file.close()


# What fields hold, and need not be looked at. The encoder would write a set as well, in an order of its own.
_PLAIN = {str, int, float, bool, type(None), dict, list, tuple}


def _encoded(record: Mapping[str, Any]) -> bytes:
    """A line without its end; TypeError or ValueError where a field cannot be logged.

    Deeper down the encoder has its own ways with sets, bytes and paths: fields hold plain data.
    """
    record = {name: value if type(value) in _PLAIN else _plain(value) for name, value in record.items()}
    try:
        return pydantic_core.to_json(record, inf_nan_mode="constants", fallback=_plain)
    except ValueError:  # or what it does not write: half a surrogate pair
        return json.dumps(record, default=_plain, separators=(",", ":")).encode()


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, str | int | float):  # one of an enumeration, a number of NumPy's
        return value
    raise TypeError(f"{type(value).__name__} cannot be logged")
