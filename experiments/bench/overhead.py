"""What the driver costs: the share of a search's wall time spent on anything but training.

    python experiments/bench/overhead.py [EXPERIMENT.yaml]

Runs the whole search in a temporary folder with tracking in SQLite, exactly as ``wireloom search`` does, and
prints the seconds of proposing, planning and pricing, logging, tables and report, and tracking.
"""

import argparse
import tempfile
import time
from pathlib import Path

from rich.console import Console

from nas.experiment import Experiment
from nas.run_folder import RunFolder
from nas.search import run_search

DRIVER = ("proposing", "planning", "log", "views", "tracking")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path, nargs="?", default=Path("experiments/digits.yaml"))
    experiment = Experiment.load(parser.parse_args().experiment)
    with tempfile.TemporaryDirectory() as temporary:
        started = time.perf_counter()
        folder = RunFolder.create(Path(temporary) / "run", experiment)
        done = run_search(experiment, folder, Console(quiet=True))
        wall = time.perf_counter() - started
        folder.log.close()
    times = done.study.times
    for what in (*DRIVER, "training"):
        print(f"{what:<10} {times[what]:8.2f} s  {times[what] / wall:6.2%}")
    driver = sum(times[what] for what in DRIVER)
    print(f"{'wall':<10} {wall:8.2f} s")
    print(f"driver     {driver:8.2f} s  {driver / wall:6.2%} of the wall time, {len(done.views.trials)} trials")


if __name__ == "__main__":
    main()
