"""Backbones by kind: `build` makes the modules, `trainers.costs.price` says what they cost without torch."""

from collections.abc import Callable
from typing import Any

from trainers.backbones.backbone import Backbone
from trainers.backbones.mixer import mixer
from trainers.backbones.transformer import transformer
from trainers.backbones.user import user
from trainers.hints import BlockHints, Hints, check
from trainers.shapes import parse

__all__ = ["KINDS", "Backbone", "build"]

# Each takes the shape of its kind.
KINDS: dict[str, Callable[[Any, tuple[BlockHints, ...]], Backbone]] = {
    "mixer": mixer,
    "transformer": transformer,
    "function": user,
}


def build(kind: str, *, depth: int, classes: int, hints: Hints | None = None, **options: Any) -> Backbone:
    """The modules of a backbone, with torch's initial weights; `Backbone.initialise` gives seeded ones.

    `options` are those of the kind and the sizes of the data: `image` and `channels`, or `context`. `hints` are numbers
    by block number (1 to `depth`) and name, see `trainers.hints.KNOWN`. Initial scales take effect in
    `Backbone.initialise`; rates are plain attributes of the weight matrices (`Backbone.set_rates`), which `.to()` keeps
    and `copy.deepcopy` loses. Raises TrainerError on an unknown kind, option, block or hint, naming the valid ones.
    """
    shape = parse(kind, {"depth": depth, "classes": classes} | options)
    backbone = KINDS[kind](shape, check(hints, shape.depth))
    backbone.set_rates()
    return backbone
