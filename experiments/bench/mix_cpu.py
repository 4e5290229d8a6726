"""What a learned dense average and static hyper-connections cost on this CPU: whole training steps, side by side.

    python experiments/bench/mix_cpu.py [--depths 24 48] [--rounds 7] [--threads N] [--compiled] [--no-record]

Blocks are LN-Linear(d, 2d)-GELU-Linear(2d, d) at T x d = 4096 x 256 in fp32. Values and gradients are compared first,
variants are timed in turns, figures are ratios of medians. Beside them stands what was counted: traffic of the wiring
in Td per edge (dense) and Td kept for the backward pass per block. ``hyper-connections`` from PyPI takes part where it
is installed; ``--compiled`` adds a whole-graph torch.compile of the eager sum (minutes). A row per variant is appended
to ``experiments/results/<date>-mix-cpu.csv``. As in the commands that train, freed memory stays in the process;
``WIRELOOM_KEEP_MEMORY=0`` leaves malloc as it is.
"""

import argparse
import csv
import datetime
import platform
import subprocess
from dataclasses import fields
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from graphs.bench import Figures, Shape, measured
from graphs.memory import keep_memory

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results"
TARGETS = {
    ("dense", 24): "fused: at most 1.25 x plain, at least 1.5 x faster than the eager sum",
    ("dense", 48): "fused: at most 1.15 x plain, at least 1.7 x faster than the eager sum; at most 1.15 Td an edge",
    ("hyper", 24): "fused: at least 3 x faster than hyper-connections; with identity blocks at least 5 x",
}


def compiled_too(models: dict[str, nn.Module]) -> None:
    """The baseline that compiles the whole graph of a plain sum."""
    if "eager sum" in models:
        models["compiled sum"] = torch.compile(models["eager sum"], fullgraph=True)


def commit() -> str:
    asked = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def show(kind: str, blocks: str, shape: Shape, figures: list[Figures]) -> None:
    edges = shape.depth * (shape.depth + 3) // 2 if kind == "dense" else shape.depth
    by_name = {one.name: one for one in figures}
    other = by_name.get("eager sum") or by_name.get("hyper-connections") or by_name["reference"]
    title = f"{kind}, {shape.depth} {blocks} blocks, {shape.rows} x {shape.dim}, {torch.get_num_threads()} threads"
    table = Table(title=title, caption=TARGETS.get((kind, shape.depth)))
    unit = "edge" if kind == "dense" else "block"
    for head in ("variant", "s", "x plain", f"{other.name} / it", "cpu s", "x", "/ it", f"Td/{unit}", "kept/block"):
        table.add_column(head, justify="left" if head == "variant" else "right")
    for one in figures:
        per = shape.depth if one.name == "plain" else edges
        values = (
            one.seconds,
            one.ratio,
            other.seconds / one.seconds,
            one.busy,
            one.busy / by_name["plain"].busy,
            other.busy / one.busy,
            one.traffic / per,
            one.kept / shape.depth,
        )
        table.add_row(one.name, *(f"{value:.3f}" for value in values))
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=["dense", "hyper"])
    parser.add_argument("--depths", type=int, nargs="+", default=[24, 48])
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--no-record", action="store_true")
    given = parser.parse_args()
    keep_memory()
    torch.set_num_threads(given.threads)
    for kind in given.kinds:
        for depth in given.depths:
            for blocks in ("mlp", "identity") if kind == "hyper" else ("mlp",):
                shape = Shape(depth, given.rows, given.dim)
                also = compiled_too if given.compiled else None
                figures = measured(kind, shape, rounds=given.rounds, blocks=blocks, also=also)
                show(kind, blocks, shape, figures)
                if not given.no_record:
                    record(kind, blocks, shape, figures, given.rounds)


def record(kind: str, blocks: str, shape: Shape, figures: list[Figures], rounds: int) -> None:
    path = RESULTS / f"{datetime.date.today()}-mix-cpu.csv"
    run = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "device": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "kind": kind,
        "blocks": blocks,
        "depth": shape.depth,
        "rows": shape.rows,
        "dim": shape.dim,
        "rounds": rounds,
    }
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, [*run, *(one.name for one in fields(Figures))])
        if new:
            writer.writeheader()
        for one in figures:
            row = {key: f"{value:.5g}" if isinstance(value, float) else value for key, value in one.as_dict().items()}
            writer.writerow(run | row)


if __name__ == "__main__":
    main()
