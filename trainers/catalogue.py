"""What is known of each dataset without loading it, so that planning needs neither torch nor scikit-learn."""

from typing import TypedDict

from trainers.errors import unknown


class Facts(TypedDict):
    """Image height and width, channels, classes, and the number of samples per split."""

    image: tuple[int, int]
    channels: int
    classes: int
    train: int
    validation: int
    test: int


FACTS: dict[str, Facts] = {
    "digits": {"image": (8, 8), "channels": 1, "classes": 10, "train": 296, "validation": 748, "test": 753},
}


def describe(kind: str) -> Facts:
    """The facts of a dataset; TrainerError on an unknown kind, naming the valid ones."""
    if kind not in FACTS:
        raise unknown("data kind", kind, FACTS)
    return FACTS[kind].copy()
