import math
from fractions import Fraction as F

import pytest

from graphs import Block, Constant, Mix, Parameter, Product, Softmax, Sum, Topology
from graphs.scalars import Scalars
from graphs.weights import Permutations, Sigmoid, Sinkhorn, identity, ones, pick

W = Parameter("w", ((1, 2), (3, 4)))
V = Parameter("v", ((1, 2), (3, 4)))


@pytest.fixture
def scalars():
    return Scalars()


def _learned(scalars, count=3):
    entry = scalars.entries(Parameter("p", (tuple(range(count)),)))
    return [entry(0, j) for j in range(count)]


def test_constants_are_worked_out(scalars):
    half, third = scalars.constant(F(1, 2)), scalars.constant(F(1, 3))
    assert scalars.constant_value(scalars.product([half, third])) == F(1, 6)
    assert scalars.constant_value(scalars.sum([half, third])) == F(5, 6)
    assert scalars.constant_value(scalars.sum([])) == 0
    assert scalars.constant_value(scalars.product([])) == 1
    assert scalars.constant(F(1, 2)) == half


def test_laws_of_arithmetic(scalars):
    a, b, c = _learned(scalars)
    two = scalars.constant(F(2))
    one, zero = scalars.constant(F(1)), scalars.constant(F(0))
    add, times = (lambda *terms: scalars.sum(list(terms))), (lambda *factors: scalars.product(list(factors)))
    assert add(a, b) == add(b, a) != add(a, c)
    assert add(add(a, b), c) == add(a, add(b, c)) == add(a, b, c)
    assert times(times(a, b), c) == times(a, times(c, b))
    assert times(two, add(a, b)) == add(times(two, a), times(b, two)) == scalars.times(F(2), add(a, b))
    assert add(a, a) == times(two, a)
    assert add(a, scalars.times(F(-1), a)) == zero
    assert times(a, zero) == times(add(a, b), zero) == zero
    assert times(a, one) == add(a, zero) == scalars.times(F(1), a) == a
    assert add(a, one, one) == add(a, two) != add(a, one)
    assert scalars.times(F(1, 2), times(two, a)) == a
    assert times(times(two, a), times(two, b)) == times(scalars.constant(F(4)), b, a)
    assert times(a, a) != a
    assert len({add(a, b), times(a, b), a, b, add(a, two), times(a, two)}) == 6


def test_learned_scalars_are_never_merged(scalars):
    w, v, again = scalars.entries(W), scalars.entries(V), scalars.entries(W)
    assert w(0, 0) == again(0, 0)
    assert len({w(i, j) for i in range(2) for j in range(2)} | {v(i, j) for i in range(2) for j in range(2)}) == 8
    assert scalars.colours[w(0, 1)] == scalars.colours[v(0, 1)] == "parameter 2 group mix"


def test_masked_entries_are_constants(scalars):
    entry = scalars.entries(Parameter("m", ((5, 0, 7),), ((False, False, True),)))
    assert scalars.constant_value(entry(0, 0)) == 5
    assert entry(0, 1) is None
    assert scalars.constant_value(entry(0, 2)) is None


def test_products_and_sums_of_matrices(scalars):
    w = scalars.entries(W)
    picked = scalars.entries(Product(Constant(((0, 1),)), W))
    assert [picked(0, j) for j in range(2)] == [w(1, 0), w(1, 1)]
    placed = scalars.entries(Product(W, Constant(((0, 0, 1), (0, 2, 0)))))
    assert [placed(0, j) for j in range(3)] == [None, scalars.times(F(2), w(0, 1)), w(0, 0)]
    total = scalars.entries(Sum((W, Constant(((0, 1), (0, 0))))))
    assert total(0, 0) == w(0, 0)
    assert total(0, 1) == scalars.sum([w(0, 1), scalars.constant(F(1))])
    nothing = scalars.entries(Sum((Constant(((0,),)), Constant(((0,),)))))
    assert nothing(0, 0) is None
    a, b, c = W, V, Constant(((1, 2), (3, 4)))
    left, right = scalars.entries(Product(Product(a, c), b)), scalars.entries(Product(a, Product(c, b)))
    assert left(0, 0) != right(0, 0), "sums of learned products are not multiplied out"


def test_softmax(scalars):
    logits = Parameter("l", ((0, 0, 1),))
    entry = scalars.entries(Softmax(logits, 0.5))
    assert len({entry(0, 0), entry(0, 1), entry(0, 2)}) == 3
    assert entry(0, 0) == scalars.entries(Softmax(logits, 0.5))(0, 0)
    assert entry(0, 0) != scalars.entries(Softmax(logits, 0.25))(0, 0)
    turned = scalars.entries(Softmax(Product(logits, Constant(((0, 0, 1), (1, 0, 0), (0, 1, 0)))), 0.5))
    assert [turned(0, j) for j in range(3)] == [entry(0, 1), entry(0, 2), entry(0, 0)]
    tied = scalars.entries(Softmax(Product(logits, Constant(((1, 1, 0), (0, 0, 0), (0, 0, 1))))))
    assert tied(0, 0) == tied(0, 1) != tied(0, 2)
    assert scalars.constant_value(scalars.entries(Softmax(Constant(((3, 3),))))(0, 0)) == F(1, 2)
    assert scalars.constant_value(scalars.entries(Softmax(Parameter("q", ((9,),))))(0, 0)) == 1
    over = scalars.entries(Softmax(Parameter("r", ((9, 8),)), over="destinations"))
    assert scalars.constant_value(over(0, 1)) == 1


def test_rows_are_shared(scalars):
    x, y = scalars.node("stem"), scalars.node("block 1")
    one = scalars.constant(F(1))
    assert scalars.linear({x: one, y: one}) == scalars.linear({y: one, x: one}) != scalars.linear({x: one})


def _mixed(weight):
    """Copies of the stem through ``weight``."""
    copies, mixed = ([f"{name}{i}" for i in range(weight.shape[0])] for name in "sm")
    ops = (
        Mix(("x0",), tuple(copies), ones(len(copies), 1)),
        Mix(tuple(copies), tuple(mixed), weight),
        Block(1, (mixed[0],), "y1"),
        Mix((*mixed, "y1"), ("out",), ones(1, len(mixed) + 1)),
    )
    return Topology(ops, "out", 1)


@pytest.mark.parametrize("n", [2, 3])
def test_mixing_copies_by_shares_of_one_does_nothing(n):
    logits = Parameter("logits", tuple(tuple(i * j for j in range(n)) for i in range(n)))
    orders = Parameter("orders", (tuple(range(math.factorial(n))),))
    rows = {
        Softmax(logits): True,
        Softmax(logits, 0.5): True,
        Sinkhorn(logits, 3): True,
        Permutations(Softmax(orders), n): True,
        Permutations(orders, n): False,
        Softmax(logits, over="destinations"): False,
        Sigmoid(logits): False,
        Parameter("free", identity(n).entries): False,
    }
    for weight, idle in rows.items():
        assert (_mixed(weight) == _mixed(identity(n))) is idle


def test_shares_in_part_or_unequally(scalars):
    share = scalars.entries(Softmax(Parameter("p", ((0, 1, 2),))))
    a, b, c = (share(0, j) for j in range(3))
    minus, one, two = (scalars.constant(F(number)) for number in (-1, 1, 2))
    assert scalars.sum([a, b, c]) == one
    assert scalars.sum([a, a, b, b, c, c]) == scalars.sum([one, a, b, c]) == two
    assert scalars.constant_value(scalars.sum([a, b])) is None
    assert scalars.sum([a, a, b, c]) == scalars.sum([one, a])
    assert scalars.sum([scalars.times(F(-1), share) for share in (a, b, b, c)]) == scalars.sum(
        [minus, scalars.times(F(-1), b)]
    )
    tied = Parameter("t", ((0, 1),))
    share = scalars.entries(Softmax(pick(tied, columns=[0, 1, 1])))
    assert scalars.sum([share(0, 0), share(0, 1), share(0, 2)]) == one
    assert scalars.constant_value(scalars.sum([share(0, 0), share(0, 1)])) is None
