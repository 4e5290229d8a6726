from dataclasses import replace
from fractions import Fraction
from functools import partial

import pytest
import torch
from graph_samples import rebuilt

import graphs
from graphs import Mix, Parameter, TopologyError, families
from graphs.builder import Builder
from graphs.families.streams import checked_streams, collapsed, ends, expanded
from graphs.weights import Constant


@pytest.mark.parametrize(
    ("how", "weight"),
    [
        ("copy", Constant(((1,), (1,), (1,)))),
        ("first", Constant(((1,), (0,), (0,)))),
        ("learned", Parameter("expand", ((1,), (1,), (1,)))),
    ],
)
def test_the_stem_becomes_streams(how, weight):
    build = Builder(1)
    state = expanded(build, 3, how)
    out = collapsed(build, state, "sum")
    first, last = build.topology(out, "test").mixes
    assert first.reads == ("x0",)
    assert first.writes == state == last.reads
    assert first.weight == weight
    assert last.weight == Constant(((1, 1, 1),))


@pytest.mark.parametrize(
    ("how", "weight"),
    [("mean", Constant(((Fraction(1, 3),) * 3,))), ("learned", Parameter("collapse", ((1, 1, 1),)))],
)
def test_streams_become_the_output(how, weight):
    build = Builder(1)
    out = collapsed(build, expanded(build, 3, "copy"), how)
    topology = build.topology(out, "test")
    assert topology.mixes[-1].weight == weight
    assert topology.output == out


def test_bad_arguments():
    build = Builder(1)
    with pytest.raises(TopologyError, match="expand is 'zero'; one of copy, first, learned was expected"):
        expanded(build, 2, "zero")
    with pytest.raises(TopologyError, match="collapse is 'max'; one of sum, mean, learned was expected"):
        collapsed(build, ["x0"], "max")
    assert checked_streams(16) == 16
    with pytest.raises(TopologyError, match="streams is 17; at most 16"):
        checked_streams(17)


def test_only_unusual_ends_are_settings():
    assert ends("copy", "sum") == {}
    assert ends("first", "mean") == {"expand": "first", "collapse": "mean"}


def _renumbered(topology, n, order):
    """The same program written by someone who counts the streams in another order: every start value moves."""

    def places(size):
        return {1: [0], n: order, n + 1: [0, *(1 + s for s in order)]}.get(size, range(size))

    def moved(rule):
        if not isinstance(rule, Parameter):
            return rule
        rows, columns = map(places, rule.shape)
        learned = rule.learned and tuple(tuple(rule.learned[i][j] for j in columns) for i in rows)
        return replace(rule, initial=tuple(tuple(rule.initial[i][j] for j in columns) for i in rows), learned=learned)

    ops = [replace(op, weight=rebuilt(op.weight, moved)) if isinstance(op, Mix) else op for op in topology.ops]
    return topology.with_ops(tuple(ops))


@pytest.mark.parametrize(
    "topology",
    [
        families.hyper(5, streams=4),
        families.hyper(5, streams=4, dynamic=True),
        families.hyper(4, streams=3, dynamic=True, tanh=False, expand="learned", collapse="mean"),
        families.mhc(5, streams=4),
        families.mhc(4, streams=3, mixing="permutations"),
        families.mhc(5, streams=4, mixing="identity", collapse="learned"),
        families.mhc(4, streams=3, dynamic=False),
    ],
    ids=str,
)
def test_the_order_of_streams_does_not_matter(topology):
    n = dict(topology.settings)["streams"]
    for order in ([*range(1, n), 0], [1, 0, *range(2, n)]):
        other = _renumbered(topology, n, order)
        assert other.to_dict() != topology.to_dict()
        assert other.digest == topology.digest
        assert other == topology


@pytest.mark.parametrize("make", [families.hyper, partial(families.hyper, dynamic=True), families.mhc])
def test_a_norm_in_the_wiring_is_the_block_s_own(make):
    """``pre_norm`` equals a norm at the start of each block, which the hint leaves out."""
    dim = 8
    torch.manual_seed(0)
    maps = [torch.nn.Linear(dim, dim) for _ in range(3)]
    topology, own = make(3, streams=2, pre_norm=True), make(3, streams=2)
    assert [dict(block.hints).get("pre_norm") for block in topology.blocks] == [0] * 3
    assert [dict(block.hints).get("pre_norm") for block in own.blocks] == [None] * 3
    norms = [torch.nn.RMSNorm(dim, eps=1e-6) for _ in range(3)]
    inside = graphs.compile(own, [torch.nn.Sequential(*both) for both in zip(norms, maps, strict=True)], dim=dim)
    outside = graphs.compile(topology, maps, dim=dim)
    with torch.no_grad():
        for parameter in inside.weights.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for number, norm in enumerate(norms, start=1):
            norm.weight.add_(0.3 * torch.randn_like(norm.weight))
            getattr(outside.weights, f"norm{number}_gain").copy_(norm.weight)
    outside.weights.load_state_dict(inside.weights.state_dict(), strict=False)
    x = torch.randn(5, dim)
    torch.testing.assert_close(outside(x), inside(x))
