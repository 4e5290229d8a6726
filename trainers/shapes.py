"""The sizes of a backbone, parsed once into a frozen, torch-free value that costs and modules share."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

from trainers.errors import TrainerError, unknown


@dataclass(frozen=True, kw_only=True)
class MixerShape:
    """Sizes of an MLP-Mixer: `depth` sub-layers of width `dim` over patches of `patch` x `patch` pixels.

    Hidden widths left at None become twice the width they expand (tokens or `dim`). Raises TrainerError.
    """

    # Papers call token mixing and channel mixing together a block.
    sublayers: ClassVar[int] = 2
    # What a block reads: one hidden state (batch, tokens, dim), under the name of its only port.
    ports: ClassVar[tuple[str, ...]] = ("in",)

    depth: int
    dim: int
    patch: int
    image: tuple[int, int] = (8, 8)
    channels: int = 1
    classes: int = 10
    token_hidden: int | None = None
    channel_hidden: int | None = None

    def __post_init__(self) -> None:
        for name in ("depth", "dim", "patch", "channels", "classes"):
            _check_positive(name, getattr(self, name))
        for name in ("token_hidden", "channel_hidden"):
            if getattr(self, name) is not None:
                _check_positive(name, getattr(self, name))
        height, width = self.image
        _check_positive("image height", height)
        _check_positive("image width", width)
        if height % self.patch or width % self.patch:
            raise TrainerError(f"patch {self.patch} does not divide the image {height} x {width}")

    @property
    def tokens(self) -> int:
        height, width = self.image
        return (height // self.patch) * (width // self.patch)

    @property
    def patch_values(self) -> int:
        """Numbers in one patch, all channels."""
        return self.patch * self.patch * self.channels

    @property
    def token_width(self) -> int:
        return 2 * self.tokens if self.token_hidden is None else self.token_hidden

    @property
    def channel_width(self) -> int:
        return 2 * self.dim if self.channel_hidden is None else self.channel_hidden


SHAPES = {"mixer": MixerShape}


def sublayers(kind: str) -> int:
    """How many of a backbone's blocks make one block of the papers; TrainerError on an unknown kind."""
    if kind not in SHAPES:
        raise unknown("backbone kind", kind, SHAPES)
    return SHAPES[kind].sublayers


def ports(kind: str) -> tuple[str, ...]:
    """The ports of each block of a backbone, one hidden state read by each; TrainerError on an unknown kind."""
    if kind not in SHAPES:
        raise unknown("backbone kind", kind, SHAPES)
    return SHAPES[kind].ports


def parse(kind: str, options: Mapping[str, Any]) -> MixerShape:
    """The shape of a backbone of this kind; TrainerError on an unknown kind or option, or a missing one."""
    if kind not in SHAPES:
        raise unknown("backbone kind", kind, SHAPES)
    shape = SHAPES[kind]
    valid = {field.name: field for field in fields(shape)}
    for name in options:
        if name not in valid:
            raise unknown(f"option of backbone {kind!r}", name, valid)
    missing = [name for name, field in valid.items() if field.default is MISSING and name not in options]
    if missing:
        raise TrainerError(f"backbone {kind!r} also needs: {', '.join(missing)}")
    return shape(**options)


def _check_positive(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise TrainerError(f"{name} must be a whole number of at least 1, not {value!r}")
