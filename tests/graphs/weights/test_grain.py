import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphs import TopologyError
from graphs.rule_tensors import lift
from graphs.weights import CHANNEL, MATRIX, SCALAR, Grain
from graphs.weights.grain import join

grains = st.builds(Grain, st.one_of(st.none(), st.integers(1, 12)), st.booleans())


@pytest.mark.parametrize("parts", [0, -2, 2.0, 2.5, True, "2", math.nan, (2,)])
def test_parts_are_whole_numbers_of_at_least_one(parts):
    with pytest.raises(TopologyError, match=r"a grain of .* parts; at least 1, or none for one part per channel"):
        Grain(parts)


def test_a_one_by_one_matrix_is_a_scalar():
    assert Grain(1, full=True) == Grain(1) == Grain() == SCALAR
    assert not Grain(1, full=True).full
    assert len({SCALAR, CHANNEL, MATRIX, Grain(2), Grain(2, full=True), Grain(3)}) == 6


@pytest.mark.parametrize(
    ("grain", "width", "size", "flops"),
    [
        (SCALAR, 1, 1, 2 * 12),
        (CHANNEL, 12, 12, 2 * 12),
        (MATRIX, 12, 144, 2 * 144),
        (Grain(3), 3, 3, 2 * 12),
        (Grain(3, full=True), 3, 9, 2 * 12 * 3),
        (Grain(12, full=True), 12, 144, 2 * 144),
    ],
)
def test_by_hand_for_twelve_channels(grain, width, size, flops):
    assert (grain.width(12), grain.size(12), grain.flops(12)) == (width, size, flops)


def test_channels_that_cannot_be_cut():
    for call in (Grain(5).width, Grain(5).size, Grain(5, full=True).flops):
        with pytest.raises(TopologyError, match="12 channels cannot be cut into 5 equal parts"):
            call(12)


def test_names():
    named = {"scalar": SCALAR, "channel": CHANNEL, "matrix": MATRIX, "parts 7": Grain(7)}
    named["fraction 4"] = Grain(4, full=True)
    assert {text: Grain.read(text) for text in named} == named
    assert [str(grain) for grain in named.values()] == list(named)


@given(grains)
def test_names_are_read_back(grain):
    assert Grain.read(str(grain)) == grain


@pytest.mark.parametrize(
    "text",
    [
        *("", "Scalar", "scalar ", "parts", "parts ", "parts 0", "parts -1", "parts 2.0", "parts 02", "parts  2"),
        *("parts 2 ", "parts two", "parts ２", "parts 10000000", "fraction", "fraction 0", "fractions 2", "matrix 2"),
        *(None, 2, ["scalar"]),
    ],
)
def test_other_names_are_refused(text):
    with pytest.raises(TopologyError, match="one of scalar, channel, matrix, 'fraction N', 'parts N' was expected"):
        Grain.read(text)


def test_join_by_hand():
    assert join([]) == SCALAR
    assert join([SCALAR, SCALAR]) == SCALAR
    assert join([SCALAR, CHANNEL]) == join([Grain(3), CHANNEL]) == CHANNEL
    assert join([CHANNEL, Grain(2, full=True)]) == join([SCALAR, MATRIX]) == MATRIX
    assert join([Grain(2), Grain(6)]) == Grain(6)
    assert join([Grain(2), Grain(3)]) == Grain(6), "sixths can hold halves and thirds"
    assert join([Grain(2, full=True), Grain(3)]) == Grain(6, full=True)


@given(st.lists(grains, max_size=4), st.lists(grains, max_size=4))
def test_join_is_the_coarsest_that_holds_all(some, others):
    joined = join([*some, *others])
    assert joined == join([*others, *some]) == join([join(some), join(others)]) == join([joined, *some])
    assert joined.full == any(grain.full for grain in [*some, *others])
    if joined.parts is None:
        assert any(grain.parts is None for grain in [*some, *others])
    else:
        assert joined.parts == math.lcm(*(grain.parts for grain in [*some, *others]))


@given(st.lists(grains, min_size=1, max_size=3), grains)
def test_lifting_keeps_what_an_entry_does(path, given_grain):
    """Each entry, spelled out as a matrix on the channels, is the same after it is made finer, in any steps."""
    dim = 2 * math.lcm(*(grain.parts or 1 for grain in [given_grain, *path]))
    if dim > 48:
        return
    size = (given_grain.width(dim),) * (0 if given_grain == SCALAR else 2 if given_grain.full else 1)
    entry = torch.arange(2, 2 + math.prod(size), dtype=torch.float64).reshape(1, 1, *size)
    now, grain = entry, given_grain
    for finer in path:
        wanted = join([grain, finer])
        now, grain = lift(now, grain, wanted, dim), wanted
        assert now.shape == (1, 1, *(wanted.width(dim),) * (0 if wanted == SCALAR else 2 if wanted.full else 1))
    assert torch.equal(_on_channels(now[0, 0], grain, dim), _on_channels(entry[0, 0], given_grain, dim))


def _on_channels(entry, grain, dim):
    if grain == SCALAR:
        return entry * torch.eye(dim, dtype=torch.float64)
    run = torch.eye(dim // grain.width(dim), dtype=torch.float64)
    return torch.kron(entry if grain.full else torch.diag(entry), run)
