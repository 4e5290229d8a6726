"""The sizes of a backbone, parsed once into a frozen, torch-free value that costs and modules share."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

from trainers.catalogue import BYTES
from trainers.errors import TrainerError, unknown


@dataclass(frozen=True, kw_only=True)
class MixerShape:
    """Sizes of an MLP-Mixer: `depth` sub-layers of width `dim` over patches of `patch` x `patch` pixels.

    A signal, an image of height 1, is cut in pieces of `patch` values. Hidden widths left at None become twice the
    width they expand (tokens or `dim`). Raises TrainerError.
    """

    # Papers call token mixing and channel mixing together a block.
    sublayers: ClassVar[int] = 2
    # What each block of such a pair may read: one hidden state (batch, tokens, dim) a port.
    ports: ClassVar[tuple[tuple[str, ...], ...]] = (("in",), ("in",))

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
        check_image(self.image, self.patch)

    @property
    def tokens(self) -> int:
        return count_patches(self.image, self.patch)

    @property
    def patch_values(self) -> int:
        """Numbers in one patch, all channels."""
        return patch_height(self.image, self.patch) * self.patch * self.channels

    @property
    def token_width(self) -> int:
        return 2 * self.tokens if self.token_hidden is None else self.token_hidden

    @property
    def channel_width(self) -> int:
        return 2 * self.dim if self.channel_hidden is None else self.channel_hidden


@dataclass(frozen=True, kw_only=True)
class TransformerShape:
    """Sizes of a pre-norm transformer: attention and feed-forward in turn, `depth` in all, of width `dim`.

    It reads images in patches, as a mixer does, or, where `context` is given, text of at most so many bytes, and is
    causal then. `hidden` is the width inside a feed-forward block, four times `dim` if None. Raises TrainerError.
    """

    sublayers: ClassVar[int] = 2
    # Attention takes one hidden state for all three as well.
    ports: ClassVar[tuple[tuple[str, ...], ...]] = (("q", "k", "v"), ("in",))

    depth: int
    dim: int
    heads: int = 4
    patch: int | None = None
    image: tuple[int, int] | None = None
    channels: int = 1
    context: int | None = None
    classes: int = BYTES
    hidden: int | None = None

    def __post_init__(self) -> None:
        for name in ("depth", "dim", "heads", "channels", "classes"):
            _check_positive(name, getattr(self, name))
        for name in ("patch", "context", "hidden"):
            if getattr(self, name) is not None:
                _check_positive(name, getattr(self, name))
        if self.dim % self.heads:
            raise TrainerError(f"heads {self.heads} do not divide dim {self.dim}")
        if (self.image is None) == (self.context is None):
            raise TrainerError("a transformer reads images or text: give it either image or context")
        if self.image is None:
            if self.patch is not None:
                raise TrainerError(f"patch {self.patch} has no meaning for text: every byte is a token; leave it out")
        elif self.patch is None:
            raise TrainerError("patch is missing, the pixels of a patch's side; add it, for example 'patch: 4'")
        else:
            check_image(self.image, self.patch)

    @property
    def tokens(self) -> int:
        if self.image is None or self.patch is None:
            assert self.context is not None
            return self.context
        return count_patches(self.image, self.patch)

    @property
    def width(self) -> int:
        return 4 * self.dim if self.hidden is None else self.hidden


@dataclass(frozen=True, kw_only=True)
class FunctionShape:
    """A user's backbone: what `function`, see `trainers.functions.load`, is called with. Raises TrainerError."""

    sublayers: ClassVar[int] = 1
    ports: ClassVar[tuple[tuple[str, ...], ...]] = (("in",),)

    function: str
    depth: int
    dim: int
    image: tuple[int, int] | None = None
    channels: int | None = None
    context: int | None = None
    classes: int

    def __post_init__(self) -> None:
        for name in ("depth", "dim", "classes"):
            _check_positive(name, getattr(self, name))


Shape = MixerShape | TransformerShape | FunctionShape

SHAPES: dict[str, type[Shape]] = {
    "mixer": MixerShape,
    "transformer": TransformerShape,
    "function": FunctionShape,
}


def sublayers(kind: str) -> int:
    """How many of a backbone's blocks make one block of the papers; TrainerError on an unknown kind."""
    if kind not in SHAPES:
        raise unknown("backbone kind", kind, SHAPES)
    return SHAPES[kind].sublayers


def ports(kind: str, number: int = 1) -> tuple[str, ...]:
    """The ports of block `number` of a backbone, one hidden state read by each; TrainerError on an unknown kind.

    A block of several also takes one hidden state for all of them.
    """
    if kind not in SHAPES:
        raise unknown("backbone kind", kind, SHAPES)
    found = SHAPES[kind].ports
    return found[(number - 1) % len(found)]


def parse(kind: str, options: Mapping[str, Any]) -> Shape:
    """The shape of a backbone of this kind; TrainerError on an unknown kind or option, or a missing one."""
    if kind not in SHAPES:
        raise unknown("backbone kind", kind, SHAPES)
    shape = SHAPES[kind]
    valid = {field.name: field for field in fields(shape)}
    if "context" in options and "context" not in valid:
        raise TrainerError(f"backbone {kind!r} reads images, and the data are text; choose 'transformer'")
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


def check_image(image: tuple[int, int], patch: int) -> None:
    """TrainerError where patches do not tile an image of this height and width."""
    height, width = image
    _check_positive("image height", height)
    _check_positive("image width", width)
    if height % patch_height(image, patch) or width % patch:
        raise TrainerError(f"patch {patch} does not divide the image {height} x {width}")


def count_patches(image: tuple[int, int], patch: int) -> int:
    """Patches of an image, one a token."""
    height, width = image
    return (height // patch_height(image, patch)) * (width // patch)


def patch_height(image: tuple[int, int], patch: int) -> int:
    """Rows of a patch: as many as columns, but one where the image is a signal, of height 1."""
    return 1 if image[0] == 1 else patch
