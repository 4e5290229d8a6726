"""``wireloom bench``: the table of :mod:`graphs.bench` on the user's machine, in the user's shapes."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from graphs import Topology
from nas.errors import BenchError

if TYPE_CHECKING:
    from graphs.bench import Figures, Shape

DTYPES = ("float32", "bfloat16", "float16", "float64")
BLOCKS = ("mlp", "identity")


@dataclass(frozen=True)
class Settings:
    """The options of the command."""

    depth: int
    rows: int
    dim: int
    dtype: str
    device: str
    blocks: str
    rounds: int


def run_bench(what: list[str], settings: Settings, console: Console | None) -> list[dict[str, Any]]:
    """Measure each kind or topology file; print a table as each is done. BenchError for what cannot be measured."""
    from graphs.bench import KINDS

    chosen: list[tuple[str, str | Topology]] = []
    for name in what:
        if name in KINDS:
            chosen.append((name, name))
        elif Path(name).exists():
            chosen.append((name, Topology.load(name)))
        else:
            raise BenchError(f"{name!r} is neither a file nor one of {', '.join(KINDS)}")
    tables = []
    for name, kind in chosen:
        shape = _shape(settings, kind)
        if console is None:
            figures = _measured(kind, shape, settings, None)
        else:
            with console.status(f"{name}: comparing values and gradients") as status:

                def progress(turn: int, rounds: int, variant: str, name: str = name) -> None:
                    status.update(f"{name}: {'warming up' if not turn else f'round {turn} of {rounds}'}, {variant}")

                figures = _measured(kind, shape, settings, progress)
            console.print(_table(name, shape, settings, figures))
        tables.append({"what": name, "depth": shape.depth, "figures": [one.as_dict() for one in figures]})
    return tables


def _measured(kind: str | Topology, shape: "Shape", settings: Settings, progress: Any) -> "list[Figures]":
    from graphs.bench import measured

    return measured(kind, shape, rounds=settings.rounds, blocks=settings.blocks, progress=progress)


def _shape(settings: Settings, kind: str | Topology) -> "Shape":
    import torch

    from graphs.bench import Shape

    for value, allowed, option in (
        (settings.dtype, DTYPES, "--dtype"),
        (settings.blocks, BLOCKS, "--blocks"),
        (settings.device, ("auto", "cpu", "cuda"), "--device"),
    ):
        if value not in allowed:
            raise BenchError(f"{option} is {value!r}; it can be {', '.join(allowed)}")
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise BenchError(
            "--device is 'cuda', and torch finds no GPU here; --device cpu runs on this machine's processor"
        )
    depth = settings.depth if isinstance(kind, str) else kind.depth
    return Shape(depth, settings.rows, settings.dim, getattr(torch, settings.dtype), device)


def _table(name: str, shape: "Shape", settings: Settings, figures: "list[Figures]") -> Table:
    title = f"{name}: {shape.depth} {settings.blocks} blocks, {shape.rows} x {shape.dim}, {settings.dtype}"
    table = Table(title=f"{title} on {shape.device}", caption="medians of training steps; Td: one pass over one state")
    for head in ("variant", "ms", "x plain", "moved Td", "bound Td", "bound ms", "kept Td"):
        table.add_column(head, justify="left" if head == "variant" else "right")
    for one in figures:
        bound = ("-", "-") if one.bound is None else (f"{one.bound:.0f}", f"{1e3 * (one.bound_seconds or 0):.1f}")
        row = (one.name, f"{1e3 * one.seconds:.1f}", f"{one.ratio:.3f}", f"{one.traffic:.0f}", *bound)
        table.add_row(*row, f"{one.kept:.0f}")
    return table
