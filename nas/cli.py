"""The ``wireloom`` command."""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from graphs.errors import UserError
from nas import interrupts
from nas.commands.arguments import INTERRUPTED, AsJson, RunDir
from nas.commands.propose import propose
from nas.commands.runs import doctor, status
from nas.commands.train import train

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

PIPE_CLOSED = 141  # what a shell reports of a tool that SIGPIPE ends
BAD_INPUT = 2

ExperimentFile = Annotated[Path, typer.Argument(metavar="EXPERIMENT.yaml", help="What to search, and what is good.")]


@app.callback()
def _main() -> None:
    """Keeps sub-commands even where there is only one."""


@app.command()
def search(
    experiment_file: ExperimentFile,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials in all, baselines included.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of proposals, data order and weights.")] = None,
    executor: Annotated[
        str | None, typer.Option(help="Where trials run: serial (default), in this process, or ray, on all cores.")
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="auto|HOST:PORT|ray://HOST:PORT",
            help="A running Ray cluster to run them on; ray:// from a machine that its nodes cannot reach.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; default runs/NAME, numbered.")] = None,
    storage: Annotated[
        str | None, typer.Option(metavar="URI", help="Mirror the run to a folder or URI; resume from there.")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Show the space and what it costs; write nothing.")] = False,
    resume: Annotated[bool, typer.Option(help="Continue an interrupted run, or make a finished one longer.")] = False,
) -> None:
    """Search over topologies and hand back the Pareto front.

    Ctrl-C stops at any time and loses nothing: the same command with --resume continues.

    Examples:
      wireloom search experiments/digits.yaml --dry-run
      wireloom search experiments/digits.yaml --trials 12 --out runs/quick
      wireloom search experiments/digits.yaml --out runs/quick --resume
      wireloom search experiments/digits.yaml --ray-address 10.0.0.1:6379
    """
    from graphs.memory import keep_memory
    from nas.dry_run import print_plan
    from nas.executors.choice import Place, opened
    from nas.mirror import prepare
    from nas.run_folder import RunFolder, choose
    from nas.search import check_reachable, plan_of, run_search
    from nas.storage import located

    place = Place(executor, ray_address)
    experiment = plan_of(experiment_file)
    changes = {"trials": trials, "seed": seed, "storage": None if storage is None else located(storage, Path.cwd())}
    experiment = experiment.replace(**{name: value for name, value in changes.items() if value is not None})
    console = Console()
    if dry_run:
        print_plan(experiment, check_reachable(experiment), console)
        return
    keep_memory()
    path = choose(experiment, out, resume)
    again = ["wireloom", "search", str(experiment_file), "--out", str(path), "--resume"]
    again += [text for name, value in changes.items() if value is not None for text in (f"--{name}", str(value))]
    again += place.options
    folder = None
    try:
        if experiment.storage is not None and (said := prepare(experiment.storage, path, resume=resume)) is not None:
            console.print(escape(said), soft_wrap=True)
        with opened(place, experiment, path, lambda text: console.print(escape(text), soft_wrap=True)) as where:
            if resume:
                folder = RunFolder.resume(path, experiment, exactly=trials is not None)
            else:
                folder = RunFolder.create(path, experiment)
            note = "  (Ctrl-C stops; --resume continues)"
            console.print(f"run folder: [bold]{escape(str(path))}[/]{note}", soft_wrap=True)
            done = run_search(folder.experiment, folder, console, where)
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


def _print_done(done: "Done", console: Console) -> None:
    from nas.progress import FrontTable
    from nas.views import command

    views, run = done.views, escape(str(done.views.folder))
    console.print()
    console.print(FrontTable(views.experiment, views.front, title="Pareto front"))
    best = views.winner
    assert best is not None, "run_search refuses a run without a winner"
    if done.shortfall:
        console.print(done.shortfall, soft_wrap=True)
    if views.verdict:
        console.print(f"\n{escape(views.verdict)}", highlight=False)
    console.print(f"\nwinner: trial {best.number}, digest {best.digest} ({run}/winner/topology.yaml)", soft_wrap=True)
    console.print(f"run folder: {run}   report: {run}/report.html", soft_wrap=True)
    if done.tracking:
        console.print(f"MLflow: {escape(done.tracking)}", soft_wrap=True)
    after = command("compile", views.folder, "--out", views.folder / "model")
    console.print(f"next: {escape(after)}", soft_wrap=True, style="bold")


@app.command()
def show(
    path: Annotated[Path, typer.Argument(metavar="TOPOLOGY.yaml|EXPERIMENT.yaml", help="What to look at.")],
    png: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw to FILE (.png or .svg).")] = None,
    experiment: Annotated[
        Path | None, typer.Option(metavar="EXPERIMENT.yaml", help="Price the topology with this backbone.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a topology (plan, costs, connection matrix), or one of each family of an experiment.

    A topology alone has the costs of its wiring; with an experiment it is priced with that backbone and data.

    Examples:
      wireloom show runs/digits/winner/topology.yaml --png winner.png
      wireloom show runs/digits/winner/topology.yaml --experiment experiments/digits.yaml
    """
    from graphs import draw, lower
    from nas.facts import facts

    topologies, priced_by = _topologies(path, experiment)
    found = [(name, topology, lower(topology)) for name, topology in topologies]
    if as_json:
        data = [
            {
                "shown": name,
                "topology": str(topology),
                "digest": topology.digest,
                "depth": topology.depth,
                "matrix": _matrices(topology),
                "plan": str(plan).splitlines(),
                **{fact.key: fact.value for fact in facts(plan, priced_by)},
            }
            for name, topology, plan in found
        ]
        _print_json(data)
    for i, (name, topology, plan) in enumerate(found):
        if not as_json:
            if name:
                typer.echo(f"--- {name} ---")
            typer.echo(f"{plan}\n")
            typer.echo("\n".join(fact.text for fact in facts(plan, priced_by) if fact.text))
            typer.echo("\nconnection matrix at the start (rows read, columns are outputs)")
            typer.echo(draw.text(topology) + "\n")
        if png is not None:
            target = png if len(found) == 1 else png.with_stem(f"{png.stem}-{i}")
            draw.save(topology, target)
            typer.echo(f"drawn: {target}", err=as_json)


def _matrices(topology: "Topology") -> Any:
    """The connection matrix at the start, one per port where there are several; null where it is not one matrix."""
    from graphs import TopologyError

    found: dict[str, list[list[float]] | None] = {}
    for port in dict.fromkeys(port for block in topology.blocks for port in block.ports) or ("in",):
        try:
            found[port] = topology.matrix(port).tolist()
        except TopologyError:
            found[port] = None
    return found["in"] if list(found) == ["in"] else found


def _topologies(path: Path, experiment_file: Path | None) -> "tuple[list[tuple[str, Topology]], Experiment | None]":
    """The topology in a file, or one of each family of the experiment in it, each with a name; and what prices them."""
    from nas.experiment import Experiment
    from nas.facts import examples
    from search_space.document import read, read_topology

    if "ops" in read(path).data:
        topology = read_topology(path)
        return [("", topology)], None if experiment_file is None else Experiment.load(experiment_file)
    if experiment_file is not None:
        raise UserError(f"{path} is no topology; --experiment goes with one")
    experiment = Experiment.load(path)
    return list(examples(experiment)), experiment


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
    typer.echo(f"next: {shlex.join(['python', str(out / 'load.py')])}   (the card: {out}/card.md)")


def topology_text(point: Any) -> str:
    """A point's family and depth in words."""
    return f"{point['family']} at depth {point['depth']}"


@app.command()
def bench(
    what: Annotated[
        list[str] | None, typer.Argument(metavar="[KIND|TOPOLOGY.yaml]...", help="Default: dense and hyper.")
    ] = None,
    depth: Annotated[int, typer.Option(min=1, max=1000, help="Blocks; of a topology file its own.")] = 24,
    rows: Annotated[int, typer.Option(min=1, help="Tokens in a step (T).")] = 4096,
    dim: Annotated[int, typer.Option(min=1, help="Channels (d).")] = 256,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16 or float64.")] = "float32",
    device: Annotated[str, typer.Option(help="cpu or cuda; auto takes a GPU where there is one.")] = "auto",
    blocks: Annotated[str, typer.Option(help="mlp, or identity: the wiring alone.")] = "mlp",
    rounds: Annotated[int, typer.Option(min=1, help="Timed steps of each variant, taken in turns.")] = 7,
    as_json: AsJson = False,
) -> None:
    """Time wirings on this machine: whole training steps beside those of the plain residual network.

    Kinds: dense, ancre, attnres, hyper, hyper-dynamic, mhc. Values and gradients are compared first; where they differ
    nothing is timed. Beside the seconds stand the counted traffic of the wiring and the bound that its plan sets.

    Examples:
      wireloom bench
      wireloom bench dense --depth 48 --rows 16384 --dim 2048 --dtype bfloat16
      wireloom bench runs/digits/winner/topology.yaml --blocks identity
    """
    from graphs.memory import keep_memory
    from nas.bench import Settings, run_bench

    keep_memory()
    settings = Settings(depth, rows, dim, dtype, device, blocks, rounds)
    tables = run_bench(what or ["dense", "hyper"], settings, None if as_json else Console())
    if as_json:
        _print_json(tables)


@app.command()
def report(run: RunDir, as_json: AsJson = False) -> None:
    """Rebuild a run's tables, pictures and report.html from its event log, finished or not.

    Example: wireloom report runs/digits --json
    """
    from nas import holder
    from nas.views import Views

    views = Views.open(run)
    running = holder.held(run) and not views.ledger.ended
    found = views.write_all(refresh=views.experiment.report.refresh if running else None)
    views.check()
    if as_json:
        _print_json(views.summary(found))
        return
    from nas.progress import FrontTable

    Console().print(FrontTable(views.experiment, views.front, title="Pareto front"))
    typer.echo(f"{run}/report.html")


@app.command()
def audit(run: RunDir, as_json: AsJson = False) -> None:
    """Say whether early stopping would mislead: how a run's cheap rungs rank its topologies beside full training.

    Needs at least 10 topologies trained in full: a run without halving, or one with search.halving.audit. Prints
    Kendall's tau per rung with a bootstrap interval, how many of the final front a rung would have stopped, and a
    warning where that is not to be relied on. Writes nothing.

    Example: wireloom audit runs/digits
    """
    from nas.views import Views

    found = Views.open(run).audit
    if as_json:
        _print_json(found.to_dict())
        return
    for line in found.lines():
        typer.echo(line)


for _command in (status, doctor, train, propose):
    app.command()(_command)


def _print_json(data: Any) -> None:
    typer.echo(json.dumps(data, indent=1))


def main() -> None:
    """Entry point: user errors are one message and exit status 2, an interrupt is 130, a closed pipe 141."""
    interrupts.watch()
    try:
        app(standalone_mode=True, prog_name="wireloom")
    except SystemExit as end:
        if end.code == INTERRUPTED:
            interrupts.settle()
        elif _reader_left(end):
            sys.exit(PIPE_CLOSED)
        raise
    except KeyboardInterrupt:
        interrupts.settle()
        sys.exit(INTERRUPTED)
    except ValueError as error:
        from trainers.errors import TrainerError

        if not isinstance(error, UserError | TrainerError):
            raise
        typer.echo(f"wireloom: {error}", err=True)
        _end_at_once(error)
        sys.exit(BAD_INPUT)
    except OSError as error:  # a full disk, a folder that may not be written
        where = "" if error.filename is None else f"{error.filename}: "
        typer.echo(f"wireloom: {where}{error.strerror or error}", err=True)
        sys.exit(BAD_INPUT)


def _end_at_once(error: ValueError) -> None:
    """End the process where threads of ray wait for a cluster that is gone: they would hold it up, or crash it."""
    from nas.executors.cluster import ClusterGone

    if isinstance(error, ClusterGone):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(BAD_INPUT)


def _reader_left(end: SystemExit) -> bool:
    """Whether nobody reads what we print any more, as behind ``| head``; typer and rich make that an exit of 1."""
    broken = isinstance(end.__context__, BrokenPipeError)
    if broken:  # Python flushes once more at its end, and would complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return broken
