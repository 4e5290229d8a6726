"""How figures are shown to people: the unit of each metric, and a trial's name in a few words."""

import inspect
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from graphs.families import FAMILIES
from nas.records import Trial


@dataclass(frozen=True, slots=True)
class Unit:
    """How one metric is shown: ``label (symbol)`` on an axis, values times ``scale`` with ``digits`` decimals."""

    label: str
    symbol: str = ""
    scale: float = 1.0
    digits: int = 3

    @property
    def axis(self) -> str:
        return f"{self.label} ({self.symbol})" if self.symbol else self.label


UNITS = {
    "accuracy": Unit("validation accuracy", "%", 100.0, 2),
    "loss": Unit("validation loss", "nats per label", 1.0, 4),
    "validation_accuracy": Unit("validation accuracy", "%", 100.0, 2),
    "validation_loss": Unit("validation loss", "nats per label", 1.0, 4),
    "test_accuracy": Unit("test accuracy", "%", 100.0, 2),
    "test_loss": Unit("test loss", "nats per label", 1.0, 4),
    "train_loss": Unit("training loss", "nats per label", 1.0, 4),
    "flops": Unit("inference cost per sample", "MFLOPs", 1e-6, 3),
    "parameters": Unit("parameters", "thousands", 1e-3, 1),
    "traffic": Unit("wiring traffic", "passes over one hidden state", 1.0, 1),
    "memory": Unit("training memory, estimated", "MB", 1e-6, 1),
    "latency": Unit("latency", "ms", 1e3, 3),
    "seconds": Unit("training time", "s", 1.0, 1),
    "spent_flops": Unit("training compute", "GFLOPs", 1e-9, 2),
}


def unit(metric: str) -> Unit:
    """The unit of a metric; one we do not know is shown as it is, under its own name."""
    return UNITS.get(metric, Unit(metric.replace("_", " ")))


def show(metric: str, value: float | None, *, symbol: bool = True) -> str:
    """A value in its metric's unit, such as ``97.3 %``; a dash where there is none."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return str(value)
    shape = UNITS.get(metric)
    if shape is None:
        return f"{value:.5g}"
    text = f"{value * shape.scale:,.{shape.digits}f}"
    return f"{text} {shape.symbol}" if symbol else text


def difference(metric: str, value: float) -> str:
    """A signed difference of two values of a metric; those in percent differ by points."""
    shown = show(metric, abs(value)).replace("%", "points")
    return f"{'-' if value < 0 else '+'}{shown}"


def describe(trial: Trial, limit: int = 60) -> str:
    """The family and its settings in one line of at most ``limit`` characters, such as ``hyper depth=4``.

    Switches at their published setting and a wiring's priorities are left out: its edges are in its picture.
    """
    return describe_point(trial.family, trial.point, limit)


def describe_point(family: str, point: Mapping[str, object], limit: int = 60) -> str:
    """The same of a point that is no trial."""
    settings = (
        f"{_setting(key)}={_brief(value)}"
        for key, value in point.items()
        if key != "family" and ".priority." not in key and not _published(family, key, value)
    )
    text = " ".join([family or "no family", *settings])
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _setting(key: str) -> str:
    """A parameter by its own name; what the layers above a family add keeps theirs."""
    return key if key.startswith(("edits.", "gates.")) else key.rpartition(".")[2]


def _published(family: str, key: str, value: object) -> bool:
    """Whether a switch, such as ``dense.inner``, is where the paper has it."""
    if not isinstance(value, bool) or family not in FAMILIES:
        return False
    parameter = inspect.signature(FAMILIES[family]).parameters.get(key.rpartition(".")[2])
    return parameter is not None and parameter.default is value


def tell_apart(trials: Sequence[Trial], limit: int = 28) -> dict[int, str]:
    """Short names by trial number: the family, the depth if depths differ, settings that differ in the family."""
    families: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        families[trial.family].append(trial)
    names = {}
    for members in families.values():
        keys = dict.fromkeys(key for trial in members for key in trial.point if key != "family")
        several = [
            key for key in keys if len({one.point.get(key) for one in (trials if key == "depth" else members)}) > 1
        ]
        for trial in members:
            point = {key: value for key, value in trial.point.items() if key in several}
            names[trial.number] = describe(replace(trial, point=point), limit)
    return names


def _brief(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
