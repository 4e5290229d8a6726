"""One choice in a space, and what makes choices: a sampler, chance, or a list of answers."""

import json
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from graphs.errors import UserError

Value = bool | int | float | str


@dataclass(frozen=True, slots=True, init=False)
class Point:
    """Named values in the order they were asked: "family", "depth", then those of the family, "hyper.streams".

    ``answers[i]`` is that to ``names[i]``: a search keeps thousands of points, and pairs would be a million objects.
    """

    names: tuple[str, ...]
    answers: tuple[Value, ...]

    def __init__(self, values: Iterable[tuple[str, Value]]) -> None:
        names, answers = zip(*values, strict=True)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "answers", answers)

    @property
    def values(self) -> tuple[tuple[str, Value], ...]:
        """The names with their values."""
        return tuple(zip(self.names, self.answers, strict=True))

    @property
    def family(self) -> str:
        """The family's name."""
        return str(self._named("family"))

    @property
    def depth(self) -> int:
        """The number of blocks."""
        return int(self._named("depth"))

    def _named(self, name: str) -> Value:
        return self.answers[self.names.index(name)]

    def to_dict(self) -> dict[str, Value]:
        """The values by name; JSON keeps them exactly."""
        return dict(zip(self.names, self.answers, strict=True))

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> "Point":
        """The point that :meth:`to_dict` gave; UserError if it cannot be one."""
        values: list[tuple[str, Value]] = []
        for name, value in data.items():
            if not isinstance(value, int | float | str):  # truth values are ints
                raise UserError(f"point: {name} is {value!r}; must be a number, a text, true or false")
            values.append((name, value))
        family, depth = data.get("family"), data.get("depth")
        if not isinstance(family, str):
            raise UserError(f"point: family is {family!r}; must be a family's name")
        if not isinstance(depth, int) or isinstance(depth, bool):
            raise UserError(f"point: depth is {depth!r}; must be a whole number")
        return cls(values)


class Suggest(Protocol):
    """Answers the questions of a space. Names are stable, and each always comes with the same range or options."""

    def integer(self, name: str, low: int, high: int, *, log: bool = False, step: int = 1) -> int:
        """A whole number in low, low + step, .., high; ``log`` spreads choices evenly over ratios."""

    def real(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number in [low, high]."""

    def choice(self, name: str, options: Sequence[Value]) -> Value:
        """One of at least two options, whose order means nothing."""


class RandomSuggest:
    """Answers uniformly (in the logarithm where asked) and independently."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def integer(self, name: str, low: int, high: int, *, log: bool = False, step: int = 1) -> int:
        if log:
            # Half a unit on either side gives the ends the share of their neighbours.
            drawn = round(math.exp(self._rng.uniform(math.log(low - 0.5), math.log(high + 0.5))))
            return min(max(drawn, low), high)
        return self._rng.randrange(low, high + 1, step)

    def real(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        if log:
            drawn = math.exp(self._rng.uniform(math.log(low), math.log(high)))
            return min(max(drawn, low), high)
        return self._rng.uniform(low, high)

    def choice(self, name: str, options: Sequence[Value]) -> Value:
        return self._rng.choice(options)


class Answers:
    """Gives prepared answers, checking each against its question; UserError if one is missing or out of range.

    ``otherwise`` is the answer, brought into its range, to every real number without one, or None to make that an
    error too.
    """

    def __init__(self, answers: Mapping[str, Value], otherwise: float | None = None) -> None:
        self._answers = answers
        self._otherwise = otherwise

    def integer(self, name: str, low: int, high: int, *, log: bool = False, step: int = 1) -> int:
        value = self._answer(name)
        if isinstance(value, bool) or not isinstance(value, int) or value not in range(low, high + 1, step):
            steps = f" in steps of {step}" if step != 1 else ""
            raise _outside(name, value, f"a whole number from {low} to {high}{steps}")
        return value

    def real(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        if self._otherwise is not None and name not in self._answers:
            return min(max(self._otherwise, low), high)
        value = self._answer(name)
        if isinstance(value, (bool, str)) or not low <= value <= high:
            raise _outside(name, value, f"a number from {low} to {high}")
        return value

    def choice(self, name: str, options: Sequence[Value]) -> Value:
        value = self._answer(name)
        # Types too: in Python, true equals 1.
        if not any(value == option and type(value) is type(option) for option in options):
            raise _outside(name, value, f"one of {', '.join(json.dumps(option) for option in options)}")
        return value

    def _answer(self, name: str) -> Value:
        if name not in self._answers:
            raise UserError(f"point: {name} is missing")
        return self._answers[name]


def _outside(name: str, value: Value, wanted: str) -> UserError:
    return UserError(f"point: {name} is {json.dumps(value)}; must be {wanted}")
