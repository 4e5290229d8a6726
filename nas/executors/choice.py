"""The executor that a command asks for, ready to be used. Ray is loaded only where it is asked for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from graphs.errors import UserError
from nas.executors import Executor
from nas.executors.cluster import by_client
from nas.executors.parcel import Parcel
from nas.experiment import Experiment
from nas.mirror import place_of
from nas.resources import share_of

EXECUTORS = ("serial", "ray")
CHECKPOINTS = "of-workers"  # where they are kept below the run's mirror, which has no files there itself


@dataclass(frozen=True, slots=True)
class Place:
    """Where a search is to run: the options ``--executor`` and ``--ray-address``. Raises UserError."""

    executor: str | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        if self.executor is not None and self.executor not in EXECUTORS:
            raise UserError(f"--executor {self.executor!r} is not one of: {', '.join(EXECUTORS)}")
        if self.executor == "serial" and self.address is not None:
            raise UserError("--ray-address goes with --executor ray; leave one of the two out")

    @property
    def options(self) -> list[str]:
        """The same as arguments of a command."""
        given = {"--executor": self.executor, "--ray-address": self.address}
        return [text for name, value in given.items() if value is not None for text in (name, value)]


@contextmanager
def opened(place: Place, experiment: Experiment, folder: Path, say: Callable[[str], None]) -> Iterator[Executor]:
    """The executor, let go of at the end; ``say`` is told what a user should know while it waits for machines.

    Checkpoints of workers that do not see the folder are kept in the experiment's storage, if it has one. Raises
    UserError where it cannot be had: ray is not installed, the cluster cannot be used, or that storage cannot.
    """
    if place.executor in (None, "serial") and place.address is None:
        from nas.executors.serial import SerialExecutor

        yield SerialExecutor()
        return
    from nas.search import check_reachable

    try:
        import nas.executors.ray as module
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "ray":
            raise
        raise UserError("--executor ray needs ray, which is not installed: pip install 'wireloom[search]'") from error
    # A GPU's share is derived from what the largest trial takes: of the points whose costs are looked at beforehand.
    peak = max(item.peak_bytes for item in check_reachable(experiment))
    store = None if experiment.storage is None else place_of(experiment.storage, folder).below(CHECKPOINTS)
    kind = module.ClientExecutor if by_client(place.address) else module.RayExecutor
    with kind(
        address=place.address,
        share=partial(share_of, experiment.resources, threads=experiment.train.threads, peak=peak),
        folder=folder,
        store=store,
        parcel=Parcel.of(experiment.data.source, {"function": experiment.backbone.function}),
        say=say,
    ) as executor:
        yield executor
