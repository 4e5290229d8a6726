"""Sections of an experiment file that say what proposes beside the sampler."""

from typing import Literal

from pydantic import Field

from search_space.schema import Strict

MOST_SECONDS = 86_400
MOST_DEPTH = 1000
MOST_SAMPLES = 65_536


class Open(Strict):
    """The open door: at most a ``share`` of asks and trials beside the baselines come from files of other programs.

    When it is their turn the search waits ``wait`` seconds for one before the sampler has it.
    """

    share: float = Field(default=0.5, gt=0, le=1)
    wait: float = Field(default=0.0, ge=0, le=MOST_SECONDS)


class Gates(Strict):
    """One training of a gated super-network, from whose gates ``topologies`` are read and entered as trials.

    It costs ``budget`` times the budget of a trial. Every block and the output keep the ``fan_in`` edges of the
    greatest gates, in the second topology one fewer, and so on; with ``chain`` the edge from the block just before is
    always among them. ``depth`` is the space's greatest if left out; ``temperature`` is of softmax and
    top_k, whose gates are one for the ``fan_in`` greatest and zero for the others while it is trained.
    """

    kind: Literal["softmax", "learned", "top_k"] = "softmax"
    depth: int | None = Field(default=None, ge=1, le=MOST_DEPTH)
    budget: float = Field(default=1.0, gt=0, le=1000)
    fan_in: int = Field(default=3, ge=1, le=MOST_DEPTH)
    topologies: int = Field(default=1, ge=1, le=MOST_DEPTH)
    chain: bool = True
    temperature: float = Field(default=0.1, gt=0)


class Latency(Strict):
    """How a topology's inference is timed before it is trained: ``runs`` passes over ``batch`` samples."""

    batch: int = Field(default=1, ge=1, le=MOST_SAMPLES)
    runs: int = Field(default=15, ge=1, le=10_000)
