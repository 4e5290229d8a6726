"""The ``wireloom`` command."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from graphs.errors import UserError
from nas import interrupts

if TYPE_CHECKING:
    from graphs import Topology
    from nas.experiment import Experiment
    from nas.search import Done

app = typer.Typer(
    name="wireloom",
    help="Search for the best way to wire a deep network's blocks, and use what was found.\n\n"
    "Start with: wireloom search experiments/digits.yaml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

INTERRUPTED = 130
BAD_INPUT = 2

ExperimentFile = Annotated[Path, typer.Argument(metavar="EXPERIMENT.yaml", help="What to search, and what is good.")]
RunDir = Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]


@app.callback()
def _main() -> None:
    """Keeps sub-commands even where there is only one."""


@app.command()
def search(
    experiment_file: ExperimentFile,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials in all, baselines included.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of proposals, data order and weights.")] = None,
    executor: Annotated[str, typer.Option(help="Where trials run: serial, in this process.")] = "serial",
    out: Annotated[Path | None, typer.Option(help="The run's folder; default runs/NAME, numbered.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Show the space and what it costs; write nothing.")] = False,
    resume: Annotated[bool, typer.Option(help="Continue an interrupted run, or make a finished one longer.")] = False,
) -> None:
    """Search over topologies and hand back the Pareto front.

    Ctrl-C stops at any time and loses nothing: the same command with --resume continues.

    Examples:
      wireloom search experiments/digits.yaml --dry-run
      wireloom search experiments/digits.yaml --trials 12 --out runs/quick
      wireloom search experiments/digits.yaml --out runs/quick --resume
    """
    from nas.run_folder import RunFolder, choose
    from nas.search import check_reachable, plan_of, run_search

    if executor != "serial":
        raise UserError(f"--executor {executor!r} is not in this version; it has: serial")
    experiment = plan_of(experiment_file)
    changes = {"trials": trials, "seed": seed}
    experiment = experiment.replace(**{name: value for name, value in changes.items() if value is not None})
    console = Console()
    if dry_run:
        _print_plan(experiment, check_reachable(experiment), console)
        return
    path = choose(experiment, out, resume)
    again = ["wireloom", "search", str(experiment_file), "--out", str(path), "--resume"]
    again += [text for name, value in changes.items() if value is not None for text in (f"--{name}", str(value))]
    folder = None
    try:
        folder = RunFolder.resume(path, experiment) if resume else RunFolder.create(path, experiment)
        note = "  (Ctrl-C stops; --resume continues)"
        console.print(f"run folder: [bold]{escape(str(path))}[/]{note}", soft_wrap=True)
        done = run_search(experiment, folder, console)
    except KeyboardInterrupt:
        if (path / "experiment.yaml").exists():
            text = f"interrupted; nothing is lost. Continue with:\n  {shlex.join(again)}"
        else:
            text = "interrupted before the run began; the same command starts it"
        console.print(f"\n{escape(text)}", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        if folder is not None:
            folder.log.close()
    _print_done(done, console)


def _print_plan(experiment: "Experiment", found: list[Any], console: Console) -> None:
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
    for metric in ("flops", "parameters", "traffic"):
        values = [getattr(item.cost, metric) for item in found]
        limit = experiment.limits.get(metric)
        costs.add_row(metric, f"{min(values):,.0f}", f"{max(values):,.0f}", "–" if limit is None else f"{limit:,.0f}")
    steps = [item.steps for item in found]
    costs.add_row("training steps", f"{min(steps):,}", f"{max(steps):,}", "")
    console.print(costs)
    total = experiment.trials * experiment.train.budget_gflops
    console.print(
        f"\n{experiment.trials} trials of {experiment.train.budget_gflops:g} training GFLOPs: {total:g} in all"
    )


def _print_done(done: "Done", console: Console) -> None:
    from nas.progress import front_table

    views, run = done.views, escape(str(done.views.folder))
    console.print()
    console.print(front_table(views.experiment, views.front, title="Pareto front"))
    best = views.winner
    assert best is not None, "run_search refuses a run without a winner"
    if done.study.exhausted:
        found = done.study.ledger.trained
        console.print(
            f"stopped after {len(done.study.ledger.asks)} asks with {found} of {views.experiment.trials} trials"
        )
    if views.comparison is not None:
        console.print(f"\n{views.comparison}")
    console.print(f"\nwinner: trial {best.number}, digest {best.digest} ({run}/winner/topology.yaml)", soft_wrap=True)
    console.print(f"run folder: {run}   report: {run}/report.html", soft_wrap=True)
    if done.tracking:
        console.print(f"MLflow: {escape(done.tracking)}", soft_wrap=True)
    console.print(f"next: wireloom compile {run} --out {run}/model", soft_wrap=True, style="bold")


@app.command()
def show(
    path: Annotated[Path, typer.Argument(metavar="TOPOLOGY.yaml|EXPERIMENT.yaml", help="What to look at.")],
    png: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw to FILE (.png or .svg).")] = None,
    as_json: AsJson = False,
) -> None:
    """Show a topology (plan, cost of its wiring, connection matrix) or the baselines of an experiment.

    Example: wireloom show runs/digits/winner/topology.yaml --png winner.png
    """
    from graphs import draw

    topologies = _topologies(path)
    if as_json:
        _print_json([_shown(topology) for topology in topologies])
    for i, topology in enumerate(topologies):
        if not as_json:
            from graphs import lower

            typer.echo(lower(topology))
            typer.echo("\nconnection matrix at the start (rows read, columns are outputs)")
            typer.echo(draw.text(topology) + "\n")
        if png is not None:
            target = png if len(topologies) == 1 else png.with_stem(f"{png.stem}-{i}")
            draw.save(topology, target)
            typer.echo(f"drawn: {target}", err=as_json)


def _topologies(path: Path) -> "list[Topology]":
    """The topology in a file, or the baselines of the experiment in it."""
    from nas.experiment import Experiment
    from search_space.document import read, read_topology

    if "ops" in read(path).data:
        return [read_topology(path)]
    space = Experiment.load(path).space
    return [space.topology(point) for point in space.baselines()]


def _shown(topology: "Topology") -> dict[str, Any]:
    from graphs import lower
    from graphs.cost import backward_traffic, mix_flops, wiring_sizes

    plan = lower(topology)
    return {
        "topology": str(topology),
        "digest": topology.digest,
        "depth": topology.depth,
        "matrix": topology.matrix().tolist(),
        "plan": str(plan).splitlines(),
        "wiring_flops_per_element": sum(map(mix_flops, plan.mixes)),
        "wiring_parameters": sum(wiring_sizes(plan).values()),
        "forward_traffic": sum(step.reads + step.writes for step in plan.steps),
        "backward_traffic": backward_traffic(plan),
    }


@app.command("compile")
def compile_command(
    path: Annotated[Path, typer.Argument(metavar="TOPOLOGY.yaml|DIR", help="A topology, or a run's folder.")],
    out: Annotated[Path, typer.Option(help="Where the model goes.")],
    as_json: AsJson = False,
) -> None:
    """Write a model to use: topology.yaml, model.safetensors, card.md and a load.py that loads it.

    Of a run's folder this is the winner with its trained weights, checked against the accuracy the run logged. Of a
    topology file it is the wiring alone, for your own blocks.

    Example: wireloom compile runs/digits --out runs/digits/model
    """
    from nas.artifact import compile_run, compile_topology_file

    if not path.is_dir():
        topology = compile_topology_file(path, out)
        if as_json:
            _print_json({"out": str(out), "digest": topology.digest})
        else:
            typer.echo(f"{topology}, digest {topology.digest}: {out}/load.py wires your blocks with it")
        return
    made = compile_run(path, out)
    if as_json:
        _print_json(
            {
                "out": str(out),
                "digest": made.trial.digest,
                "accuracy": made.accuracy,
                "loss": made.loss,
                "test_accuracy": made.test_accuracy,
            }
        )
        return
    typer.echo(f"compiled: trial {made.trial.number}, {topology_text(made.trial.point)}, digest {made.trial.digest}")
    typer.echo(f"validation accuracy {made.accuracy!r}, as the run logged; test accuracy {made.test_accuracy!r}")
    typer.echo(f"next: python {out}/load.py   (the card: {out}/card.md)")


def topology_text(point: Any) -> str:
    """A point's family and depth in words."""
    return f"{point['family']} at depth {point['depth']}"


@app.command()
def report(run: RunDir, as_json: AsJson = False) -> None:
    """Rebuild a run's tables, pictures and report.html from its event log, finished or not.

    Example: wireloom report runs/digits --json
    """
    from nas.report import summary
    from nas.views import Views

    views = Views.open(run)
    try:
        views.write_all()
    except OSError as error:
        raise UserError(f"{run}: cannot be written: {error.strerror}") from error
    if as_json:
        _print_json(summary(views.trials, views.experiment.objectives))
        return
    from nas.progress import front_table

    Console().print(front_table(views.experiment, views.front, title="Pareto front"))
    typer.echo(f"{run}/report.html")


def _print_json(data: Any) -> None:
    typer.echo(json.dumps(data, indent=1))


def main() -> None:
    """Entry point: user errors are one message and exit status 2, an interrupt is 130."""
    interrupts.watch()
    try:
        app(standalone_mode=True, prog_name="wireloom")
    except SystemExit as end:
        if end.code == INTERRUPTED:
            interrupts.settle()
        raise
    except KeyboardInterrupt:
        interrupts.settle()
        sys.exit(INTERRUPTED)
    except ValueError as error:
        from trainers.errors import TrainerError

        if not isinstance(error, UserError | TrainerError):
            raise
        typer.echo(f"wireloom: {error}", err=True)
        sys.exit(BAD_INPUT)
    except OSError as error:  # a full disk, a folder that may not be written
        where = "" if error.filename is None else f"{error.filename}: "
        typer.echo(f"wireloom: {where}{error.strerror or error}", err=True)
        sys.exit(BAD_INPUT)
