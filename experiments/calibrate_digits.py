"""How far apart are the families on digits at a given budget? Writes the record behind ``digits.yaml``'s budget.

    python experiments/calibrate_digits.py experiments/digits.yaml --seeds 5 --out experiments/results/FILE.csv

Every family of the experiment at its published parameters and greatest depth, and the chain without skips, are
trained on several seeds; the mean, the standard deviation over seeds and the spread between families are printed.
"""

import argparse
import csv
import platform
import statistics
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

from graphs import Topology, families
from nas.evaluate import evaluate
from nas.experiment import Experiment
from nas.job_for import job_for
from nas.jobs import Outcome
from nas.lock import environment
from nas.pricing import priced
from trainers.data import load


def run(experiment: Experiment, topology: Topology, seed: int) -> tuple[Outcome, int]:
    """Train one topology on one seed at the experiment's budget."""
    plan = priced(experiment, topology)
    job = job_for(experiment, plan, number=0, seed=seed)
    running = evaluate(job)
    while True:
        try:
            next(running)
        except StopIteration as stop:
            return stop.value, plan.steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--budget", type=float, help="training GFLOPs instead of the experiment's")
    parser.add_argument("--out", type=Path, help="append rows to this CSV file")
    options = parser.parse_args()
    experiment = Experiment.load(options.experiment)
    if options.budget is not None:
        experiment = experiment.replace(train=experiment.train.model_copy(update={"budget_gflops": options.budget}))
    points = experiment.space.baselines()
    topologies = [experiment.space.topology(point) for point in points]
    topologies.append(families.wiring(topologies[0].depth))
    lock = environment(load(experiment.data.source).fingerprint, "cpu")
    rows = []
    accuracies = defaultdict(list)
    for topology in topologies:
        for seed in range(options.seeds):
            outcome, steps = run(experiment, topology, seed)
            accuracies[topology].append(outcome.accuracy)
            rows.append(
                {
                    "date": datetime.now(UTC).date().isoformat(),
                    "device": f"{lock['device']} {platform.machine()}",
                    "torch": lock["versions"]["torch"],
                    "commit": lock["commit"],
                    "data": lock["data_fingerprint"],
                    "topology": str(topology),
                    "digest": topology.digest,
                    "seed": seed,
                    "budget_gflops": experiment.train.budget_gflops,
                    "steps": steps,
                    "accuracy": outcome.accuracy,
                    "loss": outcome.loss,
                    "seconds": round(outcome.seconds, 2),
                }
            )
        found = accuracies[topology]
        mean, sd = statistics.mean(found), statistics.stdev(found)
        print(f"{topology!s:<64} {mean:.4f} sd {sd:.4f}  {outcome.seconds:.1f} s, {steps} steps", flush=True)
    means = [statistics.mean(found) for found in accuracies.values()]
    pooled = statistics.mean(statistics.variance(found) for found in accuracies.values()) ** 0.5
    spread = max(means) - min(means)
    print(
        f"best {max(means):.4f}; spread {spread:.4f} is {spread / pooled:.1f} seed standard deviations ({pooled:.4f})"
    )
    if options.out is not None:
        new = not options.out.exists()
        with options.out.open("a", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, rows[0], lineterminator="\n")
            if new:
                table.writeheader()
            table.writerows(rows)


if __name__ == "__main__":
    main()
