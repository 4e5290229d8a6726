"""MNIST-1D (Greydanus and Kobak, 2020, arXiv:2011.14439): 5,000 signals of length 40 in ten classes, generated.

Each is a template of a digit, padded, scaled, shifted and sheared, with correlated and white noise. Constants, order of
draws and seed are those of the authors' package mnist1d 0.0.2, so the numbers are those of its `make_dataset`.
"""

import numpy as np

from trainers.catalogue import Source
from trainers.sources.arrays import Arrays, images

SAMPLES, LENGTH, SEED = 5000, 40, 42
PADDING = (36, 60)
SCALE, SHIFT, SHEAR = 0.4, 48, 0.75
CORRELATED, WHITE = 0.25, 2e-2
EPSILON = 1e-8  # keeps a template's own zeros apart from those of the padding
TEMPLATES = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)
# The authors split 4,000 to 1,000; their test part stays, and a quarter of the rest is selected by.
TRAIN, VALIDATION = 3000, 1000


def mnist1d(source: Source) -> Arrays:
    """3,000 to train on, 1,000 to select by, and the authors' 1,000 test signals, as images of height 1."""
    x, y = generate()
    split = np.split(np.arange(SAMPLES), [TRAIN, TRAIN + VALIDATION])
    return images(x[:, None, None, :], y, tuple(split))


def generate() -> tuple[np.ndarray, np.ndarray]:
    """Signals (5000, 40) in float64 and their digits (5000,), in the authors' order."""
    random = np.random.RandomState(SEED)
    templates = np.array(TEMPLATES)
    templates -= templates.mean(axis=1, keepdims=True)
    templates /= templates.std(axis=1, keepdims=True)
    templates = (templates - templates[:, :1]) / 6
    each = SAMPLES // len(templates)
    x = np.stack([_signal(template, random) for template in templates for _ in range(each)])
    y = np.repeat(np.arange(len(templates)), each)
    order = random.permutation(SAMPLES)
    x, y = x[order], y[order]
    return (x - x.mean()) / x.std(), y


def _signal(template: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    low, high = PADDING
    length = len(template) + high
    zeros = low + int(random.rand() * (high - low + 1))
    x = _resampled(np.concatenate([template + EPSILON, np.zeros(zeros)]), length)
    x *= 1 + SCALE * (random.rand() - 0.5)
    shift = random.choice(SHIFT)
    x = np.concatenate([x[-shift:], x[:-shift]])
    mask = x != 0
    x = mask * x + (1 - mask) * _smoothed(CORRELATED * random.randn(length))
    x = x + WHITE * random.randn(length)
    x = x - SHEAR * (random.rand() - 0.5) * np.linspace(-0.5, 0.5, length)
    return _resampled(x, LENGTH)


def _resampled(x: np.ndarray, length: int) -> np.ndarray:
    """Linear interpolation at ``length`` points."""
    points: np.ndarray = np.interp(np.linspace(0, 1, length), np.linspace(0, 1, len(x)), x)
    return points


def _smoothed(x: np.ndarray, sigma: float = 2.0) -> np.ndarray:
    """A Gaussian filter cut off at four sigma over the signal mirrored at its ends, as scipy.ndimage's."""
    radius = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return np.convolve(np.pad(x, radius, mode="symmetric"), weights / weights.sum(), mode="valid")
