"""The other processes of a trial that several train together: what each does, and what the first one needs of them."""

import torch

from graphs import Topology
from nas.evaluate import build_model, dataset, out_of_memory
from nas.jobs import Job
from trainers.errors import Diverged, TeamError
from trainers.loop import train
from trainers.team import join


class RankFailed(RuntimeError):
    """One of the other processes of a trial came to grief by itself."""


def follow(job: Job, *, rank: int, size: int, host: str, port: int) -> None:
    """Train a job's model on part ``rank`` of its batches, until the first process, at ``host`` and ``port``, is done.

    What ends the trial there too is no error here: a loss that is not finite, a process that has gone. Raises
    RankFailed where it ends here alone.
    """
    try:
        data = dataset(job.data)
        model = build_model(Topology.from_dict(dict(job.topology)), job.backbone, seed=job.seed, **data.facts)
        with join(host, port, rank, size, job.device) as team:
            training = train(
                model.to(job.device),
                data,
                job.recipe,
                steps=job.steps,
                seed=job.seed,
                report_at=job.report_at,
                team=team,
            )
            for _ in training:
                raise AssertionError("only the first process reports")
    except (Diverged, TeamError):
        pass
    except Exception as error:
        what = "out of memory" if out_of_memory(error) else type(error).__name__
        raise RankFailed(f"{what}: {error}") from error
    finally:
        if job.device != "cpu":
            torch.cuda.empty_cache()
