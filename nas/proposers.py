"""What proposes before the sampler does, as far as an experiment asks for it."""

from pathlib import Path
from typing import TYPE_CHECKING

from nas.gates import GateReader
from nas.open_door import OpenDoor
from nas.proposal import Proposer
from nas.samplers.known import Rank
from nas.warm import Rerun

if TYPE_CHECKING:
    from nas.experiment import Experiment


def proposers_of(experiment: "Experiment", folder: Path, rank: Rank) -> tuple[Proposer, ...]:
    """The proposers in the order in which they are asked, after the baselines and before the sampler.

    ``rank`` turns objectives into a vector to be minimised.
    """
    found: list[Proposer] = []
    if experiment.search.rerun:
        found.append(Rerun(experiment.search.rerun, rank))
    if experiment.search.gates is not None:
        found.append(GateReader(experiment))
    if experiment.search.open is not None:
        found.append(OpenDoor(experiment, folder))
    return tuple(found)
