import re
from typing import Any

import pytest

from trainers.errors import TrainerError
from trainers.shapes import MixerShape, TransformerShape, parse, ports, sublayers

SIZES: dict[str, Any] = {"depth": 2, "dim": 8, "patch": 2}


def test_derived_sizes() -> None:
    shape = MixerShape(depth=3, dim=10, patch=2, image=(4, 8), channels=3)
    assert (shape.tokens, shape.patch_values) == (8, 12)
    assert (shape.token_width, shape.channel_width) == (16, 20)


def test_each_block_of_a_mixer_reads_one_hidden_state() -> None:
    assert [ports("mixer", number) for number in (1, 2, 3)] == [("in",)] * 3
    with pytest.raises(TrainerError, match=re.escape("unknown backbone kind 'mixr'")):
        ports("mixr")


def test_attention_reads_three_and_feed_forward_one() -> None:
    assert [ports("transformer", number) for number in (1, 2, 3)] == [("q", "k", "v"), ("in",), ("q", "k", "v")]


def test_two_blocks_of_a_mixer_make_one_of_its_paper() -> None:
    assert (sublayers("mixer"), sublayers("transformer"), sublayers("function")) == (2, 2, 1)
    with pytest.raises(TrainerError, match=re.escape("unknown backbone kind 'mixr'")):
        sublayers("mixr")


def test_a_signal_is_cut_in_pieces_and_text_is_not() -> None:
    signal = MixerShape(depth=1, dim=4, patch=5, image=(1, 40), channels=2)
    assert (signal.tokens, signal.patch_values) == (8, 10)
    assert TransformerShape(depth=1, dim=4, patch=5, image=(1, 40)).tokens == 8
    text = TransformerShape(depth=1, dim=4, context=9)
    assert (text.tokens, text.width, text.classes) == (9, 16, 256)


def test_given_hidden_widths_are_kept() -> None:
    shape = MixerShape(**SIZES, token_hidden=5, channel_hidden=7)
    assert (shape.token_width, shape.channel_width) == (5, 7)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("mixr", SIZES, "choose from function, mixer, transformer; did you mean 'mixer'?"),
        ("mixer", SIZES | {"token_hiden": 4}, "did you mean 'token_hidden'?"),
        ("mixer", {"depth": 2}, "backbone 'mixer' also needs: dim, patch"),
        ("mixer", SIZES | {"patch": 3}, "patch 3 does not divide the image 8 x 8"),
        ("mixer", SIZES | {"dim": 0}, "dim must be a whole number of at least 1, not 0"),
        ("mixer", SIZES | {"dim": "48"}, "not '48'"),
        ("mixer", SIZES | {"depth": True}, "not True"),
        ("mixer", SIZES | {"token_hidden": -1}, "token_hidden must be"),
        ("mixer", SIZES | {"image": (0, 8)}, "image height must be"),
        (
            "mixer",
            SIZES | {"context": 16},
            "'mixer' reads images, and the data are text; choose 'transformer'",
        ),
        ("mixer", SIZES | {"image": (1, 9)}, "patch 2 does not divide the image 1 x 9"),
        ("transformer", SIZES, "give it either image or context"),
        (
            "transformer",
            SIZES | {"context": 16},
            "patch 2 has no meaning for text: every byte is a token",
        ),
        ("transformer", SIZES | {"image": (8, 8), "patch": None}, "patch is missing"),
        ("transformer", SIZES | {"image": (8, 9)}, "patch 2 does not divide the image 8 x 9"),
        ("transformer", SIZES | {"image": (8, 8), "heads": 3}, "heads 3 do not divide dim 8"),
        ("transformer", SIZES | {"image": (8, 8), "hidden": 0}, "hidden must be a whole number of at least 1, not 0"),
        ("function", {"depth": 1, "dim": 4, "classes": 2}, "backbone 'function' also needs: function"),
    ],
)
def test_refusals_say_what_would_be_right(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainerError, match=re.escape(message)):
        parse(kind, options)
