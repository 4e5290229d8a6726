import re
import sys
from pathlib import Path

import pytest

from trainers import functions
from trainers.errors import TrainerError


def test_a_module_beside_the_file_is_meant_before_an_installed_one(tmp_path: Path) -> None:
    assert functions.locate("json:loads", tmp_path) == "json:loads"
    assert functions.load("json:loads")("[1]") == [1]
    (tmp_path / "json.py").write_text("def loads(text): return 'mine'")
    reference = functions.locate("json:loads", tmp_path)
    assert reference == f"{tmp_path}/json.py:loads"
    assert functions.load(reference)("[1]") == "mine"
    import json

    assert json.loads("[1]") == [1]
    assert sys.modules["json"] is json


def test_a_file_is_meant_relative_to_the_folder_and_may_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "neighbour_of_mine.py").write_text("VALUE = 5")
    (tmp_path / "inner" / "mine.py").write_text("import neighbour_of_mine\ndef give(): return neighbour_of_mine.VALUE")
    path = list(sys.path)
    for reference in ("inner/mine.py:give", "inner.mine:give", "../x/inner/mine.py:give"):
        found = functions.locate(reference, tmp_path if ".." not in reference else tmp_path.parent / "x")
        if ".." not in reference:
            assert functions.call(found) == 5
            assert functions.locate(found, Path("/elsewhere")) == found, "what is absolute stays"
    assert sys.path == path


@pytest.mark.parametrize("reference", ["mine", ":load", "mine:", "mine:a b", "", ":"])
def test_what_names_no_function(tmp_path: Path, reference: str) -> None:
    with pytest.raises(TrainerError, match=r"names no function; write module:function or file\.py:function"):
        functions.load(functions.locate(reference, tmp_path))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def other(): pass", "mine.py has no 'load'"),
        ("load = 5", "mine.py has a int, not a function, called 'load'"),
        ("def load(:", "mine.py cannot be imported: SyntaxError: invalid syntax"),
        ("import absent_thing", "mine.py cannot be imported: ModuleNotFoundError: No module named 'absent_thing'"),
        ("open('absent_thing')", "mine.py cannot be imported: FileNotFoundError: [Errno 2]"),
        ("1 / 0", "mine.py cannot be imported: ZeroDivisionError: division by zero"),
        ("def load(): raise ValueError('no luck')", "mine.py:load raised ValueError: no luck"),
    ],
)
def test_what_a_users_file_does_wrong_is_one_sentence(tmp_path: Path, body: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(body)
    modules = set(sys.modules)
    with pytest.raises(TrainerError, match=re.escape(message)) as caught:
        functions.call(functions.locate("mine:load", tmp_path))
    assert str(tmp_path) in str(caught.value)
    if "imported" in message:
        assert not {name for name in set(sys.modules) - modules if "mine" in name}


def test_modules_and_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match=r"absent_mod cannot be imported: .*; put the module beside the exp"):
        functions.load(functions.locate("absent_mod:load", tmp_path))
    with pytest.raises(TrainerError, match=r"absent\.py: there is no such file"):
        functions.load(functions.locate("absent.py:load", tmp_path))
