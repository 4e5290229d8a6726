from itertools import islice

import pytest
import torch

from trainers.batches import batches


@pytest.mark.parametrize("batch", [1, 3, 7, 10, 17])
def test_full_batches_that_see_every_sample_once_per_epoch(batch: int) -> None:
    cut = list(islice(batches(7, batch, seed=0), 14))
    assert {len(indices) for indices in cut} == {batch}
    stream = torch.cat(cut)
    for start in range(0, len(stream) - 6, 7):
        assert sorted(stream[start : start + 7].tolist()) == list(range(7))


def test_epochs_differ_and_seeds_differ() -> None:
    first, second = islice(batches(50, 50, seed=0), 2)
    assert not torch.equal(first, second)
    assert not torch.equal(first, next(batches(50, 50, seed=1)))


def test_the_order_ignores_the_global_generator_and_leaves_it_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = next(batches(50, 8, seed=0))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(next(batches(50, 8, seed=0)), first)
