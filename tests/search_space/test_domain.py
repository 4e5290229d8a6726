from typing import Literal

import pytest

from search_space.document import dump, read
from search_space.domain import Choice, Fixed, FloatRange, IntRange, at_least
from search_space.domain import read as read_domain
from search_space.errors import SpaceError

KEY = ("depth",)


@pytest.fixture
def document(tmp_path):
    def document(text):
        path = tmp_path / "file.yaml"
        path.write_text(f"depth:\n  {text}\n")
        return read(path)

    return document


FORMS = [
    (int, "8", Fixed(8), 1, (8,), "8"),
    (float, "8", Fixed(8.0), 1, (8.0,), "8.0"),
    (bool, "true", Fixed(True), 1, (True,), "true"),
    (int, "[4]", Fixed(4), 1, (4,), "4"),
    (int, "[4, 2, 8]", Choice((4, 2, 8)), 3, (2, 8), "4 | 2 | 8"),
    (bool, "[true, false]", Choice((True, False)), 2, (True, False), "true | false"),
    (Literal["b", "a"], "[b, a]", Choice(("b", "a")), 2, ("b", "a"), '"b" | "a"'),
    (int, "{low: 4, high: 8}", IntRange(low=4, high=8), 5, (4, 8), "4 .. 8"),
    (int, "{low: 4, high: 8, step: 2}", IntRange(low=4, high=8, step=2), 3, (4, 8), "4 .. 8 step 2"),
    (int, "{low: 1, high: 64, log: true}", IntRange(low=1, high=64, log=True), 64, (1, 64), "1 .. 64 log"),
    (int, "{low: 4, high: 4}", Fixed(4), 1, (4,), "4"),
    (float, "{low: 0, high: 1}", FloatRange(low=0, high=1), None, (0.0, 1.0), "[0, 1]"),
    (
        float,
        "{low: 1e-4, high: 1, log: true}",
        FloatRange(low=1e-4, high=1, log=True),
        None,
        (1e-4, 1.0),
        "[0.0001, 1] log",
    ),
]


@pytest.mark.parametrize(("annotation", "text", "domain", "count", "extremes", "shown"), FORMS)
def test_forms(document, tmp_path, annotation, text, domain, count, extremes, shown):
    found = read_domain(annotation, document(text), KEY)
    assert found == domain
    assert (found.count(), found.extremes(), str(found)) == (count, extremes, shown)
    again = tmp_path / "again.yaml"
    again.write_text(dump({"depth": found.plain()}))
    assert read_domain(annotation, read(again), KEY) == domain


WRONG = [
    (int, "{low: 9, high: 4}", "depth.low", "9 is above high (4); must not be above"),
    (int, "{low: 0, high: 4, log: true}", "depth.low", "0 cannot be the low end with log: true; must be more than 0"),
    (float, "{low: -1, high: 4, log: true}", "depth.low", "-1.0 cannot be the low end with log: true"),
    (int, "{low: 1, high: 4, log: true, step: 3}", "depth.step", "3 cannot be combined with log: true"),
    (int, "{low: 1, high: 4, step: 0}", "depth.step", "0 is out of range; must be at least 1"),
    (int, "{low: 4, high: 9, step: 2}", "depth.high", "9 is not reached from 4 in steps of 2; write 8"),
    (int, "{low: 4}", "depth.high", "missing; add it, for example 'high: 8'"),
    (int, "{low: 4, hihg: 9}", "depth.hihg", "unknown key 'hihg'; did you mean 'high'? Valid: low, high, log, step"),
    (int, "{low: 4.5, high: 9}", "depth.low", "4.5 is a number; must be a whole number"),
    (int, "{low: 4, high: 9, log: yes}", "depth.log", '"yes" is a text in YAML 1.2; write true or false'),
    (float, "{low: 0, high: .inf}", "depth.high", "inf is not finite"),
    (float, "{low: 0, high: 1, step: 1}", "depth.step", "unknown key 'step'; Valid: low, high, log"),
    (bool, "{low: 0, high: 1}", "depth", "a range of values that are not numbers; list the choices instead"),
    (int, "[]", "depth", "the list of choices is empty; list at least one"),
    (int, "[4, 8, 4]", "depth[2]", "4 is listed twice; keep one of them"),
    (float, "[1, 1.0]", "depth[1]", "1.0 is listed twice"),
    (int, "[4, x]", "depth[1]", '"x" is a text; must be a whole number'),
    (int, "[4, [5]]", "depth[1]", "a list is not a single value; must be a whole number"),
    (Literal["sum", "mean"], "[sum, maen]", "depth[1]", "unknown value 'maen'; did you mean 'mean'?"),
    (int, "four", "depth", '"four" is a text; must be a whole number'),
    (bool, "no", "depth", '"no" is a text in YAML 1.2; write true or false'),
    (int, "", "depth", "the value is empty (null); must be a whole number"),
]


@pytest.mark.parametrize(("annotation", "text", "key", "message"), WRONG)
def test_refuses(document, annotation, text, key, message):
    with pytest.raises(SpaceError) as caught:
        read_domain(annotation, document(text), KEY)
    assert f": {key}: {message}" in str(caught.value)
    assert caught.value.line in (1, 2)


@pytest.mark.parametrize(
    ("text", "key"),
    [("0", "depth"), ("[4, 0]", "depth[1]"), ("{low: 0, high: 4}", "depth.low"), ("{low: 0, high: 0}", "depth.low")],
)
def test_at_least_points_at_the_value(document, text, key):
    read_document = document(text)
    with pytest.raises(SpaceError, match="0 is too small; at least 1") as caught:
        at_least(1, read_domain(int, read_document, KEY), read_document, KEY)
    assert f": {key}: " in str(caught.value)
    at_least(0, read_domain(int, read_document, KEY), read_document, KEY)


@pytest.mark.parametrize(
    ("domain", "wanted", "nearest"),
    [
        (Fixed(3), 4, 3),
        (Choice((2, 8)), 4, 2),
        (Choice((1.0, 2.0)), 1, 1.0),
        (Choice(("a", "b")), "b", "b"),
        (Choice(("a", "b")), "c", "a"),
        (IntRange(low=2, high=8, step=3), 4, 5),
        (IntRange(low=2, high=8), 40, 8),
        (IntRange(low=2, high=8), "x", 2),
        (FloatRange(low=0.5, high=1), 0.01, 0.5),
        (FloatRange(low=0.5, high=1), 0.75, 0.75),
        (FloatRange(low=0.5, high=1), True, 0.5),
    ],
)
def test_nearest(domain, wanted, nearest):
    found = domain.nearest(wanted)
    assert found == nearest
    assert type(found) is type(nearest)


class Recorder:
    def __init__(self):
        self.calls = []

    def __getattr__(self, kind):
        return lambda *args, **kwargs: self.calls.append((kind, args, kwargs))


def test_ask_passes_the_declared_range_on():
    recorder = Recorder()
    assert Fixed(3).ask("a", recorder) == 3
    Choice((1, 2)).ask("b", recorder)
    IntRange(low=2, high=8, step=3).ask("c", recorder)
    FloatRange(low=0.5, high=1, log=True).ask("d", recorder)
    assert recorder.calls == [
        ("choice", ("b", (1, 2)), {}),
        ("integer", ("c", 2, 8), {"log": False, "step": 3}),
        ("real", ("d", 0.5, 1.0), {"log": True}),
    ]
