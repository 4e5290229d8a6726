"""The order in which samples are seen: a function of the seed alone, so that every model sees the same."""

import itertools
from collections.abc import Iterator

import torch

from trainers.seeding import generator


def batches(count: int, batch: int, seed: int, start: int = 0) -> Iterator[torch.Tensor]:
    """Endless index batches, int64 (batch,), cut from the permutations of epochs 0, 1, ... laid end to end.

    Each sample comes once per epoch and every batch is full; a batch may span the seam of two epochs. The first
    ``start`` batches are skipped without drawing the epochs that they fill.
    """
    first, seen = divmod(start * batch, count)
    waiting = torch.empty(0, dtype=torch.int64)
    for epoch in itertools.count(first):
        shuffled = torch.randperm(count, generator=generator("epoch", seed, epoch))
        waiting = torch.cat((waiting, shuffled[seen:] if epoch == first else shuffled))
        while len(waiting) >= batch:
            yield waiting[:batch]
            waiting = waiting[batch:]
