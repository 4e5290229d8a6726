"""What one parameter may be: fixed, one of a list, or a range."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeGuard

from pydantic import Field, model_validator

from search_space.document import Document
from search_space.errors import Key
from search_space.point import Suggest, Value
from search_space.schema import Strict, parse, shown, value, wrong

LARGEST = 10**9  # of a range of whole numbers; samplers compute with them in floating point


@dataclass(frozen=True, slots=True)
class Fixed:
    """A single value: never asked."""

    value: Value
    kind = "fixed"

    def ask(self, name: str, suggest: Suggest) -> Value:
        return self.value

    def extremes(self) -> tuple[Value, ...]:
        return (self.value,)

    def nearest(self, wanted: Value) -> Value:
        return self.value

    def every(self) -> Sequence[Value]:
        return (self.value,)

    def count(self) -> int | None:
        return 1

    def plain(self) -> object:
        return self.value

    def __str__(self) -> str:
        return json.dumps(self.value)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of at least two distinct options."""

    options: tuple[Value, ...]
    kind = "choice"

    def ask(self, name: str, suggest: Suggest) -> Value:
        return suggest.choice(name, self.options)

    def extremes(self) -> tuple[Value, ...]:
        """Least and greatest of numbers; all of other options, which have no order."""
        if all(_is_number(option) for option in self.options):
            return min(self.options), max(self.options)
        return self.options

    def nearest(self, wanted: Value) -> Value:
        """The option closest in value; the first one if ``wanted`` is neither a number nor an option."""
        return min(self.options, key=lambda option: _distance(option, wanted))

    def every(self) -> Sequence[Value]:
        return self.options

    def count(self) -> int | None:
        return len(self.options)

    def plain(self) -> object:
        return list(self.options)

    def __str__(self) -> str:
        return " | ".join(json.dumps(option) for option in self.options)


class IntRange(Strict):
    """low, low + step, .., high."""

    low: int = Field(ge=-LARGEST, le=LARGEST, examples=[1])
    high: int = Field(ge=-LARGEST, le=LARGEST, examples=[8])
    log: bool = False
    step: int = Field(default=1, ge=1, le=LARGEST)

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_ends(self.low, self.high, self.log)
        if self.log and self.step != 1:
            raise wrong(f"{self.step} cannot be combined with log: true; leave one of the two out", at=("step",))
        excess = (self.high - self.low) % self.step
        if excess:
            problem = f"{self.high} is not reached from {self.low} in steps of {self.step}; write {self.high - excess}"
            raise wrong(problem, at=("high",))
        return self

    @property
    def kind(self) -> str:
        return "int"

    def ask(self, name: str, suggest: Suggest) -> Value:
        return suggest.integer(name, self.low, self.high, log=self.log, step=self.step)

    def extremes(self) -> tuple[Value, ...]:
        return self.low, self.high

    def nearest(self, wanted: Value) -> Value:
        inside = min(max(wanted, self.low), self.high) if _is_number(wanted) else self.low
        return self.low + round((inside - self.low) / self.step) * self.step

    def every(self) -> Sequence[int]:
        return range(self.low, self.high + 1, self.step)

    def count(self) -> int | None:
        return (self.high - self.low) // self.step + 1

    def plain(self) -> object:
        return self.model_dump()

    def __str__(self) -> str:
        steps = f" step {self.step}" if self.step != 1 else ""
        return f"{self.low} .. {self.high}{steps}{' log' if self.log else ''}"


class FloatRange(Strict):
    """Every number from low to high, both included."""

    low: float = Field(examples=[0.01])
    high: float = Field(examples=[1.0])
    log: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_ends(self.low, self.high, self.log)
        return self

    @property
    def kind(self) -> str:
        return "float"

    def ask(self, name: str, suggest: Suggest) -> Value:
        return suggest.real(name, self.low, self.high, log=self.log)

    def extremes(self) -> tuple[Value, ...]:
        return self.low, self.high

    def nearest(self, wanted: Value) -> Value:
        return min(max(float(wanted), self.low), self.high) if _is_number(wanted) else self.low

    def every(self) -> None:
        """Its values cannot be counted; other domains give theirs in order."""

    def count(self) -> int | None:
        return None

    def plain(self) -> object:
        return self.model_dump()

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.high:g}]{' log' if self.log else ''}"


Domain = Fixed | Choice | IntRange | FloatRange


def read(annotation: Any, document: Document, at: Key) -> Domain:
    """The domain at a key path: a scalar, a list of choices, or, of numbers, {low, high, log, step}; SpaceError."""
    data = document.get(at)
    if isinstance(data, list):
        return _choices(annotation, document, at)
    if not isinstance(data, dict):
        return Fixed(value(annotation, document, at))
    if annotation not in (int, float):
        raise document.error(at, "a range of values that are not numbers; list the choices instead")
    span = parse(IntRange, document, at) if annotation is int else parse(FloatRange, document, at)
    return Fixed(span.low) if span.low == span.high else span


def at_least(minimum: int, domain: Domain, document: Document, at: Key) -> None:
    """SpaceError, at the value itself, if a domain of whole numbers reaches below ``minimum``."""
    lowest = min(int(extreme) for extreme in domain.extremes())
    if lowest < minimum:
        raise document.error((*at, *where(lowest, document.get(at))), f"{lowest} is too small; at least {minimum}")


def where(extreme: Value, data: object) -> Key:
    """Where, below a domain's own key path, one of its extremes is written."""
    if isinstance(data, list):
        return (data.index(extreme),)
    if isinstance(data, dict):
        return ("low",) if data["low"] == extreme else ("high",)
    return ()


def _choices(annotation: Any, document: Document, at: Key) -> Domain:
    options: list[Value] = []
    for index in range(len(document.get(at))):
        option = value(annotation, document, (*at, index))
        if option in options:
            raise document.error((*at, index), f"{shown(option)} is listed twice; keep one of them")
        options.append(option)
    if not options:
        raise document.error(at, "the list of choices is empty; list at least one")
    return Choice(tuple(options)) if len(options) > 1 else Fixed(options[0])


def _check_ends(low: float, high: float, log: bool) -> None:
    if low > high:
        raise wrong(f"{shown(low)} is above high ({shown(high)}); must not be above", at=("low",))
    if log and low <= 0:
        raise wrong(f"{shown(low)} cannot be the low end with log: true; must be more than 0", at=("low",))


def _is_number(value: Value) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _distance(option: Value, wanted: Value) -> float:
    if _is_number(option) and _is_number(wanted):
        return abs(float(option) - float(wanted))
    return float(option != wanted)
