import hashlib

import numpy as np
import pytest

from trainers.catalogue import Source
from trainers.data import load
from trainers.sources.mnist1d import TRAIN, VALIDATION, generate, mnist1d

AUTHORS_LABELS = [2, 6, 4, 5, 6, 6, 6, 0, 3, 1, 6, 9]
AUTHORS_FIRST = [-0.33200566736, 0.68307808183, 0.25410828809, 0.09805558923, -1.09348571082]
AUTHORS_LAST = [
    -0.51932870782,
    -0.13949271059,
    -0.68931830785,
    -0.32793801500,
    -0.54001199284,
]
AUTHORS_HASH = "6feec4a017698c7f"


def test_the_signals_are_those_of_the_authors_package() -> None:
    """Values of `mnist1d.data.make_dataset(get_dataset_args())`, version 0.0.2, numpy 2.4 and scipy 1.17."""
    x, y = generate()
    assert x.shape == (5000, 40)
    assert y[:12].tolist() == AUTHORS_LABELS
    np.testing.assert_allclose(x[0, ::8], AUTHORS_FIRST, rtol=1e-9)
    np.testing.assert_allclose(x[4999, ::8], AUTHORS_LAST, rtol=1e-9)
    assert hashlib.sha256(y.astype("<i8").tobytes()).hexdigest()[:16] == AUTHORS_HASH


def test_the_test_part_is_the_authors_and_all_are_scaled_by_the_training_part() -> None:
    x, y = generate()
    found = mnist1d(Source("mnist1d"))
    assert [len(part.labels) for part in found.parts()] == [3000, 1000, 1000]
    assert (found.test.labels == y[4000:]).all()
    mean, deviation = x[:TRAIN].mean(), x[:TRAIN].std()
    np.testing.assert_allclose(found.test.inputs[:, 0, 0], (x[4000:] - mean) / deviation, rtol=1e-4, atol=1e-6)
    assert TRAIN + VALIDATION == 4000


def test_it_needs_no_seed_and_leaves_the_global_generator_alone() -> None:
    np.random.seed(1)
    before = np.random.get_state()[1].tolist()
    first = load("mnist1d").fingerprint
    assert np.random.get_state()[1].tolist() == before
    np.random.seed(2)
    assert load("mnist1d").fingerprint == first


def test_nearest_means_do_no_more_than_the_paper_says_of_a_linear_model() -> None:
    found = mnist1d(Source("mnist1d"))
    train, test = (part.inputs.reshape(len(part.inputs), -1) for part in (found.train, found.test))
    means = np.stack([train[found.train.labels == digit].mean(axis=0) for digit in range(10)])
    guess = ((test[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (guess == found.test.labels).mean() == pytest.approx(0.28, abs=0.1)
