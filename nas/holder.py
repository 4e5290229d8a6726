"""Who drives a run: the lock on its event log, and the name that its holder writes beside it.

The lock is the truth and dies with its process. ``driver.json`` only says whose it is, so it is read where the lock is
held and never trusted alone: what a killed driver left behind means nothing.
"""

import getpass
import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any

from nas.errors import RunFolderError
from nas.files import replace_file

NAME = "driver.json"
PATIENCE = 0.5  # seconds: whoever looks whether a lock is held has to take it for a moment


@dataclass(frozen=True, slots=True)
class Driver:
    """The process that drives a run; ``since`` is in seconds since 1970, ``started`` is the process's own mark."""

    host: str
    pid: int
    user: str
    since: float
    started: str = ""

    def __str__(self) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} of {self.user} on {self.host}, since {when}"

    @property
    def dead(self) -> bool:
        """Whether the process is known to be gone; of another machine nothing is known."""
        if self.host != socket.gethostname():
            return False
        return not running(self.pid) or (self.started != "" and _mark(self.pid) not in ("", self.started))


def hold(log: IO[bytes], path: Path) -> None:
    """Keep other drivers out for as long as this process has ``log``, the open file at ``path``, open.

    Raises RunFolderError with the name of the driver that is there already.
    """
    _lock(log, path)
    own = Driver(socket.gethostname(), os.getpid(), _user(), time.time(), _mark(os.getpid()))
    with suppress(OSError):  # on a full disk the lock still holds, without a name
        replace_file(path.parent / NAME, (json.dumps(asdict(own)) + "\n").encode())


def release(path: Path) -> None:
    """Take the name away again; to be called before the log at ``path`` is closed."""
    named = _named(path.parent)
    if named is not None and (named.host, named.pid) == (socket.gethostname(), os.getpid()):
        with suppress(OSError):
            (path.parent / NAME).unlink(missing_ok=True)


def held(folder: Path) -> bool:
    """Whether somebody drives the run in ``folder`` now. Writes nothing."""
    try:
        import fcntl
    except ImportError:  # no advisory locks on this system: the name is all there is
        return _claimed(folder) is not None
    try:
        with (folder / "events.jsonl").open("rb") as log:
            try:
                fcntl.flock(log, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            except OSError:  # a file system without locks
                return _claimed(folder) is not None
            return False
    except OSError:
        return False


def driver(folder: Path) -> Driver | None:
    """The driver of the run in ``folder``, None where nobody drives it or the one who does left no name."""
    return _claimed(folder) if held(folder) else None


def _lock(log: IO[bytes], path: Path) -> None:
    try:
        import fcntl
    except ImportError:
        _refuse_claimed(path.parent)
        return
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise RunFolderError(_taken(path.parent)) from error
            time.sleep(0.02)
        except OSError:  # some network file systems have no locks
            _refuse_claimed(path.parent)
            return


def _taken(folder: Path) -> str:
    named = _named(folder)
    text = f"{folder}: another process is running this search"
    if named is None:
        return f"{text}; wait for it or stop it"
    if named.dead:
        return f"{text}; its driver, {named}, has died, but something that it started still runs; stop that"
    return f"{text}: {named}; wait for it or stop it"


def _refuse_claimed(folder: Path) -> None:
    named = _claimed(folder)
    if named is not None:
        raise RunFolderError(
            f"{folder}: another process is running this search: {named}; wait for it or stop it, or, if it is dead, "
            f"delete {folder / NAME}"
        )


def _claimed(folder: Path) -> Driver | None:
    """The driver named in the folder, unless it is known to be gone."""
    named = _named(folder)
    return None if named is None or named.dead else named


def _named(folder: Path) -> Driver | None:
    try:
        data: Any = json.loads((folder / NAME).read_text(encoding="utf-8"))
        known = Driver(**{field.name: data[field.name] for field in fields(Driver)})
        return Driver(str(known.host), int(known.pid), str(known.user), float(known.since), str(known.started))
    except (OSError, ValueError, TypeError, LookupError):
        return None


def running(pid: int) -> bool:
    """Whether this machine has a process of that number."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _mark(pid: int) -> str:
    """What tells a process from a later one with its number: the boot and the moment it started; empty if unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
    after = stat.rpartition(")")[2].split()  # the name in parentheses may hold blanks
    return "" if after[0] == "Z" else f"{boot}/{after[19]}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return f"user {os.getuid()}" if hasattr(os, "getuid") else "unknown"
