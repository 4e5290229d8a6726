"""Python's garbage collector while a search runs."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# New objects between two looks at them: few enough to be at hand still, which makes a look cheap, and hardly more than
# planning a topology takes. And how many looks at new objects there are to one at those that stayed: these are the
# search's history, and hardly ever garbage.
OFTEN, SELDOM = 2_000, 1_000


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
    gc.set_threshold(OFTEN, SELDOM, before[2])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
