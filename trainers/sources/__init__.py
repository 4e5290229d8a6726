"""The datasets by kind, as numpy arrays with a fixed split. Needs no torch."""

from collections.abc import Callable
from functools import lru_cache

from trainers.catalogue import FACTS, Source
from trainers.sources.arrays import Arrays, Part
from trainers.sources.digits import digits
from trainers.sources.mnist1d import mnist1d
from trainers.sources.mnist5k import mnist5k
from trainers.sources.stdlib import stdlib
from trainers.sources.text import text
from trainers.sources.user import function, npz

__all__ = ["READERS", "Arrays", "Part", "read"]

READERS: dict[str, Callable[[Source], Arrays]] = {
    "digits": digits,
    "mnist5k": mnist5k,
    "mnist1d": mnist1d,
    "stdlib": stdlib,
    "text": text,
    "npz": npz,
    "function": function,
}


def read(source: Source) -> Arrays:
    """All parts of a dataset; TrainerError says what is wrong with it. Files and functions are read once a process."""
    return READERS[source.kind](source) if source.kind in FACTS else _held(source)


@lru_cache(maxsize=2)
def _held(source: Source) -> Arrays:
    return READERS[source.kind](source)
