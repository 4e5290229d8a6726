"""The job that trains a priced topology, of a trial or not."""

from collections.abc import Mapping
from typing import Any

from nas.experiment import Experiment
from nas.jobs import Job
from nas.pricing import Priced, backbone_options
from trainers.recipe import Recipe


def job_for(
    experiment: Experiment,
    plan: Priced,
    *,
    number: int,
    seed: int,
    topology: Mapping[str, Any] | None = None,
    report_at: tuple[int, ...] = (),
    **more: Any,
) -> Job:
    """A topology, or its JSON form where that is there, to be trained on ``seed``; ``more`` are fields of the job."""
    train = experiment.train
    return Job(
        number=number,
        topology=plan.topology.to_dict() if topology is None else topology,
        data=experiment.data.source,
        backbone=backbone_options(experiment),
        recipe=Recipe(train.batch, train.lr, train.warmup, train.weight_decay, train.clip, train.threads),
        seed=seed,
        steps=plan.steps,
        flops_per_step=plan.flops_per_step,
        report_at=report_at,
        seconds_limit=experiment.resources.seconds,
        **more,
    )
