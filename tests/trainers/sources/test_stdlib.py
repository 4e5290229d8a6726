import hashlib
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.catalogue import Source
from trainers.data import load
from trainers.errors import TrainerError
from trainers.sources.stdlib import part_of, stdlib


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A standard library of sixty files, with things beside them that are no part of it."""
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    for i in range(60):
        path = tmp_path / ("pack" if i % 2 else "") / f"m{i}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(f"module {i} ".encode() * 20)
    for name in ("test/a.py", "pack/tests/b.py", "site-packages/c.py", "config-3/d.py", "_sysconfigdata_x.py", "e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"UNWANTED")
    return tmp_path


def test_every_file_is_whole_in_one_part_and_named_with_its_hash(library: Path) -> None:
    found = stdlib(Source("stdlib", context=8))
    assert len(found.files) == 60
    assert found.files["pack/m7.py"] == hashlib.sha256(b"module 7 " * 20).hexdigest()
    parts = {"train": b"", "validation": b"", "test": b""}
    for name in sorted(found.files, key=lambda name: hashlib.sha256(f"stdlib/{name}".encode()).digest()):
        parts[part_of(name)] += (library / name).read_bytes() + b"\0"
    for part, content in zip(found.parts(), parts.values(), strict=True):
        assert part.inputs.tobytes() == content[: part.inputs.size]
        assert 0 <= len(content) - part.inputs.size <= 8
        assert b"UNWANTED" not in content
        assert content


def test_a_new_file_moves_no_other_to_another_part(library: Path) -> None:
    before = stdlib(Source("stdlib", context=8))
    (library / "new.py").write_bytes(b"new " * 50)
    after = stdlib(Source("stdlib", context=8))
    assert set(after.files) - set(before.files) == {"new.py"}
    assert sum(len(part.inputs) for part in after.parts()) > sum(len(part.inputs) for part in before.parts())


@given(st.text(min_size=1))
def test_the_part_of_a_name_is_its_hash_alone(name: str) -> None:
    if "\ud800" <= max(name) <= "\udfff":
        return
    place = int.from_bytes(hashlib.sha256(f"stdlib/{name}".encode()).digest()[-8:], "big") / 2**64
    assert part_of(name) == ("test" if place < 0.05 else "validation" if place < 0.1 else "train")


def test_the_split_of_known_files_is_fixed() -> None:
    assert {name: part_of(name) for name in ("os.py", "json/decoder.py", "ast.py", "inspect.py", "turtle.py")} == KNOWN


KNOWN = {"os.py": "train", "json/decoder.py": "train", "ast.py": "train", "inspect.py": "train", "turtle.py": "train"}


def test_a_library_without_sources_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(TrainerError, match="holds 0 source files, whose train part has 0 bytes: too few for a context"):
        stdlib(Source("stdlib"))


def test_this_pythons_library_is_megabytes_and_the_same_in_another_process() -> None:
    data = load("stdlib")
    assert data.train.inputs.numel() > 5e6
    assert data.train.inputs.shape[1] == 128
    assert {len(data.validation.inputs), len(data.files) > 300} == {512, True}
    code = "from trainers.data import load; print(load('stdlib').fingerprint)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == data.fingerprint
