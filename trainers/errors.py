"""What can go wrong while training: the user's input, or the numbers."""

import difflib
from collections.abc import Iterable


class TrainerError(ValueError):
    """The user asked for something that cannot be trained; the message says what would be right."""


class NotKept(TrainerError):
    """The state of a training could not be written to where it is kept."""


class CheckpointError(TrainerError):
    """A checkpoint is missing, damaged, or belongs to something else; the message names the file."""


class TeamError(RuntimeError):
    """Another process of those that train a model together has gone, or cannot be reached."""


class Diverged(RuntimeError):
    """A loss or a gradient norm stopped being finite at `step` (counted from 1)."""

    def __init__(self, step: int, value: float) -> None:
        # Both go to args, so that the exception survives pickling on its way back from a worker process.
        super().__init__(step, value)
        self.step = step
        self.value = value

    def __str__(self) -> str:
        return f"training diverged at step {self.step}: a loss or a gradient norm is {self.value}"


def unknown(what: str, name: str, valid: Iterable[str]) -> TrainerError:
    """The error for a name that is none of `valid`, with the nearest valid one if there is one."""
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return TrainerError(f"unknown {what} {name!r}: choose from {', '.join(names)}{hint}")
