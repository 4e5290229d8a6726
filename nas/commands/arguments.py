"""Arguments that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

RunDir = Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]
INTERRUPTED = 130  # the exit status
