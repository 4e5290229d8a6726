from typing import Literal

import pytest

from graphs import TopologyError
from graphs.families.arguments import choice, real, whole


def test_what_is_right_comes_back():
    assert choice("mode", "b", Literal["a", "b"]) == "b"
    assert whole("count", 3, 1, 3) == 3


@pytest.mark.parametrize("value", ["c", 1, None])
def test_a_name_that_is_no_choice(value):
    with pytest.raises(TopologyError, match=rf"^mode is {value!r}; one of a, b was expected$"):
        choice("mode", value, Literal["a", "b"])


@pytest.mark.parametrize("value", [0, -1, True, 2.0, "2", None])
def test_what_is_no_whole_number(value):
    with pytest.raises(TopologyError, match=rf"^count is {value!r}; a whole number of at least 1 was expected$"):
        whole("count", value, 1, 3, "to be seen")
    with pytest.raises(TopologyError, match=r"least 1 was expected, to be seen$"):
        whole("count", value, 1, why="to be seen")


def test_too_many():
    with pytest.raises(TopologyError, match=r"^count is 4; at most 3 was expected$"):
        whole("count", 4, 1, 3)
    with pytest.raises(TopologyError, match=r"^count is 4; at most 3 was expected, for there are 3$"):
        whole("count", 4, 1, 3, "for there are 3")
    assert whole("count", 4, 1) == 4


@pytest.mark.parametrize("value", [0, 1, 0.5, -3, 1e300])
def test_a_finite_number_comes_back(value):
    assert real("share", value) is value


@pytest.mark.parametrize("value", [True, "1", None, 1j, float("nan"), float("inf"), float("-inf"), 10**400])
def test_what_is_no_finite_number(value):
    with pytest.raises(TopologyError, match=r"^share is .{1,80}; a finite number was expected$"):
        real("share", value)


def test_what_is_out_of_bounds():
    assert [real("share", value, 0, 1) for value in (0, 0.5, 1)] == [0, 0.5, 1]
    for value in (-0.1, 1.5, float("nan"), "0"):
        with pytest.raises(TopologyError, match=rf"^share is {value!r}; a finite number from 0 to 1 was expected$"):
            real("share", value, 0, 1)
