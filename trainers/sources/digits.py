"""scikit-learn's digits: 1,797 images of 8 x 8, few to train on and many to measure by."""

import numpy as np

from trainers.catalogue import Source
from trainers.errors import TrainerError
from trainers.sources.arrays import Arrays, images, stratified


def digits(source: Source) -> Arrays:
    """A sixth of every class is trained on, and the rest halved."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise TrainerError("data kind 'digits' needs scikit-learn: pip install 'wireloom[search]'") from error
    pixels, labels = load_digits(return_X_y=True)
    pixels = pixels.astype(np.int64).reshape(-1, 1, 8, 8)
    labels = labels.astype(np.int64)
    return images(pixels, labels, stratified("digits", labels, (1, 6)))
