"""``trials.csv`` and ``pareto.csv``: one row per trial, floats written so that they read back exactly."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from nas.files import replace_file
from nas.front import Objective
from nas.records import Trial
from nas.volume import Volume

_FIRST = ("number", "status", "family", "digest", "seed", "budget_flops")
_COSTS = ("flops", "parameters", "seconds")
_EXTRAS = ("accuracy", "loss", "traffic", "spent_flops", "source", "reason")


def columns(objectives: Sequence[Objective]) -> tuple[str, ...]:
    """The header: a metric that is an objective and a field of a trial as well has one column."""
    metrics = [one.metric for one in objectives if one.metric not in _COSTS]
    return tuple(dict.fromkeys((*_FIRST, *metrics, *_COSTS, *_EXTRAS)))


def write_trials(path: Path, trials: Iterable[Trial], objectives: Sequence[Objective]) -> None:
    """Replace ``path`` by a table of all trials in the order of their numbers; raises OSError."""
    replace_file(path, text(sorted(trials, key=lambda trial: trial.number), objectives).encode())


def write_pareto(path: Path, front: Sequence[Trial], objectives: Sequence[Objective]) -> None:
    """Replace ``path`` by the same table of the front, in the order given; raises OSError."""
    replace_file(path, text(front, objectives).encode())


def write_volume(path: Path, volume: Volume) -> None:
    """Replace ``path`` by how the hypervolume grew, a row per trial that enlarged it; raises OSError."""
    replace_file(path, volume_text(volume).encode())


def volume_text(volume: Volume) -> str:
    """What :func:`write_volume` writes."""
    header = ("number", "trials", "training_flops", "hypervolume")
    rows = [(one.number, one.trials, one.flops, one.value) for one in volume.curve]
    return _text(header, rows)


def text(trials: Sequence[Trial], objectives: Sequence[Objective]) -> str:
    """What the tables of trials hold, in the order given."""
    header = columns(objectives)
    return _text(header, ([value_of(trial, column) for column in header] for trial in trials))


def read_trials(path: Path) -> list[dict[str, str]]:
    """The rows of either table as text by column, empty where there was no value; raises OSError."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def value_of(trial: Trial, column: str) -> object:
    """What a trial has under a column's name: its own field, else the objective of that name, else None."""
    own = getattr(trial, column, None)
    return trial.objectives.get(column) if own is None else own


def _text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO(newline="")
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(header)
    table.writerows([_cell(value) for value in row] for row in rows)
    return buffer.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return float.__repr__(value)  # a NumPy float is one too, and its own repr names its type
    return " ".join(str(value).split())
