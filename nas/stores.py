"""Where the runs of a search are kept: the interface, and the store of a search that is not tracked."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from nas.tracked import Measured

LOGGED = "wireloom.logged"  # a tag: everything of the run was written
NUMBER = "number"  # a tag: that of the trial

Files = Callable[[], Mapping[str, bytes | str]]


@dataclass
class Run:
    """What we know of a run in a store; ``start`` is in milliseconds since 1970, ``points`` are values by name, step.

    ``seen``: whether ``points`` are all that are stored.
    """

    id: str
    key: str
    start: int
    status: str
    tags: dict[str, str] = field(default_factory=dict)
    params: set[str] = field(default_factory=set)
    points: dict[tuple[str, int], float] = field(default_factory=dict)
    seen: bool = True

    @property
    def logged(self) -> bool:
        """Whether everything of this run was written; until then writing is repeated."""
        return LOGGED in self.tags


class Store(Protocol):
    """One search's runs by key; any method may raise whatever the libraries below it raise."""

    known: dict[str, Run]

    def run(
        self,
        key: str,
        name: str,
        *,
        parent: Run | None = None,
        seconds: float | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Run:
        """The run of that key, made if there is none; one made is given a start ``seconds`` ago."""
        ...

    def write(
        self,
        run: Run,
        metrics: Iterable[Measured] = (),
        *,
        params: Mapping[str, str | float] | None = None,
        tags: Mapping[str, str] | None = None,
        at: int | None = None,
    ) -> None:
        """Add to a run, the tags last; ``at`` is the time of the metrics, the run's start unless given."""
        ...

    def attach(self, run: Run, files: Files) -> None:
        """Store files, contents by name; they are not made where they are not kept."""
        ...

    def mark(self, run: Run, status: str) -> None:
        """Set a run's status; any but RUNNING ends it now."""
        ...

    def points(self, run: Run) -> Mapping[tuple[str, int], float]:
        """Every value stored of a run so far, by metric and step."""
        ...

    def delete(self, run: Run) -> None:
        """Take a run away."""
        ...

    def refresh(self) -> None:
        """Read all runs again; of several with one key all but one are taken away."""
        ...

    def register(self, run: Run, name: str, tags: Mapping[str, str], description: str) -> None:
        """Enter the run's artifacts ``model/`` as a version of the registered model ``name``; once for equal tags."""
        ...


class NullStore:
    """Keeps what a search needs to go through every step of its tracking, and writes nothing."""

    def __init__(self) -> None:
        self.known: dict[str, Run] = {}

    def run(
        self,
        key: str,
        name: str,
        *,
        parent: Run | None = None,
        seconds: float | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Run:
        return self.known.setdefault(key, Run(key, key, now(), "RUNNING", dict(tags or {})))

    def write(
        self,
        run: Run,
        metrics: Iterable[Measured] = (),
        *,
        params: Mapping[str, str | float] | None = None,
        tags: Mapping[str, str] | None = None,
        at: int | None = None,
    ) -> None:
        run.tags.update(tags or {})

    def attach(self, run: Run, files: Files) -> None:
        pass

    def mark(self, run: Run, status: str) -> None:
        run.status = status

    def points(self, run: Run) -> Mapping[tuple[str, int], float]:
        return run.points

    def delete(self, run: Run) -> None:
        del self.known[run.key]

    def refresh(self) -> None:
        pass

    def register(self, run: Run, name: str, tags: Mapping[str, str], description: str) -> None:
        pass


def clean(name: str) -> str:
    """A name of a metric or a param with nothing in it that a store would refuse."""
    return re.sub(r"[^\w\-. :/]", "_", name)[:250]


def now() -> int:
    """Milliseconds since 1970."""
    return round(1000 * time.time())


def chunks(points: list[Measured], most: int) -> Iterator[list[Measured]]:
    """A list in pieces of at most ``most``; one empty piece of an empty list."""
    yield from (points[first : first + most] for first in range(0, max(len(points), 1), most))
