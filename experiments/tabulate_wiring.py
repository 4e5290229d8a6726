"""Train every topology of a space that can be counted on several seeds, as a table that searches can be tried on.

    nice python experiments/tabulate_wiring.py experiments/wiring4.yaml --seeds 3 --out experiments/results/wiring4.csv

One row per topology and seed, in the order of training: seeds in turn, topologies in the space's order. What is in the
file already is not trained again, so that it can be stopped and started at will; ``--limit`` stops it after so many.
"""

import argparse
import csv
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nas.evaluate import evaluate
from nas.experiment import Experiment
from nas.job_for import job_for
from nas.jobs import Outcome
from nas.pricing import Priced, priced
from search_space import enumeration
from search_space.point import Point

PARTS = 10  # of the budget, at the end of each of which the accuracy is measured


def rows(experiment: Experiment, seeds: int, done: set[tuple[str, int]]) -> Iterator[dict[str, Any]]:
    """Train what is not ``done`` and yield its row."""
    topologies: dict[str, tuple[Point, Priced]] = {}
    for point in enumeration.points(experiment.space):
        plan = priced(experiment, experiment.space.topology(point))
        topologies.setdefault(plan.topology.digest, (point, plan))
    for seed in range(seeds):
        for digest, (_, plan) in topologies.items():
            if (digest, seed) in done:
                continue
            outcome, curve = _run(experiment, plan, seed)
            yield {
                "digest": digest,
                "edges": dict(plan.topology.settings)["edges"],
                "seed": seed,
                "status": outcome.kind,
                "flops": int(plan.cost.flops),
                "traffic": int(plan.cost.traffic),
                "accuracy": "" if outcome.accuracy is None else f"{outcome.accuracy:.6f}",
                "loss": "" if outcome.loss is None else f"{outcome.loss:.5f}",
                "curve": " ".join(f"{accuracy:.4f}" for accuracy in curve),
                "seconds": f"{outcome.seconds:.2f}",
            }


def _run(experiment: Experiment, plan: Priced, seed: int) -> tuple[Outcome, list[float]]:
    """Train one topology on one seed; how it ended, and the accuracies along the way."""
    steps = {max(1, round(plan.steps * part / PARTS)) for part in range(1, PARTS + 1)}
    job = job_for(experiment, plan, number=0, seed=seed, report_at=tuple(sorted(steps)))
    running, curve = evaluate(job), []
    while True:
        try:
            curve.append(next(running).accuracy)
        except StopIteration as stop:
            return stop.value, curve


def read(path: Path) -> list[dict[str, str]]:
    """The rows there are, without one that was cut off."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["seconds"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=int, help="train at most so many now")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    experiment = Experiment.load(options.experiment)
    known = read(options.out)
    total = (enumeration.count(experiment.space) or 0) * options.seeds
    started = time.monotonic()
    with options.out.open("a", newline="", encoding="utf-8") as file:
        table: csv.DictWriter[str] | None = None
        for trained, row in enumerate(
            rows(experiment, options.seeds, {(r["digest"], int(r["seed"])) for r in known}), 1
        ):
            if table is None:
                table = csv.DictWriter(file, list(row), lineterminator="\n")
                if not known:
                    table.writeheader()
            table.writerow(row)
            if trained % 50 == 0 or trained == options.limit:
                file.flush()
                each = (time.monotonic() - started) / trained
                print(f"{len(known) + trained} of at most {total}, {each:.2f} s each", flush=True)
            if trained == options.limit:
                break


if __name__ == "__main__":
    main()
