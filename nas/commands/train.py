"""``wireloom train``."""

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from nas.commands.arguments import INTERRUPTED, AsJson
from nas.jobs import Report


def train(
    topology_file: Annotated[Path, typer.Argument(metavar="TOPOLOGY.yaml", help="What to train.")],
    experiment_file: Annotated[
        Path, typer.Option("--experiment", metavar="EXPERIMENT.yaml", help="Data, backbone, recipe, budget and seed.")
    ],
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of data order and weights.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where it goes; default runs/NAME-DIGEST-sSEED.")] = None,
    resume: Annotated[bool, typer.Option(help="Continue an interrupted training, to the same bits.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train one topology by an experiment's recipe, with fused kernels, and write a model to use.

    Ctrl-C stops at any time and loses nothing: the same command with --resume continues. The test split is opened once,
    at the end.

    Example: wireloom train runs/digits/winner/topology.yaml --experiment experiments/digits.yaml --seed 7
    """
    from graphs.memory import keep_memory
    from nas.experiment import Experiment
    from nas.train import Said, default_folder, train_topology
    from search_space.document import read_topology

    keep_memory()
    topology = read_topology(topology_file)
    experiment = Experiment.load(experiment_file)
    if seed is not None:
        experiment = experiment.replace(seed=seed)
    path = default_folder(experiment, topology) if out is None else out
    again = ["wireloom", "train", str(topology_file), "--experiment", str(experiment_file), "--out", str(path)]
    again += ([] if seed is None else ["--seed", str(seed)]) + ["--resume"]
    console = Console(stderr=as_json)
    console.print(f"folder: [bold]{escape(str(path))}[/]  (Ctrl-C stops; --resume continues)", soft_wrap=True)
    columns = [TextColumn("step"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    bar = Progress(*columns, TimeRemainingColumn(compact=True), console=console, disable=not console.is_terminal)
    task = bar.add_task("training", total=None)

    def step(number: int, steps: int) -> None:
        bar.update(task, completed=number, total=steps)

    def report(found: Report) -> None:
        again = "  (from before)" if found.kept else ""
        text = f"step {found.step:>7,}  train loss {found.train_loss:.4f}  validation loss {found.loss:.4f}"
        console.print(f"{text}  accuracy {found.accuracy:.4f}{again}", highlight=False, soft_wrap=True)

    def note(text: str) -> None:
        console.print(escape(text), style="yellow", soft_wrap=True)

    try:
        with bar:
            done = train_topology(topology, experiment, path, resumed=resume, said=Said(note, step, report))
    except KeyboardInterrupt:
        text = f"interrupted; nothing is lost. Continue with:\n  {shlex.join(again)}"
        if not (path / "training.jsonl").exists():
            text = "interrupted before the training began; the same command starts it"
        console.print(f"\n{escape(text)}", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        typer.echo(json.dumps({"out": str(path), **asdict(done)}, indent=1))
        return
    typer.echo(f"trained: {topology}, digest {done.digest}, seed {done.seed}, {done.steps:,} steps")
    typer.echo(f"validation accuracy {done.accuracy!r}, test accuracy {done.test_accuracy!r}")
    typer.echo(f"next: {shlex.join(['python', str(path / 'load.py')])}   (the card: {path}/card.md)")
