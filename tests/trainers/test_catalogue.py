import re

import pytest

from trainers.catalogue import FACTS, describe
from trainers.data import READERS, Data, load_test
from trainers.errors import TrainerError


def test_the_facts_are_those_of_the_loaded_data(digits: Data) -> None:
    assert describe("digits") == {
        "image": digits.image,
        "channels": digits.channels,
        "classes": len(digits.train.labels.unique()),
        "train": len(digits.train.labels),
        "validation": len(digits.validation.labels),
        "test": len(load_test("digits").labels),
    }
    assert digits.train.inputs.shape[1:] == (digits.channels, *digits.image)


def test_every_dataset_is_described() -> None:
    assert FACTS.keys() == READERS.keys()


def test_a_caller_cannot_change_the_facts() -> None:
    describe("digits")["classes"] = 3
    assert describe("digits")["classes"] == 10


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    with pytest.raises(TrainerError, match=re.escape("choose from digits; did you mean 'digits'?")):
        describe("digit")
