from fractions import Fraction

import pytest
import torch
from papers import assert_is_the_paper, rms_norm, sizes

import graphs
from graphs import TopologyError, families
from graphs.facts import start_up
from graphs.matrix import connection_rows
from graphs.weights import generators, parameters


def paper(depth, block, *, static=False):
    """The pseudo-code: attend over finished blocks and the partial sum, which is cut off at a boundary."""

    def forward(blocks, w, x0):
        def attend(name, values):
            if len(values) == 1:
                return values[0]
            stacked = torch.stack(values)  # (sources, ..., d)
            if static:
                shares = torch.softmax(w[name][0], 0)
                return torch.einsum("i,i...d->...d", shares, stacked)
            keys = rms_norm(stacked) * w[f"{name}_gain"]
            shares = torch.softmax(torch.einsum("d,i...d->i...", w[f"{name}_map"][0], keys), 0)
            return torch.einsum("i...,i...d->...d", shares, stacked)

        done, partial = [x0], None
        for number, layer in enumerate(blocks, start=1):
            u = attend(f"query{number}", done if partial is None else [*done, partial])
            if partial is not None and (number - 1) % block == 0:
                raise AssertionError("a boundary with a partial sum")
            y = layer(u)
            partial = y if partial is None else partial + y
            if number % block == 0:
                done, partial = [*done, partial], None
        return attend(f"query{depth + 1}", done if partial is None else [*done, partial])

    return forward


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize(("depth", "block"), [(1, 1), (2, 1), (5, 1), (5, 2), (6, 3), (4, 4), (3, 9)])
def test_it_is_the_paper_s(depth, block, static):
    assert_is_the_paper(families.attnres(depth, block=block, static=static), paper(depth, block, static=static))


def _sources(depth, block):
    """Number of sources of each reader, the output last."""
    return [1 + (r // block) + int(r % block > 0) for r in range(depth + 1)]


def test_sources_by_hand():
    assert _sources(4, 1) == [1, 2, 3, 4, 5]
    assert _sources(5, 2) == [1, 2, 2, 3, 3, 4]


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize(("depth", "block"), [(1, 1), (4, 1), (5, 2), (6, 3), (5, 4), (3, 5)])
def test_every_reader_starts_at_the_mean_of_its_sources(depth, block, static):
    """That is the residual network's value over their number, exactly, for summaries as well."""
    rows = connection_rows(families.attnres(depth, block=block, static=static))
    expected = [dict.fromkeys(range(r + 1), Fraction(1, count)) for r, count in enumerate(_sources(depth, block))]
    assert [dict(row) for row in rows] == expected


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("block", [1, 2, 9])
def test_start_up_facts(block, static):
    facts = start_up(families.attnres(5, block=block, static=static))
    assert (facts.residual, facts.dead) == ("scaled", 0)


def test_with_norms_before_every_reader_it_starts_as_the_residual_network():
    class Normed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(8, 8).double()

        def forward(self, u):
            return self.layer(u / u.norm(dim=-1, keepdim=True))

    torch.manual_seed(0)
    blocks = [Normed() for _ in range(6)]
    x = torch.randn(3, 8, dtype=torch.float64)
    plain = graphs.compile(families.residual(6), blocks, dim=8)(x)
    for block in (1, 2, 4):
        out = graphs.compile(families.attnres(6, block=block), blocks, dim=8).double()(x)
        torch.testing.assert_close(out / out.norm(dim=-1, keepdim=True), plain / plain.norm(dim=-1, keepdim=True))


@pytest.mark.parametrize(("depth", "block"), [(1, 1), (4, 1), (5, 2), (6, 3), (3, 5)])
def test_count_of_weights(depth, block):
    readers = [count for count in _sources(depth, block) if count > 1]
    assert len(readers) == depth
    assert sizes(families.attnres(depth, block=block), 10) == 2 * 10 * depth
    assert sizes(families.attnres(depth, block=block, static=True), 10) == sum(readers)


def test_initial_values_and_settings():
    topology = families.attnres(3)
    queries = [g for mix in topology.mixes for g in generators(mix.weight)]
    assert [g.name for g in queries] == ["query2", "query3", "query4"]
    for g in queries:
        assert (g.norm, g.gain, g.start, g.group, g.each, g.hidden) == ("rms", True, "zeros", "mix", True, 0)
    assert [g.outputs for g in queries] == [(1, 2), (1, 3), (1, 4)]
    assert topology.settings == (("block", 1), ("static", False))
    static = families.attnres(3, static=True)
    assert [p.initial for mix in static.mixes for p in parameters(mix.weight)] == [((0,) * k,) for k in (2, 3, 4)]
    assert len({families.attnres(4, block=b, static=s).digest for b in (1, 2, 4) for s in (True, False)}) == 6


@pytest.mark.parametrize("bad", [{"block": 0}, {"block": True}, {"block": 2.0}])
def test_bad_arguments(bad):
    with pytest.raises(TopologyError, match=f"block is {bad['block']!r}; a whole number of at least 1"):
        families.attnres(3, **bad)
    with pytest.raises(TopologyError, match="depth is 0"):
        families.attnres(0)
