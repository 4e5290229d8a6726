"""What a trial is in MLflow's terms: its params, tags, metrics and the names of its runs. No mlflow needed."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from nas.records import CurvePoint, Status, Trial

Measured = tuple[str, float, int]  # name, value, step

_CURVE = ("train_loss", "accuracy", "loss")
_PARAMS, _PARAM_LENGTH, _REASON = 15, 100, 500  # MLflow's page turns slow with more, and values unreadable


def params(trial: Trial) -> dict[str, str | float]:
    """The family, the depth and the family's own numbers: few and short, never a matrix."""
    depth = trial.point.get("depth", (trial.topology or {}).get("depth"))
    first = {"family": trial.family} | ({} if depth is None else {"depth": depth})
    every = {name: str(value) for name, value in (first | dict(trial.point)).items()}
    return dict([(name, value) for name, value in every.items() if len(value) <= _PARAM_LENGTH][:_PARAMS])


def tags(trial: Trial) -> dict[str, str]:
    """The words by which a person filters runs."""
    found = {"status": str(trial.status), "family": trial.family, "digest": trial.digest, "source": trial.source}
    return found | ({} if trial.reason is None else {"reason": trial.reason[:_REASON]})


def live_tags(trial: Trial) -> dict[str, str]:
    """The same words while it runs."""
    return {**tags(trial), "status": "RUNNING"}


def running(asked: Mapping[str, Any], points: Iterable[CurvePoint]) -> Trial:
    """A trial under way, of the ask's event and its curve so far, as a record whose status means nothing yet."""
    return Trial(
        number=asked["number"],
        status=Status.PRUNED,
        source=asked["source"],
        family=str(asked["point"]["family"]),
        point=asked["point"],
        digest=asked["digest"],
        seed=asked["seed"],
        budget_flops=asked["budget_flops"],
        spent_flops=0.0,
        flops=asked["flops"],
        parameters=asked["parameters"],
        traffic=asked["traffic"],
        curve=tuple(points),
        topology=asked.get("topology"),
    )


def status(trial: Trial) -> str:
    """MLflow's word for how a trial ended: a bad topology is a finished run, a crash is not."""
    return "FAILED" if trial.status in (Status.FAILED, Status.DIVERGED) else "FINISHED"


def files(trial: Trial, picture: bytes | None) -> dict[str, bytes | str]:
    """The artifacts of the trial's topology by name; ``picture`` is a PNG."""
    found: dict[str, bytes | str] = {}
    if trial.topology is not None:
        found["topology.json"] = json.dumps(trial.topology, indent=1)
    if picture is not None:
        found["topology.png"] = picture
    return found


def seed_metrics(trial: Trial) -> list[Measured]:
    """The learning curve by training step, and the final costs and results at step 0."""
    return [*curve(trial), *((name, value, 0) for name, value in (_costs(trial) | _results(trial)).items())]


def curve(trial: Trial) -> list[Measured]:
    """The learning curve by training step."""
    every = [(name, getattr(point, name), point.step) for point in trial.curve for name in _CURVE]
    return [(name, value, step) for name, value, step in every if value is not None]


def topology_metrics(trial: Trial) -> list[Measured]:
    """The costs of the topology, and the trial's objectives at its number: so its seeds stand side by side."""
    costs = _costs(trial)
    objectives = [(name, value, trial.number) for name, value in trial.objectives.items() if name not in costs]
    return [*((name, value, 0) for name, value in costs.items()), *objectives]


def _costs(trial: Trial) -> dict[str, float]:
    return {"flops": trial.flops, "parameters": float(trial.parameters), "traffic": trial.traffic}


def _results(trial: Trial) -> dict[str, float]:
    """Final values by name; those that are a curve as well are called ``final_...`` to leave it alone."""
    own = {"accuracy": trial.accuracy, "loss": trial.loss, "seconds": trial.seconds, **trial.objectives}
    return {f"final_{name}" if name in _CURVE else name: value for name, value in own.items() if value is not None}
