import sys
from collections import Counter
from dataclasses import fields

import pytest
import torch
from sklearn.datasets import load_digits

from trainers.catalogue import Source
from trainers.data import Data, Split, load, load_test
from trainers.errors import TrainerError


def rows(split: Split) -> list[tuple[float, ...]]:
    return [tuple(image.flatten().tolist()) for image in split.inputs]


def test_the_parts_are_disjoint_and_together_are_everything(digits: Data) -> None:
    # No two of the 1797 images are equal, so images stand for samples.
    parts = [rows(split) for split in (digits.train, digits.validation, load_test("digits"))]
    assert sum(len(part) for part in parts) == len(set().union(*parts)) == 1797


def test_a_sixth_of_every_class_is_trained_on_and_the_rest_halved(digits: Data) -> None:
    whole = Counter(load_digits().target.tolist())
    train, validation, test = (
        Counter(split.labels.tolist()) for split in (digits.train, digits.validation, load_test("digits"))
    )
    for label, count in whole.items():
        assert (train[label], validation[label]) == (count // 6, (count - count // 6) // 2)
        assert train[label] + validation[label] + test[label] == count


def test_images_keep_their_labels(digits: Data) -> None:
    raw = load_digits()
    label_of = {tuple(pixels): label for pixels, label in zip(raw.data.tolist(), raw.target, strict=True)}
    low, high = digits.train.inputs.min(), digits.train.inputs.max()
    for split in (digits.train, digits.validation, load_test("digits")):
        # Pixels are whole numbers from 0 to 16, and both ends occur in the training part.
        pixels = ((split.inputs - low) / (high - low) * 16).round().flatten(1)
        assert [label_of[tuple(image)] for image in pixels.tolist()] == split.labels.tolist()


def test_pixels_are_scaled_by_training_statistics(digits: Data) -> None:
    pixels = digits.train.inputs.double()
    assert abs(pixels.mean()) < 1e-6
    assert abs(pixels.std(correction=0) - 1) < 1e-6
    # Had it statistics of its own, the validation part would be centred just as well.
    assert abs(digits.validation.inputs.double().mean()) > 1e-4


def test_types_and_fingerprint_are_fixed(digits: Data) -> None:
    assert digits.fingerprint == "eb5c203e5be02ba6"
    assert digits.train.inputs.dtype == torch.float32
    assert digits.train.labels.dtype == torch.int64


def test_what_load_returns_holds_no_test_sample() -> None:
    data = load("digits")
    held = [getattr(data, field.name) for field in fields(data)]
    splits = [value for value in held if isinstance(value, Split)]
    assert len(splits) == 2
    for tensor in (tensor for split in splits for tensor in (split.inputs, split.labels)):
        # Nor does the memory behind a tensor reach beyond it.
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    test = set(rows(load_test("digits")))
    assert not any(test.intersection(rows(split)) for split in splits)


def test_without_scikit_learn_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(TrainerError, match=r"pip install 'wireloom\[search\]'"):
        load("digits")


@pytest.mark.parametrize("opener", [load, load_test])
def test_an_unknown_kind_is_refused(opener: object) -> None:
    assert callable(opener)
    with pytest.raises(TrainerError, match="did you mean 'digits'"):
        opener("digts")


def test_a_source_and_its_kind_alone_are_the_same_data(digits: Data) -> None:
    same = load(Source("digits"))
    assert (same.name, same.fingerprint, same.files) == ("digits", digits.fingerprint, {})
    assert torch.equal(same.train.inputs, digits.train.inputs)
