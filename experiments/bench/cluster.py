"""A cluster that only pretends: what the driver of a search costs with 1 to 1,024 workers, in virtual time.

    python experiments/bench/cluster.py [--workers 1 16 1024] [--sampler stratified] [--csv FILE]

The study runs whole, with its log on disk; tables and page, which take a fixed share of the driver's time at most,
and the report at the end do not. The trials are drawn from a table: how long one takes from the measured seconds of
experiments/results/wiring4.csv, scaled to a mean of 60 s. Those beyond three medians are left out: there the machine
was busy with something else. The clock is virtual: while the driver works it advances by what that really took, and
workers that wait for it are idle; while it has nothing to do it jumps to the next message. So a driver that is too
slow shows as idle workers. Shares are of the time until the last trial was placed, the first minute included, in
which every worker gets its first trial; behind it the workers run dry whatever the driver does. Halving is off
(--halving turns it on): all trials have their 60 s.
"""

import argparse
import csv
import heapq
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nas.experiment import Experiment
from nas.jobs import Job, Outcome, Report
from nas.patience import Patience
from nas.run_folder import RunFolder
from nas.study import Study

TABLE = Path(__file__).parents[1] / "results" / "wiring4.csv"
SPACE = """
name: cluster
seed: 0
trials: {trials}
data: {{kind: digits}}
backbone: {{kind: mixer, dim: 48, patch: 2}}
space:
  depth: {{low: 4, high: 12}}
  families:
    residual: {{}}
    hyper: {{streams: [2, 4]}}
    wiring: {{edges: {{low: 2, high: 20}}, in_degree: 4}}
objectives:
  - {{metric: accuracy, goal: maximize}}
  - {{metric: flops, goal: minimize}}
train: {{budget_gflops: 300, batch: 64, lr: 2.0e-3, warmup: 0.1}}
search: {{sampler: {sampler}{halving}}}
"""
HALVING = ", halving: {rungs: 3, keep: 0.34}"


class Cluster:
    """An executor of ``workers`` pretended workers."""

    def __init__(self, workers: int, seconds: Sequence[float], mean: float) -> None:
        self.slots = workers
        self.now = 0.0  # virtual seconds
        self.driver = self.driver_cpu = 0.0  # real seconds of the driver between messages
        self.busy = self.waited = 0.0  # virtual seconds of workers: training, and waiting for the driver
        self.until = self.driven = self.driven_cpu = (
            0.0  # when the last job was placed; the driver's seconds up to then
        )
        self.messages = 0
        self._durations = [mean * one / statistics.fmean(seconds) for one in seconds]
        self._events: list[tuple[float, int, Report | Outcome]] = []
        self._jobs: dict[int, tuple[Job, float, float, int]] = {}  # job, seconds in all, quality, next report
        self._free = [0.0] * workers  # since when workers have nothing to do
        self._count = 0
        self._began = False

    def submit(self, job: Job) -> None:
        if not self._began:  # what comes before is the start of a process, not the driving of a cluster
            self._began = True
            self._start()
        self._stop()
        self.until, self.driven, self.driven_cpu = self.now, self.driver, self.driver_cpu
        self.waited += self.until - self._free.pop(0)
        rng = random.Random(f"{job.number}/{job.seed}")
        self._jobs[job.number] = (job, rng.choice(self._durations), rng.random(), 0)
        self._go_on(job.number, self.now)
        self._start()

    def next(self) -> Report | Outcome:
        self._stop()
        at, _, message = heapq.heappop(self._events)
        self.now = max(self.now, at)
        self.messages += 1
        if isinstance(message, Outcome):
            self._free.append(at)
        elif message.asks:
            self._asked = at
        else:
            self._go_on(message.number, at)
        self._start()
        return message

    def ready(self, seconds: float) -> bool:
        self._stop()
        due = self._events[0][0]
        self.now = max(self.now, min(due, self.now + seconds))
        self._start()
        return due <= self.now

    def answer(self, number: int, go_on: bool) -> None:
        self._stop()
        self.waited += self.now - self._asked
        if go_on:
            self._go_on(number, self.now)
        else:
            self._end(number, "stopped", self.now)
        self._start()

    def close(self) -> None:
        self._jobs.clear()

    def _start(self) -> None:
        """The driver's time begins."""
        self._since, self._cpu = time.perf_counter(), time.process_time()

    def _stop(self) -> None:
        """The driver's time ends; what a cluster would do meanwhile is not its."""
        spent = time.perf_counter() - self._since
        self.now += spent
        self.driver += spent
        self.driver_cpu += time.process_time() - self._cpu

    def _go_on(self, number: int, at: float) -> None:
        """Train to the next report, or to the end."""
        job, seconds, quality, place = self._jobs[number]
        steps = (0, *job.report_at)
        if place == len(job.report_at):
            self._end(number, "complete", at)
            return
        step = steps[place + 1]
        taken = seconds * (step - steps[place]) / job.steps
        self.busy += taken
        self._jobs[number] = (job, seconds, quality, place + 1)
        accuracy = quality * step / job.steps
        self._say(at + taken, Report(number, step, 1.0 - accuracy, accuracy, 1.0 - accuracy, step in job.ask_at))

    def _end(self, number: int, kind: str, at: float) -> None:
        job, seconds, quality, place = self._jobs.pop(number)
        step = job.report_at[place - 1]
        accuracy = quality * step / job.steps
        self._say(at, Outcome(number, kind, step, seconds * step / job.steps, accuracy, 1.0 - accuracy))

    def _say(self, at: float, message: Report | Outcome) -> None:
        heapq.heappush(self._events, (at, self._count, message))
        self._count += 1


def measure(workers: int, sampler: str, mean: float, per_worker: int, halving: bool) -> dict[str, float]:
    """One search of ``per_worker`` trials a worker, at least 64."""
    with TABLE.open(newline="") as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    seconds = [one for one in seconds if one <= 3 * statistics.median(seconds)]
    trials = max(64, per_worker * workers)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "cluster.yaml")
        path.write_text(SPACE.format(trials=trials, sampler=sampler, halving=HALVING if halving else ""))
        experiment = Experiment.load(path)
        folder = RunFolder.create(Path(temporary, "run"), experiment)
        cluster = Cluster(workers, seconds, mean)
        study = Study(experiment, folder, cluster)
        study.patience = Patience(clock=lambda: cluster.now)
        study.run()
        folder.log.close()
        assert study.ledger.finished == trials, "a trial got lost"
        log = (folder.path / "events.jsonl").stat().st_size
        files = sum(1 for one in folder.path.rglob("*") if one.is_file())
    return {
        "workers": workers,
        "trials": trials,
        "virtual_hours": cluster.now / 3600,
        "driver_share": cluster.driven / cluster.until,
        "driver_cpu_share": cluster.driven_cpu / cluster.until,
        "driver_ms_a_trial": 1000 * cluster.driver / trials,
        "workers_wait_share": cluster.waited / (workers * cluster.until),
        "messages_a_second": cluster.messages / cluster.now,
        "log_bytes_a_trial": log / trials,
        "files": files,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16, 64, 256, 1024])
    parser.add_argument("--sampler", default="stratified")
    parser.add_argument("--seconds", type=float, default=60.0, help="mean of a whole trial")
    parser.add_argument("--per-worker", type=int, default=4, help="trials for each worker")
    parser.add_argument("--halving", action="store_true", help="stop trials early at three rungs")
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    given = parser.parse_args()
    found = [
        measure(workers, given.sampler, given.seconds, given.per_worker, given.halving) for workers in given.workers
    ]
    table = Table(title=f"{given.sampler}, trials of {given.seconds:g} s{HALVING if given.halving else ''}")
    for name in found[0]:
        table.add_column(name.replace("_", " "), justify="right")
    for row in found:
        table.add_row(*(f"{value:.2%}" if "share" in name else f"{value:,.4g}" for name, value in row.items()))
    Console(width=180).print(table)
    if given.csv is not None:
        new = not given.csv.exists()
        with given.csv.open("a", newline="") as file:
            writer = csv.DictWriter(file, ["sampler", "seconds", "halving", *found[0]], lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerows(
                {"sampler": given.sampler, "seconds": given.seconds, "halving": given.halving, **row} for row in found
            )


if __name__ == "__main__":
    main()
