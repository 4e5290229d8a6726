import pytest

from graphs.draw.labels import number, printable, shorten


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (0, "0"), (1, "1"), (-1, "-1"), (0.5, "0.5"), (1 / 3, "0.33"), (0.996, "1"), (2.0, "2"), (5.667, "5.7"),
        (9.94, "9.9"), (9.96, "10"), (64.67, "65"), (74057.007, "74057"), (-12345.6, "-12346"), (99999.4, "99999"),
        (99999.6, "1e5"), (123456, "1e5"), (2.5e12, "2e12"), (0.005, "0.01"), (0.0049, "5e-3"), (-3e-11, "-3e-11"),
    ],
)  # fmt: skip
def test_numbers(value, label):
    assert number(value) == label
    assert len(label) <= 6


def test_names():
    assert printable("h1 = α·x\té\n入") == "h1 = ?·x?é??"


def test_shorten():
    line = "".join(map(str, range(40)))
    assert shorten(line, len(line)) == line
    for columns in (20, 33, 60):
        short = shorten(line, columns)
        assert len(short) == columns
        head, tail = short.split(" … ")
        assert line.startswith(head)
        assert line.endswith(tail)
