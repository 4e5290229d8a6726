"""Pairs of programs: the same written in two ways, and different ones that are easily taken for each other."""

import functools
import itertools
from dataclasses import replace
from fractions import Fraction as F

from graphs import Block, Constant, Mix, Parameter, Product, Softmax, Sum, Topology, families
from graphs.topology import Norm
from graphs.weights import (
    CHANNEL,
    MATRIX,
    SCALAR,
    Bernoulli,
    Generated,
    Grain,
    Permutations,
    Place,
    Sigmoid,
    Sinkhorn,
    Tanh,
    Times,
    TopK,
    beside,
    ones,
    pick,
    transpose,
)


def _edge(weight, *, sources=("x0", "y1"), keys=(), norm=None, hints=()):
    return Topology((Block(1, ("x0",), "y1", hints=hints), Mix(sources, ("o",), weight, keys, norm)), "o", 1)


def _three(weight, *, keys=("x0", "y1", "y2"), sources=("x0", "y1", "y2"), norm=None):
    """Three values into one, or into two that are added with weights 1 and 2."""
    m = weight.shape[0]
    writes = tuple(f"v{i}" for i in range(m))
    ops = (
        Block(1, ("x0",), "y1"),
        Block(2, ("y1",), "y2"),
        Mix(sources, writes, weight, keys if weight.per_token else (), norm),
        Mix(writes, ("o",), Constant((tuple(range(1, m + 1)),))),
    )
    return Topology(ops, "o", 2)


def _twice(first, second, first_keys=("x0", "y1"), second_keys=("y1", "y2")):
    """Weights of one output that look at two keys, in two mixes."""
    ops = (
        Block(1, ("x0",), "y1"),
        Mix(("x0", "y1"), ("h",), first, first_keys if first.per_token else ()),
        Block(2, ("h",), "y2"),
        Mix(("h", "y2"), ("o",), second, second_keys if second.per_token else ()),
    )
    return Topology(ops, "o", 2)


def _g(*keys, name="g", outputs=(1, 3), **kw):
    return Generated(name, outputs, keys or (0, 1, 2), **kw)


def _each(*keys, **kw):
    return _g(*(keys or (0, 1, 2)), each=True, **kw)


def _grained(grain, value=1, name="p", size=1):
    return Parameter(name, ((value,) * size,) * size, grain=grain)


def _line(*factors):
    """The stem through a chain of entry-wise factors, beside the block."""
    weight = functools.reduce(Times, factors)
    return _edge(beside(weight, Constant(((1,),))))


S, C, M, H = (
    lambda name, value=2, grain=grain: _grained(grain, value, name)
    for grain in (SCALAR, CHANNEL, MATRIX, Grain(2, True))
)
SEEN = Generated("g", (1, 2), (0, 1))
HIDDEN = Generated("g", (1, 2), (0, 1), hidden=3)
LOGITS = Parameter("l", ((0, 1, 2), (3, 4, 5), (6, 7, 8)))
EQUAL_LOGITS = Parameter("l", ((0,) * 3,) * 3)


def _square(weight):
    """A 3 x 3 weight between values that are all different, its outputs told apart by another."""
    return _three(Product(Constant(((1, 2, 4),)), weight))


# Two ways to write one program.
SAME = {
    "factors, numbers": (_line(S("a"), S("b", 3)), _line(S("b", 3), S("a"))),
    "factors, gains": (_line(C("a"), C("b", 3), S("c")), _line(C("b", 3), S("c"), C("a"))),
    "factors, a number and a matrix": (_line(S("a"), M("b")), _line(M("b"), S("a"))),
    "factors, bracketed": (_line(M("a"), Times(M("b", 3), C("c"))), _line(M("a"), M("b", 3), C("c"))),
    "factors, gains beside a matrix": (
        _line(C("a"), C("b", 3), M("m"), C("c", 5), C("d", 7)),
        _line(C("b", 3), C("a"), M("m"), C("d", 7), C("c", 5)),
    ),
    "factors, a matrix and itself": (_line(M("a"), Times(M("a"), M("b", 3))), _line(Times(M("a"), M("a")), M("b", 3))),
    "a fixed factor": (
        _line(S("a"), Constant(((3,),))),
        _edge(Sum((Product(Constant(((3,),)), Place(S("a"), (1, 2), ((0, 0, 0, 0),))), Constant(((0, 1),))))),
    ),
    "a factor for all entries": (
        _edge(Times(S("a"), Constant(((3, 5),)))),
        _edge(Times(Product(S("a"), ones(1, 2)), Constant(((3, 5),)))),
    ),
    "a product written out": (
        _three(Product(Parameter("p", ((1, 2),)), Constant(((1, 2, 3), (4, 5, 6))))),
        _three(
            Sum(
                tuple(
                    Times(pick(Parameter("p", ((1, 2),)), columns=[h]), Constant((row,)))
                    for h, row in enumerate(((1, 2, 3), (4, 5, 6)))
                )
            )
        ),
    ),
    "the scale of a sigmoid": (
        _edge(Sigmoid(Parameter("p", ((0, 1),)), 2)),
        _edge(Times(Constant(((2,),)), Sigmoid(Parameter("p", ((0, 1),))))),
    ),
    "a sigmoid of nothing": (_edge(Sigmoid(Constant(((0, 0),)))), _edge(Constant(((F(1, 2), F(1, 2)),)))),
    "a tanh of nothing": (_edge(Sum((Tanh(Constant(((0, 0),))), ones(1, 2)))), _edge(ones(1, 2))),
    "equal logits, fixed": (_edge(Softmax(Constant(((3, 3),)))), _edge(Constant(((F(1, 2), F(1, 2)),)))),
    "all are chosen": (_edge(TopK(Parameter("p", ((0, 1),)), 2)), _edge(ones(1, 2))),
    "a choice among numbers": (_edge(TopK(Constant(((F(1, 2), F(1, 3)),)), 1)), _edge(Constant(((1, 0),)))),
    "of equal ones the last": (_edge(TopK(Constant(((3, 3),)), 1)), _edge(Constant(((0, 1),)))),
    "a choice, the sources the other way round": (
        _edge(pick(TopK(Parameter("p", ((0, 1),)), 1), columns=[1, 0])),
        _edge(TopK(Parameter("p", ((0, 1),)), 1), sources=("y1", "x0")),
    ),
    "equal logits, tied": (
        _edge(Softmax(Place(Parameter("p", ((7,),)), (1, 2), ((0, 0, 0, 0), (0, 1, 0, 0))))),
        _edge(Constant(((F(1, 2), F(1, 2)),))),
    ),
    "sure and never": (_edge(Bernoulli("b", ((1, 0),))), _edge(Constant(((1, 0),)))),
    "permutations written out": (
        _three(Permutations(Softmax(Parameter("p", ((1, 2),))), 2), sources=("x0", "y1")),
        _three(
            Sum(
                tuple(
                    Place(Softmax(Parameter("p", ((1, 2),))), (2, 2), tuple((i, i ^ s, 0, s) for i in range(2)))
                    for s in range(2)
                )
            ),
            sources=("x0", "y1"),
        ),
    ),
    "rows and columns of Sinkhorn": (
        _square(Sinkhorn(LOGITS, 3)),
        _square(pick(Sinkhorn(pick(LOGITS, [2, 0, 1], [1, 2, 0]), 3), [1, 2, 0], [2, 0, 1])),
    ),
    "places of places": (_three(pick(pick(LOGITS, [2, 1]), [0])), _three(Product(Constant(((0, 0, 1),)), LOGITS))),
    "columns of one key": (
        _three(_each(0, 1, 0), keys=("x0", "y1")),
        _three(
            Place(_each(0, 1, outputs=(1, 2)), (1, 3), tuple((0, j, 0, j % 2) for j in range(3))), keys=("x0", "y1")
        ),
    ),
    "keys listed otherwise": (_three(_each()), _three(_each(2, 0, 1), keys=("y1", "y2", "x0"))),
    "keys of all listed otherwise": (_three(_g()), _three(_g(2, 0, 1), keys=("y2", "x0", "y1"))),
    "a key that nobody reads": (_three(_g(0, 1)), _three(_g(0, 1), keys=("x0", "y1"))),
    "one key at two places": (_three(_g(0, 0)), _three(_g(0, 1), keys=("x0", "x0"))),
    "places of hidden keys listed otherwise": (
        _twice(HIDDEN, HIDDEN),
        _twice(replace(HIDDEN, keys=(1, 0)), replace(HIDDEN, keys=(1, 0)), ("y1", "x0"), ("y2", "y1")),
    ),
    "hidden keys listed otherwise": (
        _twice(HIDDEN, HIDDEN),
        _twice(HIDDEN, HIDDEN, ("y1", "x0"), ("y2", "y1")),
    ),
    "a key that is a plain sum": (
        _three(_g(0), keys=("x0",)),
        Topology(
            (
                *_three(_g(0)).ops[:2],
                Mix(("x0",), ("k",), ones(1, 1)),
                replace(_three(_g(0)).ops[2], keys=("k",)),
                *_three(_g(0)).ops[3:],
            ),
            "o",
            2,
        ),
    ),
    "names of norms": (_edge(ones(1, 2), norm=Norm("n")), _edge(ones(1, 2), norm=Norm("m"))),
    "names of draws": (_edge(Bernoulli("b", ((F(1, 2), 1),))), _edge(Bernoulli("c", ((0.5, 1),)))),
    "hints listed otherwise": (
        _edge(ones(1, 2), hints=(("a", 1), ("b", 2))),
        _edge(ones(1, 2), hints=(("b", 2), ("a", 1))),
    ),
    "a hint's number": (_edge(ones(1, 2), hints=(("a", 0.5),)), _edge(ones(1, 2), hints=(("a", F(1, 2)),))),
    "a one by one matrix": (_line(S("a")), _line(_grained(Grain(1, True), 2, "a"))),
    "names as in the language": tuple(
        _twice(replace(HIDDEN, name="parameter"), Parameter(name, ((1, 1),))) for name in ("last", "tail")
    ),
}


def _pair(first, second):
    """Two mixes of two sources each, for ties."""
    return Topology(
        (
            Block(1, ("x0",), "y1"),
            Mix(("x0", "y1"), ("h",), first),
            Block(2, ("h",), "y2"),
            Mix(("h", "y2"), ("o",), second),
        ),
        "o",
        2,
    )


def _p(name, *row, **kw):
    return Parameter(name, (row,), **kw)


DIFFERENT = {
    "constant value": (_edge(ones(1, 2)), _edge(Constant(((1, 2),)))),
    "nearly equal constants": (_edge(Constant(((1, 0.1),))), _edge(Constant(((1, F(1, 10)),)))),
    "initial value": (_edge(_p("p", 1, 1)), _edge(_p("p", 1, 2))),
    "initial values exchanged": (_edge(_p("p", 1, 2)), _edge(_p("p", 2, 1))),
    "fixed or learned one": (_edge(ones(1, 2)), _edge(_p("p", 1, 1))),
    "partly learned": (_edge(_p("p", 1, 1)), _edge(Parameter("p", ((1, 1),), ((True, False),)))),
    "which part is learned": (
        _edge(Parameter("p", ((1, 1),), ((False, True),))),
        _edge(Parameter("p", ((1, 1),), ((True, False),))),
    ),
    "optimiser group": (_edge(_p("p", 1, 1)), _edge(_p("p", 1, 1, group="slow"))),
    "group of one of two": (_pair(_p("p", 1, 1), _p("q", 1, 1)), _pair(_p("p", 1, 1), _p("q", 1, 1, group="slow"))),
    "temperature": (_edge(Softmax(_p("p", 0, 0))), _edge(Softmax(_p("p", 0, 0), 0.5))),
    "softmax or parameter": (_edge(Softmax(_p("p", 0, 0))), _edge(_p("p", F(1, 2), F(1, 2)))),
    "tied or not": (_pair(_p("p", 1, 1), _p("p", 1, 1)), _pair(_p("p", 1, 1), _p("q", 1, 1))),
    "tied crosswise": (
        _pair(_p("p", 1, 1), _p("p", 1, 1)),
        _pair(_p("p", 1, 1), Product(_p("p", 1, 1), Constant(((0, 1), (1, 0))))),
    ),
    "softmax axis": (
        _edge(Product(Constant(((1, 0),)), Softmax(Parameter("p", ((0, 0), (0, 0)))))),
        _edge(Product(Constant(((1, 0),)), Softmax(Parameter("p", ((0, 0), (0, 0))), over="destinations"))),
    ),
    "softmax shares its sum": (
        _edge(Sum((Softmax(_p("p", 0, 0)), Softmax(_p("p", 0, 0))))),
        _edge(Sum((Softmax(_p("p", 0, 0)), Softmax(_p("q", 0, 0))))),
    ),
    "product or sum": (
        _edge(Sum((_p("p", 1, 1), _p("q", 1, 1)))),
        _edge(Product(_p("p", 1), _p("q", 2, 2))),
    ),
    "which block is read": (families.wiring(3, edges=[(0, 2)]), families.wiring(3, edges=[(0, 3)])),
    "depth": (Topology((Block(1, ("x0",), "y"),), "y", 1), Topology((Block(1, ("x0",), "y"),), "y", 2)),
    "depth, learned": (families.dense(2), Topology(families.dense(2).ops, families.dense(2).output, 3)),
    "block number": (Topology((Block(1, ("x0",), "y"),), "y", 2), Topology((Block(2, ("x0",), "y"),), "y", 2)),
    "ports exchanged": (
        Topology((Block(1, ("x0",), "a"), Block(2, ("a", "x0"), "y", ("q", "k"))), "y", 2),
        Topology((Block(1, ("x0",), "a"), Block(2, ("x0", "a"), "y", ("q", "k"))), "y", 2),
    ),
    "stem or nothing": (_edge(Constant(((0, 1),))), _edge(Constant(((1, 0),)))),
    "sign": (_edge(Constant(((1, 1),))), _edge(Constant(((-1, 1),)))),
    "hyper, other read": (families.hyper(3, streams=2), families.hyper(3, streams=3)),
    "ancre inner": (families.ancre(3), families.ancre(3, inner=False)),
    "ancre temperature": (families.ancre(3, temperature=1.0), families.ancre(3, temperature=0.5)),
    **{
        f"grain {b}": (_edge(Parameter("p", ((1, 1),), grain=a)), _edge(Parameter("p", ((1, 1),), grain=b)))
        for a, b in itertools.pairwise((SCALAR, CHANNEL, MATRIX, Grain(2, True), Grain(2), SCALAR))
    },
    "order of matrices": (_line(M("a"), M("b", 3)), _line(M("b", 3), M("a"))),
    "order of fraction matrices": (_line(H("a"), H("b", 3)), _line(H("b", 3), H("a"))),
    "order of a gain and a matrix": (_line(C("a"), M("b")), _line(M("b"), C("a"))),
    "gains on either side": (_line(C("a"), M("m"), C("b", 3)), _line(C("b", 3), M("m"), C("a"))),
    "order of matrices in a product": (
        _edge(beside(Product(M("a"), M("b", 3)), ones(1, 1))),
        _edge(beside(Product(M("b", 3), M("a")), ones(1, 1))),
    ),
    "a gain inside or outside tanh": (_line(Tanh(C("a")), S("b")), _line(Tanh(Times(C("a"), S("b"))))),
    "order of matrices, tied": (_line(M("a"), M("b"), Tanh(M("a"))), _line(M("b"), M("a"), Tanh(M("a")))),
    "squared or two": (_line(M("a"), M("a")), _line(M("a"), M("b"))),
    "sum or product": (_line(S("a"), S("b")), _edge(beside(Sum((S("a"), S("b"))), ones(1, 1)))),
    "sigmoid or tanh": (_edge(Sigmoid(_p("p", 1, 1))), _edge(Tanh(_p("p", 1, 1)))),
    "tanh or nothing": (_edge(Tanh(_p("p", 0, 0))), _edge(_p("p", 0, 0))),
    "the scale of a sigmoid": (_edge(Sigmoid(_p("p", 0, 0))), _edge(Sigmoid(_p("p", 0, 0), 2))),
    "how many are chosen": (_three(TopK(_p("p", 0, 0, 0), 1)), _three(TopK(_p("p", 0, 0, 0), 2))),
    "chosen by what": (_edge(TopK(_p("p", 0, 0), 1)), _edge(TopK(Softmax(_p("p", 0, 0)), 1))),
    "chosen or not": (_edge(TopK(_p("p", 0, 1), 1)), _edge(_p("p", 0, 1))),
    "of equal ones the other": (_edge(TopK(_p("p", 0, 0), 1)), _edge(TopK(_p("p", 0, 0), 1), sources=("y1", "x0"))),
    "iterations": (_square(Sinkhorn(EQUAL_LOGITS, 1)), _square(Sinkhorn(EQUAL_LOGITS, 2))),
    "Sinkhorn or softmax": (_square(Sinkhorn(EQUAL_LOGITS, 1)), _square(Softmax(EQUAL_LOGITS))),
    "Sinkhorn transposed": (_square(Sinkhorn(LOGITS, 1)), _square(transpose(Sinkhorn(transpose(LOGITS), 1)))),
    "Sinkhorn or permutations": (
        _square(Sinkhorn(EQUAL_LOGITS)),
        _square(Permutations(Softmax(Parameter("q", ((0,) * 6,))), 3)),
    ),
    "which permutation starts": (
        _square(Permutations(Parameter("q", ((0, 1, 0, 0, 0, 0),)), 3)),
        _square(Permutations(Parameter("q", ((0, 0, 1, 0, 0, 0),)), 3)),
    ),
    "drawn or fixed": (_edge(Bernoulli("b", ((F(1, 2), 1),))), _edge(Constant(((F(1, 2), 1),)))),
    "keep": (_edge(Bernoulli("b", ((F(1, 2), 1),))), _edge(Bernoulli("b", ((F(1, 3), 1),)))),
    "one draw or two": (
        _pair(Bernoulli("b", ((F(1, 2), 1),)), Bernoulli("b", ((F(1, 2), 1),))),
        _pair(Bernoulli("b", ((F(1, 2), 1),)), Bernoulli("c", ((F(1, 2), 1),))),
    ),
    "norm": (_edge(ones(1, 2)), _edge(ones(1, 2), norm=Norm("n"))),
    "kind of norm": (_edge(ones(1, 2), norm=Norm("n")), _edge(ones(1, 2), norm=Norm("n", "layer"))),
    "norms tied or not": tuple(
        Topology(
            (
                Block(1, ("x0",), "y1"),
                Mix(("x0", "y1"), ("a",), ones(1, 2), norm=Norm("n")),
                Mix(("a", "y1"), ("o",), ones(1, 2), norm=Norm(name)),
            ),
            "o",
            1,
        )
        for name in "nm"
    ),
    "before or after the norm": (
        _edge(_p("p", 1, 1), norm=Norm("n")),
        Topology(
            (
                Block(1, ("x0",), "y1"),
                Mix(("x0", "y1"), ("a",), ones(1, 2), norm=Norm("n")),
                Mix(("a",), ("o",), _p("p", 1)),
            ),
            "o",
            1,
        ),
    ),
    "hint": (_edge(ones(1, 2)), _edge(ones(1, 2), hints=(("scale", 1),))),
    "hint's name": (_edge(ones(1, 2), hints=(("scales", 1),)), _edge(ones(1, 2), hints=(("scale", 1),))),
    "hint's number": (_edge(_p("p", 1, 1), hints=(("scale", 2),)), _edge(_p("p", 1, 1), hints=(("scale", 1),))),
    "computed or learned": (_three(_g()), _three(Parameter("g", ((0,) * 3,)))),
    "each or all": (_three(_each()), _three(_g())),
    "which keys": (_three(_g(0, 1)), _three(_g(0, 2))),
    "keys of each exchanged": (_three(_each()), _three(_each(0, 2, 1))),
    "a key twice": (_three(_g(0, 1)), _three(_g(0, 1, 1))),
    "a key twice in the norm": (_three(_g(0, 0, 1)), _three(_g(0, 1, 1))),
    "norm of keys": (_three(_g(norm="rms")), _three(_g(norm="layer"))),
    "norm of keys or none": (_three(_each(norm="rms")), _three(_each(norm="none"))),
    "gain of keys": (_three(_g()), _three(_g(gain=True))),
    "gain of each key": (_three(_each()), _three(_each(gain=True))),
    "hidden": (_three(_g()), _three(_g(hidden=3))),
    "hidden width": (_three(_g(hidden=3)), _three(_g(hidden=4))),
    "start of the map": (_three(_g()), _three(_g(start="normal"))),
    "group of the map": (_three(_g()), _three(_g(group="mix"))),
    "rate of the map": (_three(_g(group="mix")), _three(_g(group="tenth"))),
    "grain of the map": (_three(_g()), _three(_g(grain=CHANNEL))),
    "grain of each map": (_three(_each()), _three(_each(grain=Grain(2)))),
    "full grain of each map": (_three(_each(grain=Grain(2))), _three(_each(grain=Grain(2, True)))),
    "order of a computed matrix": tuple(
        _edge(beside(functools.reduce(Times, pair), ones(1, 1)), keys=("x0",))
        for pair in itertools.permutations(
            [Sum((Generated("g", (1, 1), (0,), each=True, grain=Grain(2, True)), Constant(((1,),)))), H("a")]
        )
    ),
    "maps tied or not": (_twice(SEEN, SEEN), _twice(SEEN, replace(SEEN, name="f"))),
    "maps tied crosswise": (_twice(SEEN, SEEN), _twice(SEEN, SEEN, second_keys=("y2", "y1"))),
    "hidden maps tied crosswise": (_twice(HIDDEN, HIDDEN), _twice(HIDDEN, HIDDEN, second_keys=("y2", "y1"))),
}


# Random first weights would have to be permuted with the keys that they are for.
PERMUTED_START = {"hidden keys listed otherwise"}

# These differ in what no training of ours sees: hints, a group that is treated as "mix", a depth that counts a block
# which does not run, a rounding error, what a choice is made by while its ranks are the same.
ALIKE_HERE = {
    "optimiser group",
    "group of one of two",
    "hint",
    "hint's name",
    "hint's number",
    "depth",
    "depth, learned",
    "nearly equal constants",
    "chosen by what",
}
