import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainers.catalogue import Source, describe
from trainers.data import load, load_test
from trainers.errors import TrainerError
from trainers.sources import Arrays, read
from trainers.sources.user import labelled

X = np.random.RandomState(0).rand(40, 6, 8)
Y = np.arange(40) % 4


def changed(x: np.ndarray, where: Any, value: float) -> np.ndarray:
    x = x.copy()
    x[where] = value
    return x


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Source]:
    def save(**arrays: Any) -> Source:
        np.savez(tmp_path / "mine.npz", **arrays)
        return Source("npz", path=str(tmp_path / "mine.npz"))

    return save


def test_images_and_their_labels_come_back(saved: Callable[..., Source]) -> None:
    source = saved(x=X, y=Y.astype(np.uint8))
    found = read(source)
    assert found.facts == describe(source) == {"image": (6, 8), "channels": 1, "classes": 4}
    assert [len(part.labels) for part in found.parts()] == [28, 4, 8]
    low, high = X[_rows(found.train.inputs, found)].min(), X[_rows(found.train.inputs, found)].max()
    assert low < high
    for part in found.parts():
        assert (Y[_rows(part.inputs, found)] == part.labels).all()
    assert abs(found.train.inputs.mean()) < 1e-6
    assert abs(found.train.inputs.std() - 1) < 1e-6


def _rows(inputs: np.ndarray, found: Arrays) -> list[int]:
    """Which rows of X scaled images are: the order of pixels in an image survives scaling, and is its own."""
    orders = [tuple(image.ravel().argsort()) for image in X]
    return [orders.index(tuple(image.ravel().argsort())) for image in inputs]


@pytest.mark.parametrize(
    ("shape", "image", "channels"), [((40, 9), (1, 9), 1), ((40, 6, 8), (6, 8), 1), ((40, 3, 6, 8), (6, 8), 3)]
)
def test_signals_images_and_colours(shape: tuple[int, ...], image: tuple[int, int], channels: int) -> None:
    found = labelled("it", {"x": np.random.RandomState(0).rand(*shape), "y": Y}, {})
    assert found.facts == {"image": image, "channels": channels, "classes": 4}
    assert found.train.inputs.shape[1:] == (channels, *image)


def test_a_given_split_is_kept(saved: Callable[..., Source]) -> None:
    split = np.repeat([0, 1, 2], [20, 12, 8])
    source = saved(x=X, y=Y, split=split)
    data = load(source)
    assert data.train.labels.tolist() == Y[:20].tolist()
    assert data.validation.labels.tolist() == Y[20:32].tolist()
    assert load_test(source).labels.tolist() == Y[32:].tolist()
    assert list(data.files) == ["mine.npz"]


def test_whole_numbers_and_the_same_as_floats_are_the_same_data() -> None:
    whole = np.random.RandomState(1).randint(0, 256, (40, 6, 8)).astype(np.uint8)
    one, other = (labelled("it", {"x": x, "y": Y}, {}) for x in (whole, whole.astype(np.float64)))
    np.testing.assert_allclose(one.train.inputs, other.train.inputs, rtol=1e-6)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"y": Y}, "there is no array 'x'; it must hold x and y, and holds y"),
    ({}, "there is no array 'x'; it must hold x and y, and holds nothing"),
    ({"x": X, "y": Y, "z": Y}, "nobody reads an array 'z'; the names are x, y, split"),
    ({"x": X.ravel(), "y": Y}, "x has the shape (1920,); must be x of images (n, height, width)"),
    ({"x": np.float64(3), "y": Y}, "x has the shape (); must be"),
    ({"x": X[:0], "y": Y[:0]}, "x has the shape (0, 6, 8); must be"),
    ({"x": X[None, None], "y": Y}, "x has the shape (1, 1, 40, 6, 8); must be"),
    ({"x": X > 0.5, "y": Y}, "x holds bool, not numbers"),
    ({"x": X.astype(str), "y": Y}, "not numbers"),
    ({"x": changed(X, (7, 2, 3), float("nan")), "y": Y}, "x[7] holds nan; all values must be finite"),
    ({"x": changed(X, (9, 0, 0), float("inf")), "y": Y}, "x[9] holds inf; all values must be finite"),
    ({"x": np.ones((40, 6, 8)), "y": Y}, "all pixels of the training part are 1; a network can learn nothing"),
    ({"x": X, "y": Y[:39]}, "y has the shape (39,); must be (40,), a label for each of the 40 in x"),
    ({"x": X, "y": np.eye(4)[Y]}, "y has the shape (40, 4); must be (40,)"),
    ({"x": X, "y": Y.astype(float)}, "y holds float64; must hold whole numbers, the classes 0, 1, .."),
    ({"x": X, "y": Y - 1}, "y holds the label -1; classes are numbered 0, 1, .."),
    ({"x": X, "y": Y * 10**9}, "y holds the label 3000000000; classes are numbered"),
    ({"x": X, "y": Y * 0 + 2}, "y holds one class, 2; there must be at least two to tell apart"),
    ({"x": X, "y": np.where(Y == 1, 2, Y)}, "y has labels up to 3 but none is 1; number the classes 0, 1, .. in a row"),
    ({"x": X[:6], "y": Y[:6] % 2}, "the validation part of the 6 samples is empty"),
    ({"x": X[:5], "y": np.array([0, 0, 0, 0, 1])}, "no sample of class 1 is in the training part"),
    ({"x": X, "y": Y, "split": Y[:3]}, "split is int64 of the shape (3,); must be whole numbers (40,): 0 train"),
    ({"x": X, "y": Y, "split": Y.astype(float)}, "split is float64"),
    ({"x": X, "y": Y, "split": Y}, "split holds 3; must be 0 train, 1 validation, 2 test"),
    ({"x": X, "y": Y, "split": Y * 0}, "the validation part of the 40 samples is empty"),
    ({"x": X, "y": Y, "split": np.where(Y == 3, 1, np.arange(40) % 3)}, "no sample of class 3 is in the training part"),
]


@pytest.mark.parametrize(("arrays", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_what_cannot_be_trained_on_is_one_sentence(
    saved: Callable[..., Source], arrays: dict[str, Any], message: str
) -> None:
    with pytest.raises(TrainerError, match=re.escape(message)) as caught:
        read(saved(**arrays))
    assert str(caught.value).count("mine.npz") == 1


def test_files_that_are_no_archive_of_arrays(tmp_path: Path, saved: Callable[..., Source]) -> None:
    source = saved(x=np.array([{"a": 1}], dtype=object), y=Y)
    with pytest.raises(TrainerError, match=r"mine\.npz: cannot be read as an \.npz of plain arrays: Object arrays"):
        read(source)
    path = tmp_path / "mine.npz"
    for content in (b"", b"text", path.read_bytes()[:-30], b"PK\x05\x06" + 18 * b"\0"):
        path.write_bytes(content)
        with pytest.raises(TrainerError, match=r"mine\.npz"):
            read(source)
    np.save(tmp_path / "one.npy", X)
    with pytest.raises(TrainerError, match=r"one\.npy: cannot be read as an \.npz"):
        read(Source("npz", path=str(tmp_path / "one.npy")))
    with pytest.raises(TrainerError, match=r"there is no such file; give an \.npz file with the arrays x and y"):
        read(Source("npz", path=str(tmp_path / "absent.npz")))


@pytest.fixture
def made(tmp_path: Path) -> Callable[[str], Source]:
    def make(body: str, context: int | None = None) -> Source:
        path = tmp_path / f"mine{len(list(tmp_path.iterdir()))}.py"
        path.write_text(f"import numpy as np\nX = np.arange(320.).reshape(40, 8) ** 0.5\nY = np.arange(40) % 4\n{body}")
        return Source("function", function=f"{path}:load", context=context)

    return make


@pytest.mark.parametrize(
    "returned", ["X, Y", "X, Y, np.arange(40) // 4 % 3", "{'x': X, 'y': Y}", "X.tolist(), Y.tolist()"]
)
def test_a_function_may_return_arrays(made: Callable[..., Source], returned: str) -> None:
    source = made(f"def load(): return {returned}")
    assert describe(source) == {"image": (1, 8), "channels": 1, "classes": 4}
    assert load(source).fingerprint == load(source).fingerprint
    assert len(load(source).train.labels) == (16 if "3" in returned else 28)


@pytest.mark.parametrize("returned", ["b'some text' * 100", "'some text' * 100"])
def test_a_function_may_return_text(made: Callable[..., Source], returned: str) -> None:
    source = made(f"def load(): return {returned}", context=10)
    assert describe(source) == {"context": 10, "classes": 256}
    assert load(source).train.inputs[0].numpy().tobytes() == b"some texts"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def load(): raise KeyError('disk')", "raised KeyError: 'disk'"),
        ("def load(): raise SystemError()", "raised SystemError"),
        ("def load(where): return X, Y", "raised TypeError: load() missing 1 required positional argument"),
        (
            "def load(): return 3",
            "returned a int; must return (x, y), (x, y, split), a mapping of these names, or",
        ),
        ("def load(): return None", "returned a NoneType; must return"),
        ("def load(): return X, Y, Y, Y", "returned 4 values; must return"),
        ("def load(): return X, Y[:3]", "y has the shape (3,); must be (40,)"),
        ("def load(): return [[1, 2], [3]], Y", "x is no array: setting an array element"),
        ("def load(): return b''", "the text is empty"),
        ("def load(): return 'abc'", "the text has 3 bytes, too few"),
    ],
)
def test_a_function_that_returns_the_wrong_thing(made: Callable[..., Source], body: str, message: str) -> None:
    with pytest.raises(TrainerError, match=re.escape(message)) as caught:
        read(made(body))
    assert ".py:load" in str(caught.value)


def test_context_is_of_text_alone(made: Callable[..., Source]) -> None:
    with pytest.raises(TrainerError, match="context is of text, but the function returned a tuple"):
        read(made("def load(): return X, Y", context=4))
