"""Plain data to frozen values, strictly; the first thing that is wrong becomes one sentence with file and line."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from graphs.errors import UserError
from search_space.document import Document
from search_space.errors import Key, dotted, unknown

M = TypeVar("M", bound="Strict")
T = TypeVar("T")

_CONFIG = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

# What each of pydantic's complaints about a type asks for, in the words of a YAML file.
_WANTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping (keys and values)",
    "model_type": "a mapping (keys and values)",
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_YES_NO = ("yes", "no", "on", "off", "y", "n", "true", "false")


class Strict(BaseModel):
    """Base of every part of a YAML file: frozen, no unknown keys, no conversions but int to float, all finite."""

    model_config = _CONFIG

    @model_validator(mode="before")
    @classmethod
    def _keys(cls, data: Any) -> Any:
        # Before the values: a misspelt key is the cause, the missing one its consequence.
        if isinstance(data, dict):
            fields = cls.model_fields
            for name in data:
                if name not in fields:
                    raise wrong(unknown("key", name, fields), at=(name,))
            for name, field in fields.items():
                if field.is_required() and name not in data:
                    raise wrong(f"missing; add it{_example(name, field)}", at=(name,))
        return data


def wrong(problem: str, at: Key = ()) -> PydanticCustomError:
    """What a validator raises: the problem in full words, at a key path below the validated value."""
    return PydanticCustomError("wrong", "{problem}", {"problem": problem, "at": at})


def one_of(what: str, names: Mapping[str, object]) -> AfterValidator:
    """Annotates a ``str`` that must be one of ``names``, looked up when a value is checked."""

    def check(name: str) -> str:
        if name not in names:
            raise wrong(unknown(what, name, names))
        return name

    return AfterValidator(check)


def parse(model: type[M], document: Document, at: Key = (), given: Mapping[str, object] | None = None) -> M:
    """The part of a document at a key path as a ``model``; SpaceError for the first thing that is wrong.

    ``given`` holds values that were parsed before and stand in for the document's under the same keys.
    """
    data = document.get(at)
    if given and isinstance(data, dict):
        data = data | dict(given)
    return _located(lambda: model.model_validate(data), document, at)


def value(annotation: Any, document: Document, at: Key) -> Any:
    """The scalar at a key path, of type ``int``, ``float``, ``bool`` or a ``Literal``; SpaceError if it is not."""
    adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=_CONFIG)
    return _located(lambda: adapter.validate_python(document.get(at)), document, at)


def build(model: type[M], data: Mapping[str, object]) -> M:
    """A ``model`` of values that come from no file; UserError names the key."""
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        key, problem = _explain(error)
        raise UserError(f"{dotted(key)}: {problem}") from None


def shown(data: Any) -> str:
    """A value as it stands in YAML, shortened."""
    if isinstance(data, (dict, list, tuple)):
        return "a mapping" if isinstance(data, dict) else "a list"
    text = str(data) if isinstance(data, float) else json.dumps(data, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _located(validate: Callable[[], T], document: Document, at: Key) -> T:
    try:
        return validate()
    except ValidationError as error:
        key, problem = _explain(error)
        raise document.error((*at, *key), problem) from None


def _explain(error: ValidationError) -> tuple[Key, str]:
    """Key path and sentence of the first error."""
    first = error.errors(include_url=False)[0]
    kind, given, context = first["type"], first["input"], first.get("ctx", {})
    key = first["loc"]
    if key[-1:] == ("[key]",):  # a mapping with a fixed set of names
        return key[:-1], unknown("key", str(given), _names(context))
    if kind == "wrong":
        return (*key, *context["at"]), context["problem"]
    if kind == "literal_error":
        if isinstance(given, str):
            return key, unknown("value", given, _names(context))
        return key, f"{shown(given)} is not among the valid values; choose from {', '.join(_names(context))}"
    if kind in _WANTED:
        return key, _mistyped(given, kind)
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        bound = context[name]
        limit = f"{bound:g}" if isinstance(bound, float) else bound
        return key, f"{shown(given)} is out of range; must be {words} {limit}"
    if kind == "finite_number":
        return key, f"{shown(given)} is not finite; must be an ordinary number"
    if kind == "too_short":
        return key, f"empty; must hold at least {context['min_length']}"
    return key, f"{shown(given)}: {first['msg']}"


def _names(context: Mapping[str, Any]) -> list[str]:
    """The names in a literal error's "'a', 'b' or 'c'"."""
    return re.findall(r"'([^']*)'", context["expected"])


def _mistyped(given: Any, kind: str) -> str:
    wanted = _WANTED[kind]
    if given is None:
        return f"the value is empty (null); must be {wanted}"
    problem = f"{shown(given)} is {_kind(given)}; must be {wanted}"
    if isinstance(given, str):
        if kind == "bool_type" and given.lower() in _YES_NO:
            return f"{shown(given)} is a text in YAML 1.2; write true or false"
        if kind in ("int_type", "float_type") and _is_number(given):
            return f"{problem}: write {given.strip()} without quotes"
    if kind == "int_type" and isinstance(given, float) and given.is_integer():
        return f"{problem}: write {given:.0f}"
    if kind == "string_type" and not isinstance(given, (dict, list)):
        return f"{problem}: write it in quotes"
    return problem


def _kind(given: Any) -> str:
    if isinstance(given, bool):
        return "a truth value"
    if isinstance(given, str):
        return "a text"
    if isinstance(given, (int, float)):
        return "a number"
    return "not a single value"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _example(name: str, field: FieldInfo) -> str:
    return f", for example '{name}: {field.examples[0]}'" if field.examples else ""
