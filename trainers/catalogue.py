"""What is known of each dataset without loading it, so that planning needs neither torch nor scikit-learn."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

from trainers.errors import TrainerError, unknown

CONTEXT = 128  # bytes that a text model reads at once, where nobody says otherwise
BYTES = 256  # classes of a byte


class Facts(TypedDict, total=False):
    """The sizes that a backbone takes from its data.

    Of images: height and width, channels, classes; a signal is an image of height 1. Of text: the length of a
    window in bytes, and the 256 values of the byte behind each.
    """

    image: tuple[int, int]
    channels: int
    context: int
    classes: int


# Of data that are the same everywhere. What text and a user's data have is read from them.
FACTS: dict[str, Facts] = {
    "digits": {"image": (8, 8), "channels": 1, "classes": 10},
    "mnist5k": {"image": (28, 28), "channels": 1, "classes": 10},
    "mnist1d": {"image": (1, 40), "channels": 1, "classes": 10},
}

# The options of each kind: True where it cannot do without.
OPTIONS: dict[str, Mapping[str, bool]] = {
    "digits": {},
    "mnist5k": {},
    "mnist1d": {},
    "stdlib": {"context": False},
    "text": {"path": True, "context": False},
    "npz": {"path": True},
    "function": {"function": True, "context": False},
}
EXAMPLES = {"path": "path: mine.npz", "function": "function: mine:load"}


@dataclass(frozen=True, slots=True)
class Source:
    """Which data: a kind and its options, hashable and the same in every process. TrainerError if they do not fit.

    ``path`` is a file, ``function`` what :func:`trainers.functions.load` takes, ``context`` the bytes of a window.
    """

    kind: str
    context: int | None = None
    path: str | None = None
    function: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in OPTIONS:
            raise unknown("data kind", self.kind, OPTIONS)
        problem = misuse(self.kind, {"context": self.context, "path": self.path, "function": self.function})
        if problem is not None:
            raise TrainerError(f"data kind {self.kind!r}: {problem[0]}: {problem[1]}")


def misuse(kind: str, given: Mapping[str, object]) -> tuple[str, str] | None:
    """The first option of a kind that is missing or that it does not take, and a sentence; None where all is well."""
    takes = OPTIONS[kind]
    for name, value in given.items():
        if value is not None and name not in takes:
            valid = ", ".join(takes) or "nothing but its kind"
            return name, f"has no meaning for data kind {kind!r}, which takes {valid}"
    for name, needed in takes.items():
        if needed and given.get(name) is None:
            return name, f"missing; add it, for example '{EXAMPLES[name]}'"
    return None


def is_known(kind: str) -> bool:
    """Whether data of a kind can be described without reading them."""
    return kind in FACTS or kind == "stdlib"


def source_of(data: str | Source) -> Source:
    """The source itself, or that of a kind without options; TrainerError on an unknown kind or one that needs some."""
    return data if isinstance(data, Source) else Source(data)


def describe(data: str | Source) -> Facts:
    """The facts of a dataset; TrainerError where there is none such, or a user's data are not fit to train on."""
    source = source_of(data)
    if source.kind in FACTS:
        return FACTS[source.kind].copy()
    if source.kind == "stdlib":
        return {"context": source.context or CONTEXT, "classes": BYTES}
    from trainers.sources import read

    return read(source).facts.copy()
