"""``wireloom search`` whose trials meet with faults: the process that ``faults.py`` starts, kills, and starts again.

    python experiments/fault_driver.py FATES.json EXPERIMENT.yaml --out RUN --ray-address HOST:PORT [--resume]

Everything but the time limits is what the command does, in real processes; trials are really trained, and what strikes
one strikes right after a checkpoint of it was written. ``FATES.json`` holds what happens to which trial. Beside it lie
marks: a file ``struck-N`` when trial N was struck, with its node's process; ``full`` once the disk is full.
"""

import ctypes
import json
import os
import signal
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from nas.evaluate import evaluate
from nas.jobs import Job

STRIKES_AT = 3  # checkpoints
WAITS = 60.0  # seconds after which a trial that nobody kills goes on
SHORT, LONG = 20.0, 200.0  # seconds that a trial may run: one that is to hang, and others on a slow machine
ONCE = ("worker", "node", "driver", "disk", "mlflow")  # the others are a property of the trial


@dataclass(frozen=True)
class Struck:
    """Trains like the executor's own; ``fates`` are kinds of faults by trial."""

    fates: dict[int, str]
    marks: Path

    def __call__(self, job: Job):
        fate = self.fates.get(job.number)
        mark = self.marks / f"struck-{job.number}"
        if fate is None or (fate in ONCE and mark.exists()):
            return evaluate(job)
        if fate == "nan":
            mark.touch()
            return evaluate(replace(job, recipe=replace(job.recipe, lr=1e30, clip=1e30)))
        written = []

        def strike(path: Path) -> None:
            written.append(path)
            if len(written) == STRIKES_AT:
                draft = mark.with_name(f".{mark.name}.{os.getpid()}")
                draft.write_text(str(os.getppid()))
                draft.replace(mark)  # seen whole or not at all
                self.meet(fate)

        return evaluate(replace(job, keep_seconds=0.0), strike)

    def meet(self, fate: str) -> None:
        match fate:
            case "worker":
                os.kill(os.getpid(), signal.SIGKILL)
            case "node" | "driver":  # somebody comes and kills it
                time.sleep(WAITS)
            case "hang":
                ctypes.PyDLL(None).pause()  # in C, with Python's lock held
            case "memory":
                bytearray(1 << 60)
            case "raise":
                raise LookupError("nothing like it was foreseen")
            case "disk":
                end = time.monotonic() + WAITS
                while not (self.marks / "full").exists() and time.monotonic() < end:
                    time.sleep(0.02)


def main() -> None:
    import nas.executors.ray as ray_executor
    from nas.cli import main as wireloom

    class Executor(ray_executor.RayExecutor):
        """With a time limit that a slow machine does not reach, but for trials that are to hang."""

        def submit(self, job: Job) -> None:
            super().submit(replace(job, seconds_limit=SHORT if trainer.fates.get(job.number) == "hang" else LONG))

    fates, *arguments = sys.argv[1:]
    path = Path(fates).resolve()
    trainer = Struck({int(number): kind for number, kind in json.loads(path.read_text()).items()}, path.parent)
    ray_executor.RayExecutor = partial(Executor, trainer)  # whose first argument trains
    sys.argv = ["wireloom", "search", *arguments]
    wireloom()


if __name__ == "__main__":
    main()
