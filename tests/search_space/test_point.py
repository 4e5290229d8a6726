import json
import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.errors import UserError
from search_space.point import Answers, Point, RandomSuggest

POINT = Point((("family", "hyper"), ("depth", 8), ("hyper.streams", 4)))


def test_point_is_a_value():
    assert (POINT.family, POINT.depth) == ("hyper", 8)
    assert Point(POINT.values) == POINT
    assert hash(POINT) == hash(Point(POINT.values))


@given(
    st.dictionaries(
        st.text(min_size=1),
        st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    )
)
def test_json_round_trip_is_exact(values):
    point = Point.from_dict(values | {"family": "hyper", "depth": 8})
    read_back = Point.from_dict(json.loads(json.dumps(point.to_dict())))
    assert repr(read_back) == repr(point)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"depth": 8}, "family is None; must be a family's name"),
        ({"family": 3, "depth": 8}, "family is 3"),
        ({"family": "hyper"}, "depth is None; must be a whole number"),
        ({"family": "hyper", "depth": 8.0}, "depth is 8.0"),
        ({"family": "hyper", "depth": True}, "depth is True"),
        ({"family": "hyper", "depth": 8, "x": [1]}, r"x is \[1\]; must be a number, a text, true or false"),
        ({"family": "hyper", "depth": 8, "x": None}, "x is None"),
    ],
)
def test_from_dict_refuses(data, message):
    with pytest.raises(UserError, match=f"^point: {message}"):
        Point.from_dict(data)


@given(st.integers(0, 2**32), st.integers(1, 50), st.integers(0, 50), st.integers(1, 5), st.booleans())
def test_random_answers_stay_in_range(seed, low, width, step, log):
    suggest = RandomSuggest(random.Random(seed))
    if log:
        assert low <= suggest.integer("x", low, low + width, log=True) <= low + width
    else:
        assert suggest.integer("x", low, low + width * step, step=step) in range(low, low + width * step + 1, step)
    assert low <= suggest.real("x", low, low + width, log=log) <= low + width
    assert suggest.choice("x", ["a", "b"]) in ("a", "b")


def test_random_answers_are_uniform_or_log_uniform():
    suggest = RandomSuggest(random.Random(0))
    counts = Counter(suggest.integer("x", 2, 8, step=2) for _ in range(4000))
    assert set(counts) == {2, 4, 6, 8}
    # Binomial, n = 4000, p = 1/4: sd 27; six of them.
    assert all(abs(count - 1000) < 6 * math.sqrt(4000 * 0.25 * 0.75) for count in counts.values())
    for draw in (suggest.real, suggest.integer):
        below = sum(draw("x", 1, 100, log=True) <= 10 for _ in range(4000))
        # Half the logarithm's range; the ends' half units move an integer's share to 0.574.
        share = 0.5 if draw == suggest.real else math.log(10.5 / 0.5) / math.log(100.5 / 0.5)
        assert abs(below - 4000 * share) < 6 * math.sqrt(4000 * 0.25)


def test_answers_give_what_is_prepared():
    answers = Answers({"a": 4, "b": 0.5, "c": "x", "d": 1})
    assert answers.integer("a", 2, 8, step=2) == 4
    assert answers.real("b", 0.0, 1.0) == 0.5
    assert answers.choice("c", ["x", "y"]) == "x"
    assert Answers({}, otherwise=0.0).real("absent", 0.0, 1.0) == 0.0


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda one: one.integer("five", 2, 8, step=2), "five is 5; must be a whole number from 2 to 8 in steps of 2"),
        (lambda one: one.integer("five", 6, 8), "five is 5; must be a whole number from 6 to 8"),
        (lambda one: one.integer("true", 0, 8), "true is true; must be a whole number"),
        (lambda one: one.integer("text", 0, 8), 'text is "a"; must be a whole number'),
        (lambda one: one.integer("absent", 0, 8), "absent is missing"),
        (lambda one: one.real("five", 0.0, 1.0), "five is 5; must be a number from 0.0 to 1.0"),
        (lambda one: one.real("nan", 0.0, 1.0), "nan is NaN"),
        (lambda one: one.real("true", 0.0, 1.0), "true is true"),
        (lambda one: one.real("text", 0.0, 1.0), 'text is "a"'),
        (lambda one: one.real("absent", 0.0, 1.0), "absent is missing"),
        (lambda one: one.choice("true", [1, 2]), "true is true; must be one of 1, 2"),
        (lambda one: one.choice("text", ["b", "c"]), 'text is "a"; must be one of "b", "c"'),
        (lambda one: one.choice("absent", ["b", "c"]), "absent is missing"),
    ],
)
def test_answers_are_checked(ask, message):
    with pytest.raises(UserError) as caught:
        ask(Answers({"five": 5, "true": True, "text": "a", "nan": math.nan}))
    assert str(caught.value).startswith(f"point: {message}")
