"""Strict YAML: the one place that reads and writes it, and that knows on which line a key stands."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from graphs.errors import TopologyError
from graphs.topology import Topology
from search_space.errors import Key, SpaceError

MAX_BYTES = 1 << 20
MAX_NESTING = 50

# The scalars of the YAML 1.2 core schema, with underscores between digits allowed besides.
# YAML 1.1, which PyYAML follows, reads 1e-4 as a string, no as false and 12:30 as 750.
_DIGITS = r"[0-9](?:_?[0-9])*"
_NULL = re.compile(r"(?:null|Null|NULL|~|)\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(rf"(?:[-+]?{_DIGITS}|0o[0-7]+|0x[0-9a-fA-F]+)\Z")
_FLOAT = re.compile(
    rf"(?:[-+]?(?:\.{_DIGITS}|{_DIGITS}(?:\.(?:{_DIGITS})?)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)


@dataclass(frozen=True)
class Document:
    """A YAML file as plain data: dicts with string keys, lists and scalars, and the line of every key path."""

    data: dict[str, Any]
    path: Path
    lines: Mapping[Key, int] = field(repr=False, compare=False)

    def get(self, at: Key) -> Any:
        """The value at a key path that exists."""
        value: Any = self.data
        for part in at:
            value = value[part]
        return value

    def line(self, at: Key) -> int:
        """The line of a key (of a list item, where it starts), or of the nearest parent if there is no such key."""
        while at not in self.lines:
            at = at[:-1]
        return self.lines[at]

    def error(self, at: Key, problem: str) -> SpaceError:
        """The error that says what is wrong at a key path."""
        return SpaceError(self.path, self.line(at), at, problem)


def read(path: str | PathLike[str]) -> Document:
    """Read one YAML mapping from a UTF-8 file; SpaceError with file and line for anything else.

    Refused: duplicate keys, keys that are not strings, tags, anchors and aliases, several documents, nesting deeper
    than 50, more than 1 MiB.
    """
    path = Path(path)
    return parse(_text(path), path)


def parse(text: str, path: Path) -> Document:
    """The same of text that was read already; ``path`` is what errors call it."""
    reader = _Reader(text, path)
    try:
        data = reader.document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        hint = "; indent with spaces, not tabs" if "'\\t'" in str(error.problem) else ""
        parts = [part for part in (error.context, error.problem) if part]
        raise SpaceError(path, line, (), f"not valid YAML: {', '.join(parts)}{hint}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpaceError(path, line, (), f"not valid YAML: {error.reason}") from None
    if data is None:
        raise SpaceError(path, None, (), "the file is empty; it must hold keys and values, such as 'name: digits'")
    if not isinstance(data, dict):
        kind = "a list" if isinstance(data, list) else f"the single value {data!r}"
        raise SpaceError(path, reader.lines[()], (), f"the file holds {kind}; it must hold keys and values")
    return Document(data, path, MappingProxyType(reader.lines))


def read_topology(path: str | PathLike[str]) -> Topology:
    """Read a topology written by hand in YAML (or saved as JSON, which is YAML); SpaceError names the file."""
    document = read(path)
    try:
        return Topology.from_dict(document.data)
    except TopologyError as error:
        raise SpaceError(document.path, None, (), str(error)) from error


def dump(data: Any) -> str:
    """Plain data as YAML that :func:`read` takes back exactly, keys in the order given."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise SpaceError(path, None, (), f"there is no such file{_near(path)}") from None
    except IsADirectoryError:
        raise SpaceError(path, None, (), "this is a folder; give a YAML file") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or error
        raise SpaceError(path, None, (), f"the file cannot be read: {reason}") from None
    if len(data) > MAX_BYTES:
        raise SpaceError(path, None, (), f"the file is too large; at most {MAX_BYTES:,} bytes are read")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problem = f"not UTF-8 text (byte 0x{data[error.start]:02x}); save the file as UTF-8"
        raise SpaceError(path, line, (), problem) from None


def _near(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f"; its folder {str(path.parent)!r} does not exist or cannot be read"
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {str(path.parent / close[0])!r}?" if close else ""


class _Reader:
    """Turns the events of one YAML document into plain data, and notes the line of every key path on the way."""

    def __init__(self, text: str, path: Path) -> None:
        self.path = path
        self.text = text
        self.lines: dict[Key, int] = {}

    def document(self) -> Any:
        self.events = yaml.parse(self.text, Loader=yaml.SafeLoader)
        next(self.events)  # start of the stream
        if isinstance(next(self.events), yaml.StreamEndEvent):
            return None
        data = self.value(next(self.events), ())
        next(self.events)  # end of the document
        following = next(self.events)
        if not isinstance(following, yaml.StreamEndEvent):
            raise self.error(following, (), "a second YAML document starts here; a file holds one")
        return data

    def value(self, event: Any, at: Key) -> Any:
        """The data of the node that an event starts, whose events are used up."""
        self.lines.setdefault(at, _line(event))
        # An alias is refused rather than expanded: a few lines of them can stand for gigabytes.
        if event.anchor is not None:
            raise self.error(event, at, "anchors and aliases (&name, *name) are not read; write the value out")
        if event.tag is not None:
            raise self.error(event, at, f"the tag {event.tag!r} is not allowed; write a plain value")
        if len(at) > MAX_NESTING:
            raise self.error(event, at[:3], f"nested deeper than {MAX_NESTING} levels")
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(at)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(at)
        return self.scalar(event, at)

    def mapping(self, at: Key) -> dict[str, Any]:
        data: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            name = self.name(event, at)
            here = (*at, name)
            if name in data:
                raise self.error(event, here, f"duplicate key, first on line {self.lines[here]}; keep one of them")
            self.lines[here] = _line(event)
            data[name] = self.value(next(self.events), here)
        return data

    def sequence(self, at: Key) -> list[Any]:
        data: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            data.append(self.value(event, (*at, len(data))))
        return data

    def name(self, event: Any, at: Key) -> str:
        if not isinstance(event, yaml.ScalarEvent) or event.anchor is not None or event.tag is not None:
            raise self.error(event, at, "a key must be a plain name")
        name = self.scalar(event, at)
        if not isinstance(name, str):
            raise self.error(event, at, f"the key {event.value!r} is not a name; a key that is meant needs quotes")
        if name == "<<":
            raise self.error(event, at, "merge keys (<<) are not read; write the keys out")
        return name

    def scalar(self, event: Any, at: Key) -> Any:
        if not event.implicit[0]:  # quoted, or a block of text
            return event.value
        try:
            return _scalar(event.value)
        except ValueError:  # Python refuses integers of more than 4300 digits
            raise self.error(event, at, "this number has too many digits") from None

    def error(self, event: Any, at: Key, problem: str) -> SpaceError:
        return SpaceError(self.path, _line(event), at, problem)


def _line(event: Any) -> int:
    """The line, from 1, on which the event's text starts."""
    line: int = event.start_mark.line
    return line + 1


def _scalar(text: str) -> bool | int | float | str | None:
    """The value of a plain scalar."""
    if _NULL.match(text):
        return None
    if _BOOL.match(text):
        return text.lower() == "true"
    if _INT.match(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.match(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML would read as something else than a string, and writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


# Listed last, so that PyYAML's own resolvers, which know what its representers write, are asked first.
for _tag, _pattern in (("bool", _BOOL), ("int", _INT), ("float", _FLOAT), ("null", _NULL)):
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, None)
