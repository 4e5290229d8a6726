"""How far from the best is each sampler after a few evaluations? Tried on a table of every topology of a space.

    python experiments/tabulate_wiring.py experiments/wiring4.yaml --out experiments/results/wiring4.csv
    python experiments/bench/regret.py experiments/wiring4.yaml experiments/results/wiring4.csv \
        --seeds 50 --out experiments/results/wiring4-regret

A search sees the accuracy of one seed of the table and the counted FLOPs, as a real one does. It is judged by the mean
over the table's seeds: the accuracy of the topology it would hand back beside the best there is (in points), and the
dominated area of its front (accuracy over log FLOPs; reference point: the least accuracy and the most FLOPs of the
table) beside that of the whole table (as a share). Writes OUT.csv, OUT.md and OUT.png.
"""

import argparse
import csv
import math
import statistics
from collections import defaultdict
from pathlib import Path

from nas.experiment import Experiment
from nas.front import nondominated_sort, signed
from nas.records import Status
from nas.samplers import sampler_of
from nas.sampling import Told
from search_space.point import Point

AFTER = (16, 32, 64)
SAMPLERS = ("random", "stratified", "tpe", "nsga2", "evolution", "local")
POPULATION = 10  # of nsga2 and evolution: 20 would leave nothing to see after 16


class Table:
    """Accuracies by topology and seed, and FLOPs."""

    def __init__(self, experiment: Experiment, path: Path) -> None:
        self.space = experiment.space
        self.accuracy: dict[str, list[float]] = defaultdict(list)
        self.flops: dict[str, float] = {}
        self.digests: dict[str, str] = {}
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                self.accuracy[row["digest"]].append(float(row["accuracy"] or 0))
                self.flops[row["digest"]] = float(row["flops"])
                self.digests[row["edges"]] = row["digest"]
        self.mean = {digest: statistics.mean(found) for digest, found in self.accuracy.items()}
        self.worst = min(self.mean.values()), max(self.flops.values())

    def digest(self, point: Point) -> str:
        """The topology of a point, without building it."""
        edges = self.space.families[0].edges_of(point)
        return self.digests[" ".join(f"{i}-{j}" for i, j in edges)]

    def area(self, digests: "set[str] | list[str]") -> float:
        """What some topologies dominate, by their mean accuracy."""
        accuracy, flops = self.worst
        total, best = 0.0, accuracy
        for digest in sorted(digests, key=lambda one: (self.flops[one], -self.mean[one])):
            gain = max(0.0, self.mean[digest] - best)
            total += gain * math.log(flops / self.flops[digest])
            best += gain
        return total


def search(experiment: Experiment, table: Table, sampler: str, seed: int) -> dict[int, tuple[float, float]]:
    """One search of 64 evaluations; accuracy and area lost after 16, 32 and 64."""
    settings = experiment.search.model_copy(update={"sampler": sampler, "population": POPULATION})
    metrics = [one.metric for one in experiment.objectives]

    def rank(values):
        return signed(dict(zip(metrics, values, strict=True)), experiment.objectives)

    goals = [one.goal for one in experiment.objectives]
    chosen = sampler_of(settings, experiment.space, seed=seed, rank=rank, goals=goals, identify=table.digest)
    best = max(table.mean.values())
    whole = table.area(list(table.mean))
    history: list[Told] = []
    seen: dict[str, tuple[float, float]] = {}
    lost: dict[int, tuple[float, float]] = {}
    while len(seen) < max(AFTER):
        point, source = chosen.propose(len(history), history)
        digest = table.digest(point)
        if digest in seen:  # a repeat is not an evaluation
            history.append(Told(point, Status.PRUNED, None, source, digest))
            continue
        found = table.accuracy[digest]
        seen[digest] = (found[seed % len(found)], table.flops[digest])
        history.append(Told(point, Status.COMPLETE, seen[digest], source, digest))
        if len(seen) in AFTER:
            pick = max(seen, key=lambda one: (seen[one][0], -seen[one][1]))
            known = list(seen)
            ranks = nondominated_sort([rank(seen[one]) for one in known])
            front = [one for one, place in zip(known, ranks, strict=True) if place == 0]
            lost[len(seen)] = 100 * (best - table.mean[pick]), 1 - table.area(front) / whole
    return lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    experiment = Experiment.load(options.experiment)
    table = Table(experiment, options.table)
    rows = []
    for sampler in SAMPLERS:
        for seed in range(options.seeds):
            for after, (accuracy, area) in search(experiment, table, sampler, seed).items():
                rows.append({"sampler": sampler, "seed": seed, "after": after, "points": accuracy, "area": area})
        print(sampler, flush=True)
    with options.out.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        written = csv.DictWriter(file, rows[0], lineterminator="\n")
        written.writeheader()
        written.writerows(rows)
    options.out.with_suffix(".md").write_text(_text(rows, table, options.seeds), encoding="utf-8")
    _plot(rows, options.out.with_suffix(".png"))


def _of(rows, sampler, after, name):
    found = [row[name] for row in rows if (row["sampler"], row["after"]) == (sampler, after)]
    error = statistics.stdev(found) / math.sqrt(len(found)) if len(found) > 1 else 0.0
    return statistics.mean(found), error


def _text(rows, table, seeds):
    spread = statistics.mean(statistics.stdev(found) for found in table.accuracy.values() if len(found) > 1)
    lines = [
        f"Regret on {len(table.mean)} tabulated topologies, {seeds} searches each, mean and standard error.",
        f"Standard deviation over the table's seeds: {100 * spread:.2f} points.",
        "",
        "| sampler | "
        + " | ".join(f"points after {n}" for n in AFTER)
        + " | "
        + " | ".join(f"area after {n}" for n in AFTER)
        + " |",
        "|---" * (1 + 2 * len(AFTER)) + "|",
    ]
    for sampler in SAMPLERS:
        cells = ["{:.2f} ± {:.2f}".format(*_of(rows, sampler, n, "points")) for n in AFTER]
        cells += ["{:.3f} ± {:.3f}".format(*_of(rows, sampler, n, "area")) for n in AFTER]
        lines.append(f"| {sampler} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _plot(rows, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (name, label) in zip(
        figure.subplots(1, 2),
        (("points", "accuracy lost (points)"), ("area", "dominated area lost (share)")),
        strict=True,
    ):
        for sampler in SAMPLERS:
            means, errors = zip(*(_of(rows, sampler, n, name) for n in AFTER), strict=True)
            axes.errorbar(AFTER, means, errors, marker="o", capsize=3, label=sampler)
        axes.set(xscale="log", xlabel="evaluations", ylabel=label, xticks=AFTER, xticklabels=AFTER)
        axes.minorticks_off()
    axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
