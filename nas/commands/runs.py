"""The commands that look after a run's folder, beside the search that fills it."""

import json
import time
from typing import Annotated

import typer

from nas.commands.arguments import AsJson, RunDir


def status(
    run: RunDir,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every 2 s until the search ends.")] = False,
) -> None:
    """Say where a search stands: counts, front, hypervolume, budget, pace, and who drives it.

    Works while it runs, from any process or machine that sees the folder, and on one that was interrupted or has
    finished. Writes nothing. With --watch --json it prints one object a line.

    Example: wireloom status runs/digits --watch
    """
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from nas.standing import Standing
    from nas.status import Watch
    from nas.words import lines

    looking = Watch(run)
    if as_json:
        for found in looking.follow(time.sleep) if watch else [looking.look()]:
            typer.echo(json.dumps(found.to_dict(), indent=None if watch else 1))
        return

    def text(found: Standing) -> Text:
        return Text("\n".join(lines(found, looking.experiment.objectives)))

    console = Console()
    if not watch or not console.is_terminal:
        for found in looking.follow(time.sleep) if watch else [looking.look()]:
            console.print(text(found), soft_wrap=True)
        return
    with Live(console=console, auto_refresh=False) as live:
        for found in looking.follow(time.sleep):
            live.update(text(found), refresh=True)


def doctor(
    run: RunDir,
    as_json: AsJson = False,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended.")] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="The same, and make every view anew from the log.")
    ] = False,
) -> None:
    """List every disagreement of a run's folder with its event log, and mend it.

    Looks at the log, at what the sampler would be told, at weights, checkpoints and tracebacks, at tables, report and
    winner, at MLflow and at the mirror. Without a flag it writes nothing, also while the search runs. Exit status 0
    where all is well, 2 where something is left.

    Examples:
      wireloom doctor runs/digits
      wireloom doctor runs/digits --repair
    """
    from nas import doctor as clinic

    found = clinic.repair(run, rebuild=rebuild) if repair or rebuild else clinic.diagnose(run)
    typer.echo(json.dumps(found.to_dict(), indent=1) if as_json else "\n".join(found.lines()))
    if not found.healthy:
        raise typer.Exit(2)
