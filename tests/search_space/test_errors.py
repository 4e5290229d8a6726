import pickle
from pathlib import Path

import pytest

from search_space.errors import SpaceError, dotted, unknown


def test_message_holds_file_line_key_and_problem_and_keeps_them_as_fields():
    error = SpaceError(Path("a.yaml"), 3, ("objectives", 0, "goal"), "bad")
    assert str(error) == "a.yaml:3: objectives[0].goal: bad"
    assert (error.file, error.line, error.key, error.problem) == (
        Path("a.yaml"),
        3,
        ("objectives", 0, "goal"),
        "bad",
    )


def test_message_leaves_out_what_is_not_known():
    assert str(SpaceError(Path("a.yaml"), None, (), "there is no such file")) == "a.yaml: there is no such file"


def test_survives_pickling():
    error = SpaceError(Path("a.yaml"), 3, ("seed",), "bad")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(("key", "text"), [((), ""), (("a",), "a"), (("a", 0, 1, "b"), "a[0][1].b")])
def test_dotted(key, text):
    assert dotted(key) == text


def test_unknown_names_the_nearest_if_one_is_near():
    assert unknown("key", "streems", ["streams", "depth"]) == (
        "unknown key 'streems'; did you mean 'streams'? Valid: streams, depth"
    )
    assert unknown("key", "xyz", ["streams"]) == "unknown key 'xyz'; Valid: streams"
    assert unknown("key", "xyz", []) == "unknown key 'xyz'; Valid: none"
