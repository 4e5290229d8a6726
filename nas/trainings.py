"""The trainings of a confirmation as MLflow is told of them: each one more seed of its topology. No mlflow needed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphs import Topology
from nas import tracked
from nas.events import Event
from nas.records import Status, Trial
from nas.tracked import Measured

if TYPE_CHECKING:
    from nas.experiment import Experiment
    from nas.ledger import Ledger

SOURCE = "confirmation"  # the tag by which a person finds these runs
_METRICS = ("test_accuracy", "test_loss", "spent_flops", "seconds")


@dataclass(frozen=True, slots=True)
class Training:
    """One training of the log's ``event``; ``of`` is the trial that has the same topology.

    Where no trial has it, ``of`` is a record of the topology alone, whose costs and end mean nothing.
    """

    of: Trial
    event: Mapping[str, Any]

    @property
    def key(self) -> str:
        """What names it among those of its search."""
        share = "" if self._share is None else f"x{self._share:g}"
        return f"{self.of.digest}/c{self.event['seed']}{share}"

    @property
    def name(self) -> str:
        at = "" if self._share is None else f" at {self._share:g} of the budget"
        return f"fresh seed {self.event['seed']}{at}"

    @property
    def status(self) -> str:
        """MLflow's word for its end."""
        return "FAILED" if self.event["status"] in (Status.FAILED, Status.DIVERGED) else "FINISHED"

    def params(self) -> dict[str, str | float]:
        share = {} if self._share is None else {"budget_share": self._share}
        return tracked.params(self.of) | {"seed": self.event["seed"]} | share

    def tags(self) -> dict[str, str]:
        about = {"family": self.of.family, "digest": self.of.digest}
        return {"status": str(self.event["status"]), "source": SOURCE} | about

    def metrics(self) -> list[Measured]:
        """What was measured at its end, at step 0, by the names that a trial's run has."""
        found = {f"final_{name}": self.event.get(name) for name in ("accuracy", "loss")}
        found |= {name: self.event.get(name) for name in _METRICS}
        return [(name, float(value), 0) for name, value in found.items() if value is not None]

    def topology_metrics(self) -> list[Measured]:
        """The test split at the seed, for the topology's run, where seeds stand side by side; of whole budgets."""
        if self._share is not None:
            return []
        found = {name: self.event.get(name) for name in ("test_accuracy", "test_loss")}
        return [(name, float(value), self.event["seed"]) for name, value in found.items() if value is not None]

    @property
    def _share(self) -> float | None:
        share: float | None = self.event.get("share")
        return share


def trainings(experiment: "Experiment", ledger: "Ledger") -> Iterator[Training]:
    """Those that the log has, in its order."""
    for event in (*ledger.confirmed.values(), *ledger.budgets.values()):
        yield training(experiment, ledger, event)


def training(experiment: "Experiment", ledger: "Ledger", event: Event) -> Training:
    """The training of a ``confirm`` or ``curve`` event."""
    known = ledger.trials.get(-1 if event.get("trial") is None else event["trial"])
    return Training(_alone(experiment, event) if known is None else known, event)


def _alone(experiment: "Experiment", event: Event) -> Trial:
    """The record of the residual network that was no trial."""
    point = experiment.space.residual(event["depth"])
    topology: Topology = experiment.space.topology(point)
    return Trial(
        number=-1,
        status=Status.COMPLETE,
        source=SOURCE,
        family=event["family"],
        point=point.to_dict(),
        digest=event["digest"],
        seed=event["seed"],
        budget_flops=0.0,
        spent_flops=0.0,
        flops=0.0,
        parameters=0,
        traffic=0.0,
        topology=topology.to_dict() if topology.digest == event["digest"] else None,
    )
