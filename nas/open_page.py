"""The page that tells a stranger, a person or a program, how to propose topologies to a search."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.ledger import Ledger
from nas.proposal_file import MAX_BYTES, MAX_NOTE
from nas.records import Trial
from nas.units import describe, show

if TYPE_CHECKING:
    from nas.experiment import Experiment

PROTOCOL = """\
# Proposals to the search "{name}"

Any program may propose topologies here, as files; nothing in them is ever run. This page and everything under
`results/` are written by the search, and only read by you.

## What is searched

A topology is a DAG of blocks. Node 0 is the stem's output, nodes 1 to L are the blocks, L + 1 is the output; L is the
depth. A node reads the weighted sum of the outputs of its predecessors. Blocks bring no skip of their own: the plain
residual network of depth L has all edges i < j, the plain chain has only j - 1 to j. Each topology is trained from
scratch on {budget:g} training GFLOPs (batch {batch}); dearer ones get fewer steps.

{goals}

{limits}
{depths}

## How to propose

1. Write a file elsewhere on the same disk, or here under a name that begins with a dot, and rename it to
   `proposals/NAME.yaml`. NAME has letters, digits, `_`, `.` and `-`, begins with a letter or digit, and is used once:
   what was taken is never looked at again. At most {most:,} bytes, UTF-8, plain YAML (JSON is YAML) without anchors.
2. Proposals are taken in the order of their names; at most {share:.0%} of the trials, and of the asks, beside the
   baselines are yours.{wait}
3. `results/NAME.json` appears when it is taken, and changes when its trial ends: `status` (RUNNING, WAITING at a rung,
   COMPLETE, PRUNED, REJECTED, DIVERGED, FAILED, DUPLICATE), `final` (whether that is the last word), `reason`,
   `objectives`, costs, `trial`, and `front`: its place on the front of everything trained so far, 1 the best in the
   first objective, null where something beats it.
   `results/_front.json` has the whole front with topologies, and `edges` where these are all there is to one.

The file holds one of:

```yaml
depth: 3                                    # edges (i, j), or (i, j, weight); "learned: true" makes weights learned
edges: [[0, 1], [1, 2], [2, 3], [3, 4], [0, 2], [1, 4, 0.5]]
note: at most {note:,} characters, optional, goes to the log
parent: optional, what it was made from
```

- `topology: {{..}}`, or the same keys at the top: a topology's own text, as in `results/_front.json`;
- `point: {{family: hyper, depth: 4, hyper.streams: 2}}`: a point of the space below, with all its values.

`wireloom propose DIR FILE --wait` does all of this and prints the result.
"""


def page(experiment: "Experiment", ledger: Ledger) -> str:
    """``proposals/README.md``: the protocol, the space, the baselines with their results so far."""
    door = experiment.search.open
    assert door is not None, "the file opens no door"
    goals = "; ".join(f"{one.goal} {one.metric}" for one in experiment.objectives)
    limits = "; ".join(f"{name} at most {limit:,.0f}" for name, limit in experiment.limits.items())
    wait = f" The search waits up to {door.wait:g} s for one when it is your turn." if door.wait else ""
    head = PROTOCOL.format(
        name=experiment.name,
        budget=experiment.train.budget_gflops,
        batch=experiment.train.batch,
        goals=f"What is good: {goals}.",
        limits=f"Limits, checked before training: {limits}." if limits else "There are no limits on cost.",
        depths=f"The depth is one of: {experiment.space.depth}.",
        most=MAX_BYTES,
        note=MAX_NOTE,
        share=door.share,
        wait=wait,
    )
    rows = ["| name | kind | values | asked when |", "|---|---|---|---|"]
    rows += [
        f"| {row.name} | {row.kind} | {row.domain.replace('|', 'or')} | {row.condition or 'always'} |"
        for row in experiment.space.describe()
    ]
    baselines = [trial for trial in ledger.ordered() if trial.source == "baseline"]
    metrics = [one.metric for one in experiment.objectives]
    table = ["| trial | design | status | " + " | ".join(metrics) + " |", "|---|---|---|" + "---|" * len(metrics)]
    table += [_row(trial, metrics) for trial in baselines]
    none = "None was trained yet."
    return "\n".join([head, "## The space", "", *rows, "", "## Baselines", "", *(table if baselines else [none]), ""])


def _row(trial: Trial, metrics: Sequence[str]) -> str:
    figures = " | ".join(show(metric, trial.objectives.get(metric)) for metric in metrics)
    return f"| {trial.number} | {describe(trial)} | {trial.status.value} | {figures} |"
