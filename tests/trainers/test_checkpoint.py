import os
from pathlib import Path

import pytest
import torch

from trainers import checkpoint
from trainers.errors import TrainerError


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    tensors = {"a": torch.randn(3, 4), "b": torch.arange(5), "scalar": torch.tensor(2.5, dtype=torch.float64)}
    checkpoint.save(path, tensors, {"digest": "abc", "note": "ü"})
    loaded, metadata = checkpoint.load(path)
    assert metadata == checkpoint.read_metadata(path) == {"digest": "abc", "note": "ü"}
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)
    assert list(tmp_path.iterdir()) == [path]


def test_shared_and_strided_tensors_are_written_out(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    base = torch.randn(4, 4, requires_grad=True)
    tensors = {"base": base, "tied": base, "row": base[1], "transposed": base.t()}
    checkpoint.save(path, tensors, {})
    loaded, metadata = checkpoint.load(path)
    assert metadata == {}
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, {"a": torch.zeros(1000)}, {"version": "old"})
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(*((os, "fsync", fail) if failing == "fsync" else (Path, "replace", fail)))
    with pytest.raises(OSError, match="no space left"):
        checkpoint.save(path, {"a": torch.ones(2000)}, {"version": "new"})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_content_is_on_disk_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append("fsync"), fsync(fd)))
    monkeypatch.setattr(Path, "replace", lambda *paths: (events.append("replace"), replace(*paths)))
    checkpoint.save(tmp_path / "model.safetensors", {"a": torch.zeros(1)}, {})
    assert events == ["fsync", "replace"]


@pytest.mark.parametrize("reader", [checkpoint.load, checkpoint.read_metadata])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "header"])
def test_a_missing_or_damaged_file_is_named(tmp_path: Path, reader: object, damage: str) -> None:
    path = tmp_path / "model.safetensors"
    if damage != "missing":
        checkpoint.save(path, {"a": torch.zeros(100)}, {})
        content = path.read_bytes()
        path.write_bytes({"empty": b"", "cut": content[:-1], "header": b"\xff" * 8 + content[8:]}[damage])
    assert callable(reader)
    with pytest.raises(TrainerError, match=r"model\.safetensors"):
        reader(path)
