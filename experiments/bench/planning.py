"""What it costs to build, lower and price a topology as it grows: ``python experiments/bench/planning.py [FAMILY ..]``.

Prints seconds by depth and the exponent of the fit seconds ~ edges^p. Nothing is printed of a plan that is wrong: the
dense average must have its L (L + 3) / 2 weights, and no plan may move more than the topology as it is written.
"""

import argparse
import itertools
import math
import time

from graphs import BlockCost, ModelCost, families, lower, price
from graphs.plan import Plan
from graphs.topology import Topology
from graphs.traffic import traffic

DEPTHS = (125, 250, 500, 1000)


def checked(name: str, topology: Topology, plan: Plan, parameters: int, moved: int) -> None:
    """SystemExit where the result cannot be right."""
    depth = topology.depth
    if name == "dense" and parameters != depth * (depth + 3) // 2:
        raise SystemExit(f"{topology}: {parameters} weights, {depth * (depth + 3) // 2} were expected")
    if moved > traffic(topology):
        raise SystemExit(f"{topology}: the plan moves {moved} Td, the topology as written {traffic(topology)}")
    if len(plan.topology.blocks) != depth:
        raise SystemExit(f"{topology}: {len(plan.topology.blocks)} blocks are left")


def measured(name: str, depth: int) -> tuple[int, list[float]]:
    """Edges of the topology, and seconds to build, lower and price it."""
    times = [time.perf_counter()]
    topology = families.FAMILIES[name](depth)
    times.append(time.perf_counter())
    plan = lower(topology)
    times.append(time.perf_counter())
    cost = price(plan, ModelCost(1, 1, (BlockCost(0, 0),) * depth))
    times.append(time.perf_counter())
    checked(name, topology, plan, cost.wiring_parameters, cost.traffic)
    edges = sum(len(mix.reads) * len(mix.writes) for mix in topology.mixes)
    return edges, [after - before for before, after in itertools.pairwise(times)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", default=["dense", "residual", "hyper"], help="families by name")
    for name in parser.parse_args().families:
        print(f"{name}\n{'depth':>6} {'edges':>9} {'build s':>8} {'lower s':>8} {'price s':>8} {'all s':>8}")
        points = []
        for depth in DEPTHS:
            edges, seconds = measured(name, depth)
            points.append((math.log(edges), math.log(sum(seconds))))
            columns = " ".join(f"{value:>8.2f}" for value in (*seconds, sum(seconds)))
            print(f"{depth:>6} {edges:>9,} {columns}", flush=True)
        (x0, y0), (x1, y1) = points[0], points[-1]
        print(f"seconds grow as edges to the power {(y1 - y0) / (x1 - x0):.2f}\n")


if __name__ == "__main__":
    main()
