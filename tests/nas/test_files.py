import pytest

from nas.files import named, replace_file


def test_a_file_is_replaced_and_its_folder_made(tmp_path):
    path = tmp_path / "a" / "b.txt"
    replace_file(path, b"one")
    replace_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_no_draft(tmp_path, monkeypatch):
    path = tmp_path / "b.txt"
    replace_file(path, b"one")
    monkeypatch.setattr("pathlib.Path.replace", lambda self, target: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        replace_file(path, b"two")
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_names_the_file_that_was_meant(tmp_path, monkeypatch):
    # As a limit on the size of files does: the error of write() names none.
    monkeypatch.setattr("pathlib.Path.write_bytes", lambda self, data: (_ for _ in ()).throw(OSError(27, "too large")))
    with pytest.raises(OSError, match="too large") as caught:
        replace_file(tmp_path / "b.txt", b"two")
    assert (caught.value.errno, caught.value.filename) == (27, str(tmp_path / "b.txt"))
    with pytest.raises(FileNotFoundError) as caught, named(tmp_path / "b.txt"):
        (tmp_path / "missing").read_bytes()
    assert caught.value.filename == str(tmp_path / "missing"), "what is named already stays"
    assert list(tmp_path.iterdir()) == []


def test_below_a_file_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        replace_file(tmp_path / "file" / "b.txt", b"")
