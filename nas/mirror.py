"""A copy of a run on shared storage, kept up while the search goes on and taken back where the folder was lost.

The folder on the driver's disk stays the truth. A thread copies what changed, its log last, so that the copy is at any
moment what some crash of the driver could have left. Its failures are said and tried again; they never end a search.
"""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from graphs.errors import UserError
from nas.errors import RunFolderError
from nas.storage import Storage, StorageError

LOG = "events.jsonl"
CLAIM = "mirror.json"  # who writes there
FILES = ("experiment.yaml", "lock.json")
FOLDERS = ("winner", "weights", "checkpoints")  # the last two lose files as well
EVERY = 10.0  # seconds between two looks, and at least 20 times as long as a copy takes
MOST = 300.0  # seconds between two tries where the storage is away
FLUSH = 60.0  # seconds for the last copy


def place_of(uri: str, run: Path) -> Storage:
    """Where the run in a folder is mirrored: in a folder of the same name. Raises StorageError."""
    place = Storage.open(uri).below(run.absolute().name)
    if place.local is not None:
        there, here = place.local.resolve(), run.resolve()
        if there == here or there in here.parents or here in there.parents:
            raise StorageError(f"storage {uri!r} would put the mirror of {run} to {there}; choose another place")
    return place


def prepare(uri: str, run: Path, *, resume: bool) -> str | None:
    """Before a run's folder is opened: take the run back from its mirror where the folder has none.

    Gives a sentence for the user when it did. Raises StorageError where a new run would meet a mirror of another one,
    or where there is nothing to take back.
    """
    place = place_of(uri, run)
    there = place.read(LOG) is not None
    if not resume:
        if there:
            raise StorageError(
                f"{place.uri} holds the mirror of a run already; continue that with --resume, choose another --out, "
                "whose last part names the mirror, or another --storage"
            )
        return None
    if (run / LOG).exists() or (run.exists() and not run.is_dir()):
        return None
    foreign = {path.name for path in run.iterdir()} - {LOG, *FILES, *FOLDERS} if run.exists() else set()
    if foreign or not there:
        if run.exists() and any(run.iterdir()):
            return None  # what is wrong with the folder is said by whoever opens it
        raise StorageError(f"neither {run} nor its mirror {place.uri} holds a run to resume; is --out right?")
    restore(place, run)
    return f"{run} was taken back from its mirror {place.uri}"


def restore(place: Storage, run: Path) -> None:
    """Write the run that is mirrored at ``place`` into a folder, its log last; raises StorageError and OSError."""
    known = {name for name in place.list() if name in FILES or name.split("/")[0] in FOLDERS}
    for name in (*sorted(known), LOG):
        place.get(name, run / name)


def check(place: Storage, log: Path) -> None:
    """StorageError where a mirror is not an earlier state of the run with this event log."""
    theirs, ours = place.read(LOG), _whole(log)
    if theirs is None or ours.startswith(theirs):
        return
    run = log.parent
    if theirs.startswith(ours):
        more = theirs.count(b"\n") - ours.count(b"\n")
        raise StorageError(
            f"the mirror {place.uri} is {more} events ahead of {run}: the search went on from there elsewhere; move "
            f"{run} away and resume, which takes the mirror's state, or choose another --storage to go on from here"
        )
    raise StorageError(
        f"{place.uri} is no mirror of {run}: {_parting(theirs, ours)}; choose another --storage, or move {run} away "
        "and resume to go on with what is there"
    )


class Mirror:
    """Keeps the copy up from a thread of its own until :meth:`close`.

    ``say`` is told, from that thread, when the storage fails, when it is back, and when another driver took it over.
    """

    def __init__(self, run: Path, place: Storage, say: Callable[[str], None], *, every: float = EVERY) -> None:
        check(place, run / LOG)
        self.run = run
        self.place = place
        self._say = say
        self._every = every
        self._session = uuid.uuid4().hex
        self._stamps: dict[str, tuple[int, int]] = {}
        self._sent = -1  # bytes of the log
        self._failing = False
        self._taken = False
        self._stop = threading.Event()
        place.put_bytes((json.dumps({"session": self._session}) + "\n").encode(), CLAIM)
        self._thread = threading.Thread(target=self._loop, name="mirror", daemon=True)
        self._thread.start()

    def close(self, seconds: float = FLUSH) -> None:
        """Copy what is left and end; where that takes longer it is said, and the next --resume completes it."""
        self._stop.set()
        self._thread.join(seconds)
        if self._thread.is_alive() or self._failing:
            self._say(f"the mirror {self.place.uri} is behind {self.run}; a later --resume with --storage completes it")

    def _loop(self) -> None:
        pause = self._every
        while not self._stop.wait(pause) and not self._taken:
            started = time.monotonic()
            worked = self._try()
            pause = max(self._every, 20 * (time.monotonic() - started)) if worked else min(2 * pause, MOST)
        if not self._taken:
            self._try()

    def _try(self) -> bool:
        try:
            self._sync()
        except (UserError, OSError) as error:
            if not self._failing:
                self._say(f"the mirror fails and the search goes on: {error}; it is tried again")
            self._failing = True
            return False
        if self._failing:
            self._say(f"the mirror {self.place.uri} is up to date again")
        self._failing = False
        return True

    def _sync(self) -> None:
        here = dict(_files(self.run))
        changed = {name: stamp for name, stamp in here.items() if self._stamps.get(name) != stamp}
        data = _whole(self.run / LOG)
        if not changed and len(data) == self._sent and here.keys() == self._stamps.keys():
            return
        claim = self.place.read(CLAIM)
        if claim is not None and self._session.encode() not in claim:
            self._taken = True
            self._say(f"another driver mirrors to {self.place.uri} now; this run is not mirrored any more")
            return
        for name, stamp in changed.items():
            try:
                content = (self.run / name).read_bytes()
            except FileNotFoundError:  # weights and checkpoints come and go
                continue
            self.place.put_bytes(content, name)
            self._stamps[name] = stamp
        if len(data) != self._sent:
            self.place.put_bytes(data, LOG)
            self._sent = len(data)
        # Only behind the log: until then a trial that has ended may be one that goes on.
        for name in [name for name in self.place.list() if name.split("/")[0] in FOLDERS and name not in here]:
            self.place.delete(name)
        self._stamps = {name: stamp for name, stamp in self._stamps.items() if name in here}


@contextmanager
def mirrored(run: Path, uri: str | None, say: Callable[[str], None], *, every: float = EVERY) -> Iterator[None]:
    """Keep a run's mirror up during the block, flushed at its end however it ends; without a ``uri`` do nothing."""
    if uri is None:
        yield
        return
    mirror = Mirror(run, place_of(uri, run), say, every=every)
    try:
        yield
    finally:
        mirror.close()


def _files(run: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """What is mirrored beside the log, with what changes when a file does."""
    paths = [run / name for name in FILES]
    paths += [path for folder in FOLDERS for path in sorted((run / folder).glob("[!.]*"))]
    for path in paths:
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        if path.is_file():
            yield path.relative_to(run).as_posix(), (found.st_mtime_ns, found.st_size)


def _whole(log: Path) -> bytes:
    """The whole lines of a log that somebody may be writing."""
    try:
        data = log.read_bytes()
    except OSError as error:
        raise RunFolderError(f"{log}: cannot be read: {error.strerror}") from error
    return data[: data.rfind(b"\n") + 1]


def _parting(theirs: bytes, ours: bytes) -> str:
    for number, (one, other) in enumerate(zip(theirs.splitlines(), ours.splitlines(), strict=False), start=1):
        if one != other:
            return "it is another run" if number == 1 else f"its log parts from this one at line {number}"
    return "its log is another one"
