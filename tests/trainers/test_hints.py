import dataclasses
import math
import re
from typing import Any

import pytest

from trainers.errors import TrainerError
from trainers.hints import KNOWN, PLAIN, BlockHints, check


def test_without_hints_every_block_is_plain() -> None:
    assert check(None, 3) == check({}, 3) == check({2: {}}, 3) == (PLAIN, PLAIN, PLAIN)
    assert set(dataclasses.asdict(PLAIN).values()) == {1.0}


def test_hints_come_in_the_order_of_the_blocks() -> None:
    assert check({3: {"lr_scale": 0.5}, 1: {"pre_norm": 0, "init_scale": 2}}, 4) == (
        BlockHints(pre_norm=0.0, init_scale=2.0),
        PLAIN,
        BlockHints(lr_scale=0.5),
        PLAIN,
    )


def test_every_hint_is_described_and_has_a_place() -> None:
    assert list(KNOWN) == [field.name for field in dataclasses.fields(BlockHints)]
    for hint in KNOWN.values():
        assert re.fullmatch(r"[^.]+\.", hint.does.replace("N.", "N")), "one sentence"
        assert re.search(r"\b\d{4}\.\d{5}\b", hint.source), "a source that can be looked up"


@pytest.mark.parametrize("name", KNOWN)
def test_the_bounds_of_what_is_legal(name: str) -> None:
    legal = {"0 or 1": (0, 1, 0.0, 1.0), "0 or more": (0, 1e-9, 7), "more than 0": (1e-9, 1, 7.5)}
    for value in legal[KNOWN[name].legal]:
        assert getattr(check({1: {name: value}}, 1)[0], name) == value
    illegal = {"0 or 1": (0.5, -1, 2), "0 or more": (-1e-9,), "more than 0": (0, -0.0, -1)}
    for value in (*illegal[KNOWN[name].legal], math.nan, math.inf, -math.inf, 10**400):
        with pytest.raises(TrainerError, match=re.escape(f"{name!r} of block 1 must be ") + ".*" + KNOWN[name].legal):
            check({1: {name: value}}, 1)


@pytest.mark.parametrize(
    ("hints", "message"),
    [
        ({0: {}}, "there is no block 0 to give hints to: blocks are numbered 1 to 4"),
        ({5: {"lr_scale": 1.0}}, "there is no block 5"),
        ({"1": {}}, "there is no block '1'"),
        ({True: {}}, "there is no block True"),
        ({1: 0.5}, "the hints of block 1 must be a mapping of names to numbers, not 0.5"),
        ([{}], "hints must be a mapping of block numbers to hints, not [{}]"),
        ({2: {"init_scal": 1.0}}, "unknown hint of block 2 'init_scal': choose from eps_scale, init_scale, "),
        ({2: {"init_scal": 1.0}}, "did you mean 'init_scale'?"),
        ({2: {3: 1.0}}, "unknown hint of block 2 '3'"),
        ({4: {"lr_scale": math.nan}}, "hint 'lr_scale' of block 4 must be a finite number, more than 0, not nan"),
        ({4: {"init_scale": "0.5"}}, "hint 'init_scale' of block 4 must be a finite number, 0 or more, not '0.5'"),
        ({4: {"pre_norm": False}}, "hint 'pre_norm' of block 4 must be 0 or 1, not False"),
        ({3: {"pre_norm": 0, "norm_scale": 0.5}}, "block 3 has pre_norm 0 and norm_scale 0.5: without a norm"),
    ],
)
def test_refusals_say_what_would_be_right(hints: Any, message: str) -> None:
    with pytest.raises(TrainerError, match=re.escape(message)):
        check(hints, 4)


def test_a_norm_scale_of_1_asks_for_nothing() -> None:
    assert check({1: {"pre_norm": 0, "norm_scale": 1}}, 1) == (BlockHints(pre_norm=0.0),)
