"""What ``wireloom search --dry-run`` says: the space, its costs, the baselines."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nas.advice import advice
from nas.baselines import baselines
from nas.experiment import Experiment
from nas.gates import gated
from nas.pricing import Priced, counted
from nas.search import too_small
from nas.units import describe_point

DESIGN_WIDTH = 44  # designs are lined up to this; longer ones push their verdict to the right


def print_plan(experiment: Experiment, found: Sequence[Priced], console: Console) -> None:
    """The space, what its points cost, the baselines and the budget."""
    size = experiment.space.size()
    table = Table(title=f"space of {experiment.name}: {'continuous' if size is None else f'{size} points'}", box=None)
    for name in ("parameter", "kind", "domain", "asked when"):
        table.add_column(name)
    for row in experiment.space.describe():
        table.add_row(row.name, row.kind, escape(row.domain), row.condition)
    console.print(table)
    costs = Table(title=f"\ncosts of {len(found)} points at the corners and at random", box=None)
    for name in ("", "least", "greatest", "limit"):
        costs.add_column(name, justify="left" if not name else "right")
    limits = {str(name): limit for name, limit in experiment.limits.items()}
    known = [counted(item.cost, item.peak_bytes) for item in found]
    for metric in known[0]:
        values = [one[metric] for one in known]
        limit = limits.get(metric)
        costs.add_row(metric, f"{min(values):,.0f}", f"{max(values):,.0f}", "–" if limit is None else f"{limit:,.0f}")
    steps = [item.steps for item in found]
    costs.add_row("training steps", f"{min(steps):,}", f"{max(steps):,}", "")
    console.print(costs)
    _print_baselines(experiment, console)
    total = experiment.trials * experiment.train.budget_gflops
    console.print(
        f"\n{experiment.trials} trials of {experiment.train.budget_gflops:g} training GFLOPs: {total:g} in all"
    )
    if experiment.search.gates is not None:
        plan = gated(experiment)
        cost = plan.steps * plan.flops_per_step / 1e9
        console.print(f"and {cost:,.1f} for a super-network of depth {plan.topology.depth}, read for its gates")
    warning = too_small(experiment)
    for said in (*advice(experiment), *([] if warning is None else [warning])):
        console.print(said, style="yellow", soft_wrap=True)


def _print_baselines(experiment: Experiment, console: Console) -> None:
    found = baselines(experiment)
    if not found:
        console.print("\nno baselines: search.baselines is false")
        return
    console.print("\nbaselines, trained before anything is proposed")
    designs = [describe_point(one.point.family, one.point.to_dict()) for one in found]
    width = max((len(design) for design in designs if len(design) <= DESIGN_WIDTH), default=0)
    running = 0
    for one, design in zip(found, designs, strict=True):
        late = one.runs and running >= experiment.trials
        verdict = f"left out: the search has {experiment.trials} trials" if late else str(one)
        running += one.runs
        # A line of its own, however long: a family may have many settings.
        console.print(f" {escape(design.ljust(width))}  {escape(verdict)}", soft_wrap=True, highlight=False)
