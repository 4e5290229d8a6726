"""Weight rules as plain data, the form that topology files hold, and back. Nothing in a file is executed."""

import re
from dataclasses import MISSING, fields
from fractions import Fraction
from typing import Any

from graphs.errors import TopologyError
from graphs.weights.algebra import Place, Product, Sum, Times
from graphs.weights.functions import Permutations, Sigmoid, Sinkhorn, Softmax, Tanh, TopK
from graphs.weights.grain import Grain
from graphs.weights.leaves import Bernoulli, Constant, Generated, Parameter
from graphs.weights.numbers import Number, finite
from graphs.weights.rule import Rule

RULES: dict[str, type[Rule]] = {
    rule.__name__.lower(): rule
    for rule in (
        Constant,
        Parameter,
        Bernoulli,
        Generated,
        Sum,
        Product,
        Times,
        Place,
        Softmax,
        Sigmoid,
        Tanh,
        TopK,
        Sinkhorn,
        Permutations,
    )
}

_RULE_FIELDS = {"of", "left", "right"}
_MATRIX_FIELDS = {"entries", "initial", "keep"}
_WHOLE_FIELDS = {"iterations", "hidden", "fan_in"}
MAX_NESTING = 100


def to_dict(weight: Rule) -> dict[str, Any]:
    """The JSON form of a rule: plain lists, numbers and strings (a Fraction is the string ``"1/3"``)."""
    data: dict[str, Any] = {"rule": type(weight).__name__.lower()}
    for field in fields(weight):  # type: ignore[arg-type]  # every rule is a dataclass
        value = getattr(weight, field.name)
        if field.default is not MISSING and value == field.default:
            continue
        data[field.name] = _plain(value)
    return data


def number_text(value: Number) -> int | float | str:
    """The JSON form of a number."""
    return str(value) if isinstance(value, Fraction) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Rule):
        return to_dict(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Fraction | Grain) else value


def from_dict(data: Any, where: str = "weight", depth: int = 0) -> Rule:
    """Read the JSON form back; TopologyError names the place and what would be right."""
    if not isinstance(data, dict) or not isinstance(data.get("rule"), str) or data["rule"] not in RULES:
        raise TopologyError(f"{where}: a rule is a mapping with 'rule' one of {', '.join(RULES)}; got {data!r:.80}")
    if depth > MAX_NESTING:
        raise TopologyError(f"{where}: rules nested more than {MAX_NESTING} deep")
    kind = RULES[data["rule"]]
    known = fields(kind)  # type: ignore[arg-type]
    required = {field.name for field in known if field.default is MISSING}
    optional = {field.name for field in known} - required
    given = set(data) - {"rule"}
    if given - required - optional or required - given:
        raise TopologyError(
            f"{where}: rule {data['rule']!r} takes {sorted(required)} and optionally {sorted(optional)}; "
            f"got {sorted(map(str, given))}"
        )
    values = {name: _field(kind, name, data[name], f"{where}.{name}", depth) for name in given}
    try:
        return kind(**values)
    except (TypeError, TopologyError) as error:
        raise TopologyError(f"{where}: {error}") from error


def _field(kind: type[Rule], name: str, value: Any, where: str, depth: int) -> Any:
    if name in _RULE_FIELDS:
        return from_dict(value, where, depth + 1)
    if name == "terms":
        if not isinstance(value, list) or not value:
            raise TopologyError(f"{where}: a list of rules was expected; got {value!r:.80}")
        return tuple(from_dict(term, f"{where}[{i}]", depth + 1) for i, term in enumerate(value))
    if name in _MATRIX_FIELDS:
        return tuple(tuple(number(entry, where) for entry in row) for row in _rows(value, where))
    if name == "learned":
        if not all(isinstance(flag, bool) for row in _rows(value, where) for flag in row):
            raise TopologyError(f"{where}: rows of true and false were expected; got {value!r:.80}")
        return tuple(map(tuple, value))
    if name == "grain":
        try:
            return Grain.read(value)
        except TopologyError as error:
            raise TopologyError(f"{where}: {error}") from error
    if name == "cells":
        rows = _rows(value, where)
        if not all(len(row) == 4 and all(_whole(number) for number in row) for row in rows):
            raise TopologyError(f"{where}: rows of four whole numbers were expected; got {value!r:.80}")
        return tuple(map(tuple, rows))
    if name in ("outputs", "keys") or (name == "size" and kind is Place):
        if not isinstance(value, list) or not all(_whole(number) for number in value):
            raise TopologyError(f"{where}: a list of whole numbers was expected; got {value!r:.80}")
        if name != "keys" and len(value) != 2:
            raise TopologyError(f"{where}: two whole numbers were expected; got {value!r:.80}")
        return tuple(value)
    if name in _WHOLE_FIELDS or name == "size":
        if not _whole(value):
            raise TopologyError(f"{where}: a whole number was expected; got {value!r:.80}")
        return value
    if name in ("each", "gain"):
        if not isinstance(value, bool):
            raise TopologyError(f"{where}: true or false was expected; got {value!r:.80}")
        return value
    if name in ("temperature", "scale"):
        if isinstance(value, bool) or not isinstance(value, int | float) or not finite(value):
            raise TopologyError(f"{where}: a number above 0 was expected; got {value!r:.80}")
        return float(value) if name == "temperature" else value
    if not isinstance(value, str):
        raise TopologyError(f"{where}: a string was expected; got {value!r:.80}")
    return value


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _rows(value: Any, where: str) -> list[list[Any]]:
    if not isinstance(value, list) or not all(isinstance(row, list) for row in value):
        raise TopologyError(f"{where}: a list of rows was expected; got {value!r:.80}")
    return value


def number(entry: Any, where: str) -> Number:
    """A number of the JSON form: itself, or a string like ``"-1/3"``."""
    if isinstance(entry, str):
        # Only "-1/3": Fraction would also take "1e999999999", and work on it for ever.
        if not re.fullmatch(r"-?\d{1,400}/0*[1-9]\d{0,400}|-?\d{1,400}", entry, flags=re.ASCII):
            raise TopologyError(f"{where}: {entry!r:.80} is not a number")
        return Fraction(entry)
    if isinstance(entry, bool) or not isinstance(entry, int | float):
        raise TopologyError(f"{where}: {entry!r} is not a number")
    return entry
