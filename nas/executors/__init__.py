"""Where trials run. An executor only places work; the study owns the trials."""

from typing import Protocol

from nas.jobs import Job, Outcome, Report


class Executor(Protocol):
    """Runs up to ``slots`` jobs at a time and hands back what they say, one message at a time."""

    @property
    def slots(self) -> int:
        """How many jobs may be under way; may change while they are."""
        ...

    def submit(self, job: Job) -> None:
        """Start a job; at most ``slots`` are under way at once."""
        ...

    def next(self) -> Report | Outcome:
        """The next message of a running job; waits for one. A Report that asks must be answered."""
        ...

    def ready(self, seconds: float) -> bool:
        """Whether :meth:`next` need not wait; waits for that up to so many seconds.

        An executor whose jobs run inside :meth:`next` is always ready.
        """
        ...

    def answer(self, number: int, go_on: bool) -> None:
        """Whether the job that asked is to go on."""
        ...

    def close(self) -> None:
        """Stop what runs and let go of what is held."""
        ...
