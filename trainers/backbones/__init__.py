"""Backbones by kind: `build` makes the modules, `trainers.costs.price` says what they cost without torch."""

from collections.abc import Callable
from typing import Any

from trainers.backbones.backbone import Backbone
from trainers.backbones.mixer import mixer
from trainers.shapes import MixerShape, parse

__all__ = ["KINDS", "Backbone", "build"]

KINDS: dict[str, Callable[[MixerShape], Backbone]] = {"mixer": mixer}


def build(
    kind: str,
    *,
    depth: int,
    classes: int,
    image: tuple[int, int],
    channels: int,
    **options: Any,
) -> Backbone:
    """The modules of a backbone, with torch's initial weights; `Backbone.initialise` gives seeded ones.

    Raises TrainerError on an unknown kind or option, naming the valid ones.
    """
    sizes = {"depth": depth, "classes": classes, "image": image, "channels": channels}
    shape = parse(kind, sizes | options)
    return KINDS[kind](shape)
