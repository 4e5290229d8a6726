import re
from typing import Any

import pytest

from trainers.errors import TrainerError
from trainers.shapes import MixerShape, parse, ports, sublayers

SIZES: dict[str, Any] = {"depth": 2, "dim": 8, "patch": 2}


def test_derived_sizes() -> None:
    shape = MixerShape(depth=3, dim=10, patch=2, image=(4, 8), channels=3)
    assert (shape.tokens, shape.patch_values) == (8, 12)
    assert (shape.token_width, shape.channel_width) == (16, 20)


def test_each_block_of_a_mixer_reads_one_hidden_state() -> None:
    assert ports("mixer") == ("in",)
    with pytest.raises(TrainerError, match=re.escape("unknown backbone kind 'mixr'")):
        ports("mixr")


def test_two_blocks_of_a_mixer_make_one_of_its_paper() -> None:
    assert sublayers("mixer") == 2
    with pytest.raises(TrainerError, match=re.escape("unknown backbone kind 'mixr'")):
        sublayers("mixr")


def test_given_hidden_widths_are_kept() -> None:
    shape = MixerShape(**SIZES, token_hidden=5, channel_hidden=7)
    assert (shape.token_width, shape.channel_width) == (5, 7)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("mixr", SIZES, "unknown backbone kind 'mixr': choose from mixer; did you mean 'mixer'?"),
        ("mixer", SIZES | {"token_hiden": 4}, "did you mean 'token_hidden'?"),
        ("mixer", {"depth": 2}, "backbone 'mixer' also needs: dim, patch"),
        ("mixer", SIZES | {"patch": 3}, "patch 3 does not divide the image 8 x 8"),
        ("mixer", SIZES | {"dim": 0}, "dim must be a whole number of at least 1, not 0"),
        ("mixer", SIZES | {"dim": "48"}, "not '48'"),
        ("mixer", SIZES | {"depth": True}, "not True"),
        ("mixer", SIZES | {"token_hidden": -1}, "token_hidden must be"),
        ("mixer", SIZES | {"image": (0, 8)}, "image height must be"),
    ],
)
def test_refusals_say_what_would_be_right(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainerError, match=re.escape(message)):
        parse(kind, options)
