from typing import Annotated, Literal

import pydantic
import pytest
from pydantic import Field

from graphs.errors import UserError
from search_space.document import read
from search_space.errors import SpaceError
from search_space.schema import Strict, build, one_of, parse, shown, value, wrong

COLOURS = {"red": 1, "green": 2}


class Inner(Strict):
    streams: int = 4
    kind: Literal["tpe", "random"] = "tpe"


class Outer(Strict):
    count: int = Field(default=1, ge=1)
    rate: float = Field(default=0.5, gt=0, lt=1)
    flag: bool = True
    name: str = "x"
    colour: Annotated[str, one_of("colour", COLOURS)] = "red"
    inner: Inner = Inner()
    items: Annotated[tuple[Inner, ...], pydantic.Strict(False)] = Field(default=(Inner(),), min_length=1)
    caps: dict[Literal["flops", "parameters"], float] = Field(default_factory=dict)


class Needy(Strict):
    dim: int = Field(examples=[48])


@pytest.fixture
def document(tmp_path):
    def document(text):
        path = tmp_path / "file.yaml"
        path.write_text(f"top:\n  {text}\n")
        return read(path)

    return document


def problem(document, text, model=Outer):
    with pytest.raises(SpaceError) as caught:
        parse(model, document(text), ("top",))
    assert caught.value.file.name == "file.yaml"
    return caught.value


def test_parses_into_a_frozen_value_and_takes_int_for_float(document):
    outer = parse(Outer, document("{count: 3, rate: 1e-4, items: [{streams: 2}], caps: {flops: 3}}"), ("top",))
    assert (outer.count, outer.rate, outer.items, outer.caps) == (3, 1e-4, (Inner(streams=2),), {"flops": 3.0})
    with pytest.raises(pydantic.ValidationError):
        outer.count = 4


WRONG = [
    ("coutn: 3", "coutn", "unknown key 'coutn'; did you mean 'count'? Valid: count, rate,"),
    ("inner: {streems: 3}", "inner.streems", "unknown key 'streems'; did you mean 'streams'? Valid: streams, kind"),
    ("inner: {kind: tpee}", "inner.kind", "unknown value 'tpee'; did you mean 'tpe'? Valid: tpe, random"),
    ("inner: {kind: 3}", "inner.kind", "3 is not among the valid values; choose from tpe, random"),
    ("items: [{}, {streams: x}]", "items[1].streams", '"x" is a text; must be a whole number'),
    ("items: []", "items", "empty; must hold at least 1"),
    ("items: {streams: 2}", "items", "a mapping is not a single value; must be a list"),
    ("inner: 3", "inner", "3 is a number; must be a mapping (keys and values)"),
    ("inner: [1]", "inner", "a list is not a single value; must be a mapping"),
    ("inner:", "inner", "the value is empty (null); must be a mapping"),
    ("caps: {flop: 3}", "caps.flop", "unknown key 'flop'; did you mean 'flops'? Valid: flops, parameters"),
    ("caps: {flops: x}", "caps.flops", '"x" is a text; must be a number'),
    ("caps: 3", "caps", "3 is a number; must be a mapping"),
    ('rate: "1e-4"', "rate", '"1e-4" is a text; must be a number: write 1e-4 without quotes'),
    ("rate: 1e-4x", "rate", '"1e-4x" is a text; must be a number'),
    ("rate: true", "rate", "true is a truth value; must be a number"),
    ("rate: .inf", "rate", "inf is not finite; must be an ordinary number"),
    ("rate: 1e999", "rate", "inf is not finite"),
    ("rate: .nan", "rate", "nan is not finite"),
    ("rate: 1.0", "rate", "1.0 is out of range; must be less than 1"),
    ("rate: 0", "rate", "0 is out of range; must be more than 0"),
    ("count: 0", "count", "0 is out of range; must be at least 1"),
    ("count: true", "count", "true is a truth value; must be a whole number"),
    ("count: 2.0", "count", "2.0 is a number; must be a whole number: write 2"),
    ("count: 2.5", "count", "2.5 is a number; must be a whole number"),
    ('count: "3"', "count", '"3" is a text; must be a whole number: write 3 without quotes'),
    ("count:", "count", "the value is empty (null); must be a whole number"),
    ("flag: no", "flag", '"no" is a text in YAML 1.2; write true or false'),
    ("flag: off", "flag", '"off" is a text in YAML 1.2; write true or false'),
    ("flag: 1", "flag", "1 is a number; must be true or false"),
    ("name: 2024", "name", "2024 is a number; must be a text: write it in quotes"),
    ("colour: gren", "colour", "unknown colour 'gren'; did you mean 'green'? Valid: red, green"),
]


@pytest.mark.parametrize(("text", "key", "message"), WRONG)
def test_first_problem_has_file_line_key_and_what_would_be_right(document, text, key, message):
    error = problem(document, text)
    assert str(error).startswith(f"{error.file}:2: top.{key}: {message}")


def test_numbers_get_no_advice_that_does_not_help(document):
    assert problem(document, "rate: 1e-4x").problem == '"1e-4x" is a text; must be a number'
    assert problem(document, "count: 2.5").problem == "2.5 is a number; must be a whole number"


def test_a_missing_key_comes_with_an_example_and_after_unknown_ones(document):
    assert str(problem(document, "{}", Needy)).endswith(":1: top.dim: missing; add it, for example 'dim: 48'")
    assert problem(document, "dimm: 3", Needy).problem.startswith("unknown key 'dimm'; did you mean 'dim'?")


def test_long_values_are_shortened(document):
    assert len(problem(document, f"count: {'x' * 500}").problem) < 120


def test_given_values_replace_those_of_the_document(document):
    assert parse(Outer, document("{count: nonsense}"), ("top",), given={"count": 7}).count == 7


@pytest.mark.parametrize(
    ("annotation", "text", "expected"),
    [(int, "3", 3), (float, "3", 3.0), (bool, "false", False), (Literal["a", "b"], "b", "b")],
)
def test_value_of_an_annotation(document, annotation, text, expected):
    read_value = value(annotation, document(f"x: {text}"), ("top", "x"))
    assert read_value == expected
    assert type(read_value) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "text", "message"),
    [
        (int, "true", "true is a truth value"),
        (float, "false", "false is a truth value"),
        (Literal["sum", "mean"], "maen", "unknown value 'maen'; did you mean 'mean'?"),
        (int, "{}", "a mapping is not a single value; must be a whole number"),
    ],
)
def test_value_refuses(document, annotation, text, message):
    with pytest.raises(SpaceError, match=message) as caught:
        value(annotation, document(f"x: {text}"), ("top", "x"))
    assert caught.value.key == ("top", "x")


def test_build_names_the_key_without_a_file():
    assert build(Outer, {"count": 2}).count == 2
    with pytest.raises(UserError, match=r"^count: 0 is out of range; must be at least 1$"):
        build(Outer, {"count": 0})


def test_wrong_points_below_the_value_it_is_raised_for(document):
    class Pair(Strict):
        low: int
        high: int

        @pydantic.model_validator(mode="after")
        def check(self):
            raise wrong("bad pair", at=("high",))

    assert problem(document, "{low: 1, high: 2}", Pair).key == ("top", "high")


@pytest.mark.parametrize(
    ("data", "text"), [("x", '"x"'), (True, "true"), (None, "null"), ({}, "a mapping"), ([], "a list"), (1e-5, "1e-05")]
)
def test_shown(data, text):
    assert shown(data) == text
