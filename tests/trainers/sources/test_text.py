import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.catalogue import Source
from trainers.errors import TrainerError
from trainers.sources import read
from trainers.sources.text import MEASURED, SHARES, cut, windows


@given(st.binary(min_size=1, max_size=300), st.integers(1, 40))
def test_windows_lie_side_by_side_and_each_byte_is_told_from_those_before_it(content: bytes, context: int) -> None:
    part = windows((content, content, content), context, {}).train
    count = (len(content) - 1) // context
    assert part.inputs.shape == part.labels.shape == (count, context)
    assert part.inputs.tobytes() == content[: count * context]
    assert part.labels.tobytes() == content[1 : count * context + 1]
    assert len(content) - 1 - part.inputs.size < context, "no window is left over"


def test_a_text_is_cut_by_place_and_no_byte_is_in_two_parts() -> None:
    content = bytes(range(256)) * 40
    found = cut("it", content, 8, {})
    ends = [len(content) * 18 // 20, len(content) * 19 // 20]
    for part, start, end in zip(found.parts(), [0, *ends], [*ends, len(content)], strict=True):
        held = content[start:end]
        assert part.inputs.tobytes() == held[: part.inputs.size]
        assert part.labels.tobytes()[-1:] in held
    assert found.facts == {"context": 8, "classes": 256}


def test_what_is_measured_is_bounded_and_spread_over_the_part() -> None:
    flat = np.arange(10 * MEASURED["validation"], dtype=np.uint32).view(np.uint8).tobytes()
    found = windows((flat, flat, flat), 64, {})
    assert found.validation.inputs.size == MEASURED["validation"] < found.train.inputs.size
    every = found.train.inputs
    step = len(every) / len(found.validation.inputs)
    for i in (0, 1, 500, len(found.validation.inputs) - 1):
        assert (found.validation.inputs[i] == every[int(i * step)]).all()
        assert (found.validation.labels[i] == found.train.labels[int(i * step)]).all()


def test_a_users_file_is_read_with_its_hash(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"ab\xff" * 200)
    found = read(Source("text", context=5, path=str(tmp_path / "a.txt")))
    assert found.facts == {"context": 5, "classes": 256}
    assert dict(found.files) == {"a.txt": hashlib.sha256(b"ab\xff" * 200).hexdigest()}
    assert found.train.inputs.tobytes().startswith(b"ab\xffab")


@pytest.mark.parametrize("short", [0, 1, 179])
def test_a_text_too_short_for_a_window_of_each_part_is_refused(tmp_path: Path, short: int) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * short)
    message = f"has {short} bytes, too few: a context of 8 needs 180" if short else "is empty; a context of 8 needs 180"
    with pytest.raises(TrainerError, match=re.escape(message)) as caught:
        read(Source("text", context=8, path=str(path)))
    assert str(path) in str(caught.value)
    path.write_bytes(b"x" * 180)
    assert all(len(part.inputs) for part in read(Source("text", context=8, path=str(path))).parts())
    assert sum(SHARES) * 9 == 180


def test_a_file_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match=r"a\.txt: there is no such file; give a file of text"):
        read(Source("text", path=str(tmp_path / "a.txt")))
    with pytest.raises(TrainerError, match="this is a folder; give a file of text"):
        read(Source("text", path=str(tmp_path)))
