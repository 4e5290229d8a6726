"""What trainings of a confirmation spent and lost again: an attempt that was cut off, as far as it was reported."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Key = tuple[str, int, float | None]  # digest, seed, share of the budget


@dataclass(slots=True)
class Attempts:
    """The trainings under way by key: training FLOPs that each has come to, and those of attempts before it.

    ``lost`` are training FLOPs that had to be spent again.
    """

    lost: float = 0.0
    reached: dict[Key, float] = field(default_factory=dict)
    dropped: dict[Key, float] = field(default_factory=dict)

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take in a ``fresh`` event: a training begins again, or says how far it has come."""
        key = key_of(event)
        if event["state"] == "again":
            spent = self.reached.pop(key, 0.0)
            self.dropped[key] = spent
            self.lost += spent
            return
        spent = event["spent_flops"]
        if event.get("kept", False):  # it went on from a checkpoint behind this and need not do it again
            saved = max(0.0, min(spent - self.reached.get(key, 0.0), self.dropped.get(key, 0.0)))
            self.dropped[key] = self.dropped.get(key, 0.0) - saved
            self.lost -= saved
        self.reached[key] = spent

    def end(self, event: Mapping[str, Any]) -> None:
        """A training has ended, and its result says what it spent."""
        for known in (self.reached, self.dropped):
            known.pop(key_of(event), None)


def key_of(event: Mapping[str, Any]) -> Key:
    """What names a training, of any event about it."""
    return event["digest"], event["seed"], event.get("share")
