"""Sections of an experiment file that say what proposes beside the sampler."""

from pydantic import Field

from search_space.schema import Strict

MOST_SECONDS = 86_400


class Open(Strict):
    """The open door: at most a ``share`` of asks and trials beside the baselines come from files of other programs.

    When it is their turn the search waits ``wait`` seconds for one before the sampler has it.
    """

    share: float = Field(default=0.5, gt=0, le=1)
    wait: float = Field(default=0.0, ge=0, le=MOST_SECONDS)
