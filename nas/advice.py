"""What may be meant but is seldom wise: said before a search, and no error."""

from collections.abc import Iterator

from nas.experiment import RATIO, Experiment
from nas.objectives import GROWING
from nas.samplers.fit import caution


def advice(experiment: Experiment) -> Iterator[str]:
    """A sentence for each thing in an experiment that deserves a second thought."""
    metrics = [one.metric for one in experiment.objectives]
    if RATIO in metrics:
        floor = next(one.floor for one in experiment.objectives if one.metric == RATIO)
        yield (
            f"{RATIO} favours tiny networks: whatever reaches its floor ({floor:g}) best by shrinking wins; "
            "accuracy and flops as two objectives, or mnas with a target, say what is given up for what"
        )
    if not set(metrics) & set(GROWING):
        yield f"no objective is of quality ({', '.join(metrics)}): the cheapest network wins, whether or not it learns"
    doubt = caution(experiment.search, experiment.space, experiment.trials)
    if doubt is not None:
        yield doubt
