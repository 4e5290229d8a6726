from importlib import import_module

import pytest
from pass_samples import differences, edges, generic_values, hyper_history, learned, meanings, products, streamed

from graphs import Block, Constant, Mix, Parameter, Product, Softmax, Sum, Topology, families
from graphs.passes import defer, fold, prune, to_history, to_streams
from graphs.passes.streams import shares_factors
from graphs.traffic import traffic
from graphs.weights import Place, beside, ones, pick, stacked

module = import_module("graphs.passes.streams")


@pytest.mark.parametrize(("depth", "n"), [(1, 2), (5, 3), (8, 2), (12, 4)])
def test_there_and_back_is_the_same_program(depth, n):
    topology = prune(fold(prune(families.hyper(depth, streams=n))))
    back = prune(fold(prune(to_streams(to_history(topology)))))
    assert edges(back) == edges(topology)
    assert [(mix.weight, len(mix.writes)) for mix in back.mixes] == [
        (mix.weight, len(mix.writes)) for mix in topology.mixes
    ]
    assert back == topology, "the same canonical program"
    assert traffic(defer(back)) == traffic(defer(topology))


@pytest.mark.parametrize(("depth", "n"), [(1, 4), (10, 2), (24, 4)])
def test_shared_states_become_streams(depth, n):
    """``S_k = [A_r S_{k-1} | B]``: n streams, n (n + 2) edges a block."""
    topology = hyper_history(depth, n)
    assert edges(topology) == (depth + 1) * (depth + 2) // 2
    back = prune(fold(prune(to_streams(topology))))
    assert learned(back) == learned(topology)
    states = [mix for mix in back.mixes if len(mix.writes) == n]
    assert len(states) == depth
    assert all(len(mix.reads) == n + 1 for mix in states[1:])
    first = n * (n + 2) - n * (n - 1) - (n - 1)  # its n streams are one value, the stem
    assert edges(back) == (depth - 1) * n * (n + 2) + first + n
    assert list(differences(topology, back, 0)) == []


def test_two_readers_of_one_factor_share_its_values():
    s = Parameter("s", ((1, 2, 3), (4, 5, 6)))
    a, b = Parameter("a", ((1, 2),)), Parameter("b", ((3, 4),))
    chain = (Block(1, ("x0",), "y1"), Block(2, ("y1",), "y2"))
    sources = ("x0", "y1", "y2")
    ops = (*chain, Mix(sources, ("k",), Product(a, s)), Mix(sources, ("v",), Product(b, s)))
    topology = Topology((*ops, Block(3, ("k", "v"), "y3", ("k", "v"))), "y3", 3)
    assert shares_factors(topology)
    after = to_streams(topology)
    assert [(mix.reads, mix.weight) for mix in after.mixes] == [(sources, s), (("s1", "s2"), a), (("s1", "s2"), b)]
    equal = Parameter("s", ((1, 2, 3), (4, 5, 6)))
    again = topology.with_ops((*ops[:3], Mix(sources, ("v",), Product(b, equal)), topology.ops[-1]))
    assert to_streams(again) == after, "equal is as good as the same"
    assert len(to_streams(again).mixes) == 3


def test_equal_factors_of_different_sources_are_different_values():
    s, a = Parameter("s", ((1, 2), (4, 5))), Parameter("a", ((1, 2),))
    ops = (
        Block(1, ("x0",), "y1"),
        Block(2, ("y1",), "y2"),
        Mix(("x0", "y1"), ("k",), Product(a, s)),
        Mix(("x0", "y2"), ("v",), Product(a, s)),
        Block(3, ("k", "v"), "y3", ("k", "v")),
    )
    topology = Topology(ops, "y3", 3)
    after = to_streams(topology)
    assert len(after.mixes) == 4
    assert list(differences(topology, after, 0)) == []


def test_constants_are_not_looked_into():
    """No rank is found: two constant rows that happen to be multiples are factor's business."""
    rows = [Mix(("x0", "y1"), (name,), Constant(((f, 2 * f),))) for name, f in (("k", 1), ("v", 3))]
    topology = Topology((Block(1, ("x0",), "y1"), *rows, Block(2, ("k", "v"), "y2", ("k", "v"))), "y2", 2)
    assert to_streams(topology) is topology
    assert not shares_factors(topology)


def test_a_shared_constant_factor_is_computed_once():
    c = Constant(((1, 2, 1), (0, 1, 3)))
    chain = (Block(1, ("x0",), "y1"), Block(2, ("y1",), "y2"))
    mixes = [Mix(("x0", "y1", "y2"), (n,), Product(Parameter(f"p{n}", ((1, 2),)), c)) for n in "kv"]
    topology = Topology((*chain, *mixes, Block(3, ("k", "v"), "y3", ("k", "v"))), "y3", 3)
    after = to_streams(topology)
    assert after.mixes[0].weight == c
    assert [len(mix.reads) for mix in after.mixes] == [3, 2, 2]


def test_sums_placements_twice_and_zero():
    """Rows that are placed, added up, read twice from one source, zero, or plain copies."""
    a, s = Parameter("a", ((1, 2), (3, 4))), Parameter("s", ((1, 2), (5, 7)))
    product = Product(a, s)
    twice = Place(product, (2, 2), ((0, 0, 1, 1), (0, 1, 1, 1), (1, 0, 0, 0)))
    both = Sum((product, twice, Constant(((0, 1), (1, 0)))))
    tall = stacked(pick(product, rows=[1]), Constant(((0, 1), (0, 0))), product)
    chain = (Block(1, ("x0",), "y1"),)
    for weight in (twice, both, tall, beside(product, both), Sum((product, product)), Product(tall, Softmax(s))):
        m, k = weight.shape
        sources = ("x0", "y1", "z0", "z1")[:k]
        extra = (Mix(("y1",), ("z0", "z1"), Constant(((2,), (3,)))),)
        writes = tuple(f"o{i}" for i in range(m))
        last = Mix(writes, ("o",), Parameter("o", (tuple(range(1, m + 1)),)))
        topology = Topology((*chain, *extra, Mix(sources, writes, weight), last), "o", 1)
        assert list(differences(topology, to_streams(topology), 1)) == []


def test_values_that_become_one_are_read_once():
    """Two rows of a product that are one row: their reader then reads one value with both weights."""
    a, s = Parameter("a", ((1, 2),)), Parameter("s", ((1, 2), (5, 7)))
    both = stacked(Product(a, s), Product(a, s))
    ops = (
        Block(1, ("x0",), "y1"),
        Mix(("x0", "y1"), ("p", "q"), both),
        Mix(("p", "q"), ("o",), Parameter("o", ((3, 4),))),
    )
    topology = Topology(ops, "o", 1)
    after = to_streams(topology)
    assert len(after.mixes[-1].reads) == 1
    assert list(differences(topology, after, 0)) == []


def test_factors_inside_functions_stay():
    """A softmax of a product is no product."""
    s, a = Parameter("s", ((1, 2), (4, 5))), Parameter("a", ((1, 2),))
    mix = Mix(("x0", "y1"), ("o",), Softmax(Product(a, s)))
    topology = Topology((Block(1, ("x0",), "y1"), mix), "o", 1)
    assert to_streams(topology) is topology


def test_depth_is_no_recursion():
    """Deeper than Python's stack: one expression in which each state stands inside the next."""
    topology = prune(hyper_history(400, 1))
    alone = Topology((*(Block(k, ("x0",), f"y{k}") for k in range(1, 401)), topology.mixes[-1]), "out", 400)
    back = to_streams(alone)
    assert len(back.mixes) == 400
    values = generic_values(alone, 0)
    one, other = meanings(alone, values)["output"], meanings(back, values)["output"]
    assert one == other


def test_wrong_states_are_caught(monkeypatch):
    """The mutant forgets which columns a shared factor is applied to."""
    shared = module.Shared.number
    monkeypatch.setattr(module.Shared, "number", lambda self, rule: shared(self, ones(1, 1)))
    wrong = 0
    for seed in range(20):
        topology = products(seed)
        try:
            wrong += list(differences(topology, to_streams(topology), seed)) != []
        except (IndexError, ValueError):
            wrong += 1
    assert wrong > 10


def test_what_shares_nothing_is_not_tried():
    assert not shares_factors(prune(fold(prune(families.hyper(5)))))
    assert not shares_factors(defer(prune(fold(prune(families.hyper(5))))))
    assert not shares_factors(families.ancre(6))
    assert shares_factors(hyper_history(3, 2))
    assert shares_factors(to_history(prune(streamed(3)))) or shares_factors(to_history(prune(streamed(4))))
