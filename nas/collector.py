"""Python's garbage collector while a search runs."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

OFTEN = 10_000  # new objects between two looks at them; what is in use while a topology is planned is gone by then


@contextmanager
def spared() -> Iterator[None]:
    """What exists already, modules above all, is not gone through again each time the collector looks for cycles.

    What becomes garbage inside is collected still, a little later.
    """
    if gc.get_freeze_count():  # by somebody further out, who ends it as well
        yield
        return
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(OFTEN, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
