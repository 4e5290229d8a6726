"""Trials that meet with all that can happen to a process, and what tests of executors do with them."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from graphs import families
from nas.errors import RunFolderError
from nas.jobs import Job, Outcome, Report
from trainers.recipe import Recipe

LONG = 300.0  # seconds after which what has not happened is a failure: machines that run tests are slow at times


@dataclass
class Odd:
    """Trains nothing; trials by number meet with what ``fates`` says, in their first run alone where it ends in !."""

    fates: dict[int, str]
    notes: Path
    weights: bytes = b"weights"
    jobs: list[Job] = field(default_factory=list)

    def __call__(self, job):
        mark = self.notes / f"began-{job.number}"
        again = mark.exists()
        mark.touch()
        (self.notes / f"pid-{os.getpid()}").touch()
        (self.notes / "path").write_text("\n".join(sys.path))
        fate = self.fates.get(job.number, "")
        if fate.endswith("!"):
            fate = "" if again else fate[:-1]
        yield Report(job.number, 1, 1.0, 0.5, 0.7, False, seconds=0.5)
        if fate == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if fate == "hangs":
            ctypes.PyDLL(None).pause()  # in C, with Python's lock held: no code of ours runs in this process again
        if fate == "leaves":
            os._exit(3)
        if fate == "waits":
            while not (self.notes / "go").exists():
                time.sleep(0.05)
        if fate == "disk":
            raise RunFolderError("the disk is full")
        if fate == "broken":
            raise LookupError("nothing like it was foreseen")
        if job.weights is not None:
            job.weights.write_bytes(self.weights)
        return Outcome(job.number, "complete", job.steps, 0.25, 0.5 + job.number / 100, 0.7)


def job(number=0, **changes) -> Job:
    topology = families.residual(depth=2 + number).to_dict()
    return Job(number, topology, "digits", {}, Recipe(), 0, 10, 1.0, (1,), **changes)


def outcome(subject) -> Outcome:
    while not isinstance(message := subject.next(), Outcome):
        pass
    return message


def wait_for(condition: Callable[[], bool]) -> None:
    """Return once ``condition`` holds; fails where it never does."""
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
