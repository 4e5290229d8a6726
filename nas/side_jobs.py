"""Trainings that are no trials: gates, replicas for the seed noise, confirmation. Each runs until it says something."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from nas.executors import Executor
from nas.jobs import Job, Outcome, Report

Heard = Callable[[Job, Report | Outcome], None]


def run(
    executor: Executor,
    following: Callable[[], Report | Outcome],
    jobs: Iterable[Job],
    *,
    retries: int,
    heard: Heard | None = None,
) -> Iterator[tuple[Job, Outcome]]:
    """Run jobs, each with a number of its own, on all slots, and give each with its outcome as it ends.

    ``following`` gives the executor's next message. A job whose worker died is run again up to ``retries`` times, and
    failed then. ``heard`` is told each report, and each outcome behind which a job is run again.
    """
    waiting, again = iter(jobs), list[Job]()
    running: dict[int, Job] = {}
    lost: Counter[int] = Counter()
    while True:
        while len(running) < executor.slots:
            job = again.pop() if again else next(waiting, None)
            if job is None:
                break
            assert job.number not in running, "each job needs a number of its own"
            running[job.number] = job
            executor.submit(replace(job, last=lost[job.number] >= retries))
        if not running:
            return
        message = following()
        if isinstance(message, Report):
            if heard is not None:
                heard(running[message.number], message)
            continue
        job = running.pop(message.number)
        if message.kind == "lost":
            lost[job.number] += 1
            if lost[job.number] <= retries:
                if heard is not None:
                    heard(job, message)
                again.append(job)
                continue
            message = given_up(lost[job.number], message)
        yield job, message


def given_up(times: int, outcome: Outcome) -> Outcome:
    """The failure that stands for a worker's last death of ``times``."""
    return replace(outcome, kind="failed", reason=f"its worker died {times} times: {outcome.reason}")
