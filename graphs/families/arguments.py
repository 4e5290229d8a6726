"""Checks of what families are called with: TopologyError with the value and what would be right."""

import math
from typing import Any, get_args

from graphs.errors import TopologyError
from graphs.weights.numbers import finite


def choice(name: str, value: str, options: Any) -> str:
    """``value`` if it is one of the names of the Literal ``options``."""
    if value not in get_args(options):
        raise TopologyError(f"{name} is {value!r}; one of {', '.join(get_args(options))} was expected")
    return value


def whole(name: str, value: int, least: int, most: int | None = None, why: str = "") -> int:
    """``value`` if it is a whole number from ``least`` to ``most``; ``why`` there is a most, or else a least."""
    reason = f", {why}" if why else ""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        problem = f"{name} is {value!r}; a whole number of at least {least} was expected"
        raise TopologyError(problem + (reason if most is None else ""))
    if most is not None and value > most:
        raise TopologyError(f"{name} is {value}; at most {most} was expected{reason}")
    return value


def real(name: str, value: float, least: float = -math.inf, most: float = math.inf) -> float:
    """``value`` if it is a finite number from ``least`` to ``most``."""
    number = not isinstance(value, bool) and isinstance(value, int | float) and finite(value)
    if not number or not least <= value <= most:
        bounds = "" if (least, most) == (-math.inf, math.inf) else f" from {least:g} to {most:g}"
        raise TopologyError(f"{name} is {value!r:.80}; a finite number{bounds} was expected")
    return value
