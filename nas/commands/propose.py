"""``wireloom propose``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from nas.commands.arguments import AsJson, RunDir


def propose(
    run: RunDir,
    topology: Annotated[Path, typer.Argument(metavar="TOPOLOGY.yaml", help="A topology, edges, or a point.")],
    wait: Annotated[bool, typer.Option(help="Wait for the last word of the search on it, and print that.")] = False,
    timeout: Annotated[float | None, typer.Option(min=0, help="Give up waiting after so many seconds.")] = None,
    as_json: AsJson = False,
) -> None:
    """Propose a topology to a search whose file has search.open, running or yet to be continued.

    DIR/proposals/README.md says what a file may hold; other programs may write it there themselves.

    Example: wireloom propose runs/digits mine.yaml --wait --json
    """
    from nas import propose as proposals

    proposed = proposals.propose(run, topology)
    found = proposals.wait(run, proposed, seconds=timeout) if wait else None
    if as_json:
        typer.echo(
            json.dumps(
                found or {"name": proposed.name, "proposal": str(proposed.file), "result": str(proposed.result)},
                indent=1,
            )
        )
    elif found is None:
        typer.echo(f"proposed as {proposed.name}; what becomes of it will be in {proposed.result}")
    else:
        typer.echo(proposals.sentence(found))
