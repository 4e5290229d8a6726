import re
import subprocess
import sys

import pytest

from trainers.catalogue import FACTS, OPTIONS, Source, describe, misuse, source_of
from trainers.data import Data, load
from trainers.errors import TrainerError
from trainers.sources import READERS


@pytest.mark.parametrize("kind", ["digits", "mnist1d"])
def test_the_facts_are_those_of_the_loaded_data(kind: str) -> None:
    data: Data = load(kind)
    assert describe(kind) == data.facts == FACTS[kind]
    assert data.train.inputs.shape[1:] == (data.facts["channels"], *data.facts["image"])
    assert data.train.labels.unique().tolist() == list(range(data.facts["classes"]))


def test_text_is_described_without_being_read() -> None:
    code = "from trainers.catalogue import describe; import sys; print(describe('stdlib'), 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'context': 128, 'classes': 256} False"
    assert describe(Source("stdlib", context=17)) == {"context": 17, "classes": 256}


def test_every_kind_has_options_and_a_reader() -> None:
    assert OPTIONS.keys() == READERS.keys()
    assert FACTS.keys() <= OPTIONS.keys()


def test_a_caller_cannot_change_the_facts() -> None:
    describe("digits")["classes"] = 3
    assert describe("digits")["classes"] == 10


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    with pytest.raises(TrainerError, match=re.escape("stdlib, text; did you mean 'digits'?")):
        describe("digit")


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (
            "digits",
            {"context": 5},
            "context: has no meaning for data kind 'digits', which takes nothing but its kind",
        ),
        ("npz", {}, "data kind 'npz': path: missing; add it, for example 'path: mine.npz'"),
        ("npz", {"path": "a", "function": "b:c"}, "function: has no meaning for data kind 'npz', which takes path"),
        ("text", {"context": 4}, "path: missing"),
        ("function", {}, "function: missing; add it, for example 'function: mine:load'"),
    ],
)
def test_options_that_do_not_fit_are_refused(kind: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(TrainerError, match=re.escape(message)):
        Source(kind, **options)  # type: ignore[arg-type]
    assert misuse(kind, options) is not None


def test_a_kind_alone_is_a_source() -> None:
    assert source_of("digits") == Source("digits") == source_of(Source("digits"))
    with pytest.raises(TrainerError, match="path: missing"):
        source_of("text")
