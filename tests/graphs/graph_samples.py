"""Random topologies, the families at small sizes, and ways of writing one program differently."""

import math
import random
from collections.abc import Callable
from dataclasses import fields, replace
from fractions import Fraction
from typing import Any

from graphs import Block, Constant, Mix, Parameter, Product, Softmax, Sum, Topology, families
from graphs.topology import Norm
from graphs.weights import (
    CHANNEL,
    MATRIX,
    SCALAR,
    Bernoulli,
    Generated,
    Grain,
    Matrix,
    Permutations,
    Place,
    Sigmoid,
    Sinkhorn,
    Tanh,
    Times,
    Weight,
    parameters,
    pick,
    transpose,
    walk,
)

FAMILIES: dict[str, Callable[[], Topology]] = {
    "residual": lambda: families.residual(4),
    "to_output": lambda: families.to_output(5, period=2),
    "dense": lambda: families.dense(4),
    "dense-plain": lambda: families.dense(5, inner=False, dilation=2),
    "dense-period": lambda: families.dense(5, period=2),
    "hyper": lambda: families.hyper(3, streams=2),
    "hyper-one": lambda: families.hyper(2, streams=1),
    "hyper-tied": lambda: families.hyper(2, streams=4),
    "ancre": lambda: families.ancre(4),
    "ancre-period": lambda: families.ancre(5, period=2, temperature=1.0),
    "ancre-plain": lambda: families.ancre(4, inner=False, temperature=0.5),
    "hyper-dynamic": lambda: families.hyper(3, streams=2, dynamic=True),
    "hyper-linear": lambda: families.hyper(2, streams=2, dynamic=True, tanh=False, norm="rms", expand="learned"),
    "hyper-ends": lambda: families.hyper(3, streams=2, expand="first", collapse="learned", rescale="divide"),
    "frac": lambda: families.frac(3, fractions=2),
    "frac-dynamic": lambda: families.frac(3, fractions=2, dynamic=True),
    "frac-linear": lambda: families.frac(2, fractions=4, dynamic=True, tanh=False, norm="layer"),
    "mhc": lambda: families.mhc(3, streams=2),
    "mhc-static": lambda: families.mhc(3, streams=2, dynamic=False),
    "mhc-permutations": lambda: families.mhc(2, streams=3, mixing="permutations", collapse="mean"),
    "mhc-identity": lambda: families.mhc(3, streams=2, mixing="identity", expand="learned"),
    "ancre-outgoing": lambda: families.ancre(4, normalise="outgoing", temperature=0.5),
    "attnres": lambda: families.attnres(4),
    "attnres-block": lambda: families.attnres(5, block=2),
    "attnres-static": lambda: families.attnres(4, static=True),
    "mudd": lambda: families.mudd(3),
    "mudd-period": lambda: families.mudd(5, period=2),
    "mudd-static": lambda: families.mudd(3, dynamic=False),
    "mudd-one-way": lambda: families.mudd(3, multiway=False),
    "scaled": lambda: families.scaled(3),
    "scaled-root": lambda: families.scaled(3, scale="1/sqrt(L)"),
    "depth_mup": lambda: families.depth_mup(3),
    "skipinit": lambda: families.skipinit(3, start=0.5),
    "rezero": lambda: families.rezero(5, period=2),
    "layerscale": lambda: families.layerscale(3),
    "fixup": lambda: families.fixup(3),
    "lns": lambda: families.lns(3, period=2),
    "deepnorm": lambda: families.deepnorm(4),
    "highway": lambda: families.highway(3, bias=0),
    "stochastic_depth": lambda: families.stochastic_depth(5, period=2),
    "to_output_hybrid": lambda: families.to_output_hybrid(5),
    "unet": lambda: families.unet(5),
    "unet-period": lambda: families.unet(7, period=2),
    "x0_lambdas": lambda: families.x0_lambdas(4, period=2),
    "long_skip": lambda: families.long_skip(4, start=1, end=4),
    "long_skip-ends": lambda: families.long_skip(2, start=0, end=3),
    "dense-every": lambda: families.dense(5, every=2),
    "densenet": lambda: families.densenet(3),
    "densenet-plain": lambda: families.densenet(4, inner=False, output="all", period=2),
    "erdos_renyi": lambda: families.erdos_renyi(6, p=0.5),
    "watts_strogatz": lambda: families.watts_strogatz(6),
    "barabasi_albert": lambda: families.barabasi_albert(6, m=3),
    "wiring": lambda: families.wiring(4, edges=[(0, 2), (1, 5), (2, 4)]),
    "wiring-learned": lambda: families.wiring(4, edges=[(0, 2), (1, 5), (2, 4)], learned=True),
}


def sample(
    seed: int,
    *,
    learned: bool = True,
    uniform: bool = True,
    per_token: bool = False,
    fine: bool = False,
    normed: bool = False,
) -> Topology:
    """A random legal topology: streams, mixes of several outputs, zeros, identity hops, ties, dead ends, two ports,
    hints, and every weight rule.

    ``learned=False`` keeps to Fraction constants; ``uniform`` starts every function (softmax, sigmoid, tanh,
    Sinkhorn) where it is exact. These add what has no exact matrix: ``per_token`` generated weights, ``fine`` grains
    other than scalars (for 4 channels), ``normed`` norms.
    """
    rng = random.Random(seed)
    draw = _Draw(rng, learned=learned, uniform=uniform, per_token=per_token, fine=fine)
    depth = rng.randint(1, 6)
    values, ops = ["x0"], []
    norms: list[Norm] = []

    def mix(reads: tuple[str, ...], writes: tuple[str, ...]) -> Mix:
        draw.keys = tuple(rng.choices(values[-4:], k=rng.choice((1, 1, 2, 3)))) if per_token else ()
        weight = draw.weight(len(writes), len(reads))
        norm = None
        if normed and len(writes) == 1 and rng.random() < 0.4:
            norm = rng.choice([*norms, Norm(f"n{len(norms)}", rng.choice(("rms", "layer")))])
            norms.extend([norm] if norm not in norms else [])
        return Mix(reads, writes, weight, draw.keys if weight.per_token else (), norm)

    for number in range(1, depth + 1):
        for _ in range(rng.randint(0, 3)):
            near = values[-6:]
            reads = tuple(rng.sample(near, min(len(near), rng.choice((1, 1, 2, 3, 4)))))
            writes = tuple(f"v{len(values) + i}" for i in range(rng.choice((1, 1, 2, 3))))
            ops.append(mix(reads, writes))
            values += writes
        if number > 1 and rng.random() < 0.1:
            continue  # a depth may count blocks that nobody lists
        ports = ("in",) if rng.random() < 0.8 else ("in", "memory")
        reads = tuple(rng.choice(values[-3:]) for _ in ports)
        hints = (("scale", _number(rng)),) if rng.random() < 0.1 else ()
        ops.append(Block(number, reads, f"y{number}", ports, hints=hints))
        values.append(f"y{number}")
    tail = tuple(rng.sample(values[-5:], min(len(values), 3)))
    ops.append(mix(tail, ("last",)))
    output = "last" if rng.random() < 0.9 else rng.choice(values)
    return Topology(tuple(ops), output, depth)


def _number(rng: random.Random) -> int | Fraction:
    return rng.choice((0, 1, 1, 1, -1, 2, Fraction(1, 3), Fraction(-2, 7), Fraction(5, 4)))


class _Draw:
    """Draws the weight rules of one topology, ties among them."""

    def __init__(self, rng: random.Random, *, learned: bool, uniform: bool, per_token: bool, fine: bool) -> None:
        self.rng = rng
        self.learned, self.uniform, self.per_token, self.fine = learned, uniform, per_token, fine
        self.keys: tuple[str, ...] = ()  # of the mix that is drawn
        self.pool: list[Parameter] = []
        self.others: list[Bernoulli | Generated] = []

    def weight(self, m: int, k: int, level: int = 0, *, full: bool = True) -> Weight:
        """Any rule; ``full=False`` without entries that mix channels, ``level`` is how deep it stands."""
        if not self.learned:
            return self.constant(m, k)
        kinds = ["constant", "parameter", "softmax", "bernoulli", "sigmoid", "tanh"]
        kinds += ["generated"] * 3 if self.keys else []
        kinds += ["sinkhorn"] * 2 if m == k > 1 else []
        kinds += ["permutations"] * 2 if m == k <= 3 else []
        kinds += ["sum", "sum", "product", "product", "place", "times", "scaled"] if level < 2 else []
        return getattr(self, self.rng.choice(kinds))(m, k, level, full)

    def constant(self, m: int, k: int, level: int = 0, full: bool = True) -> Constant:
        if self.rng.random() < 0.3:  # identity hops: every output is one source
            return Constant(tuple(tuple(int(j == i % k) for j in range(k)) for i in range(m)))
        return Constant(tuple(tuple(_number(self.rng) for _ in range(k)) for _ in range(m)))

    def parameter(
        self, m: int, k: int, level: int = 0, full: bool = True, equal: int | Fraction | None = None
    ) -> Weight:
        """``equal``: every entry starts there."""
        ties = [p for p in self.pool if p.shape == (m, k) and (equal is None or {*sum(p.initial, ())} == {equal})]
        ties = [p for p in ties if full or not p.grain.full]
        if ties and self.rng.random() < 0.3:
            return self.rng.choice(ties)
        initial = self.constant(m, k).entries if equal is None else ((equal,) * k,) * m
        mask = None
        if equal is None and self.rng.random() < 0.3:
            mask = tuple(tuple(self.rng.random() < 0.5 for _ in range(k)) for _ in range(m))
            mask = mask if any(map(any, mask)) else None
        name, group = f"p{len(self.pool)}", self.rng.choice(("mix", "mix", "slow"))
        self.pool.append(Parameter(name, initial, mask, group, self.grain(full)))
        return self.pool[-1]

    def grain(self, full: bool) -> Grain:
        if not self.fine:
            return SCALAR
        mixing = [MATRIX, Grain(2, full=True), Grain(4, full=True)] if full else []
        return self.rng.choice([SCALAR, SCALAR, CHANNEL, CHANNEL, Grain(2), Grain(4), *mixing])

    def logits(
        self, m: int, k: int, level: int, *, full: bool = False, at: tuple[int | Fraction, ...] = (0,)
    ) -> Weight:
        """What a function is taken of; exact at these equal numbers."""
        if self.uniform:
            return self.parameter(m, k, level, full, self.rng.choice(at))
        return self.parameter(m, k, level, full) if self.rng.random() < 0.5 else self.weight(m, k, level + 1, full=full)

    def softmax(self, m: int, k: int, level: int, full: bool) -> Weight:
        over = self.rng.choice(("sources", "destinations"))
        return Softmax(self.logits(m, k, level, at=(0, 2, Fraction(1, 3))), self.rng.choice((1.0, 0.25)), over)

    def sinkhorn(self, m: int, k: int, level: int, full: bool) -> Weight:
        return Sinkhorn(self.logits(m, k, level, at=(0, 2, Fraction(1, 3))), self.rng.choice((1, 2, 20)))

    def permutations(self, m: int, k: int, level: int, full: bool) -> Weight:
        logits = self.logits(1, math.factorial(m), level, at=(0, 2))
        return Permutations(Softmax(logits) if self.rng.random() < 0.7 else logits, m)

    def sigmoid(self, m: int, k: int, level: int, full: bool) -> Weight:
        return Sigmoid(self.logits(m, k, level), self.rng.choice((1, 2, 2 if self.uniform else 0.3)))

    def tanh(self, m: int, k: int, level: int, full: bool) -> Weight:
        return Tanh(self.logits(m, k, level, full=full))

    def bernoulli(self, m: int, k: int, level: int, full: bool) -> Weight:
        ties = [rule for rule in self.others if isinstance(rule, Bernoulli) and rule.shape == (m, k)]
        if ties and self.rng.random() < 0.3:
            return self.rng.choice(ties)
        chances = (0, 1, Fraction(1, 2), Fraction(3, 4))
        keep = tuple(tuple(self.rng.choice(chances) for _ in range(k)) for _ in range(m))
        self.others.append(Bernoulli(f"b{len(self.others)}", keep))
        return self.others[-1]

    def generated(self, m: int, k: int, level: int, full: bool) -> Weight:
        rng, known = self.rng, len(self.keys)
        ties = [rule for rule in self.others if isinstance(rule, Generated) and rule.shape == (m, k)]
        ties = [rule for rule in ties if max(rule.keys) < known and (full or not rule.grain.full)]
        if ties and rng.random() < 0.3:
            return rng.choice(ties)
        each = rng.random() < 0.5
        grains = [SCALAR] if not self.fine else [SCALAR, Grain(2), Grain(2, full)] if each else [SCALAR, CHANNEL]
        norm = rng.choice(("none", "rms", "layer"))
        self.others.append(
            Generated(
                f"g{len(self.others)}",
                (m, k),
                tuple(rng.choices(range(known), k=k if each else rng.choice((1, 2, 3)))),
                each,
                norm,
                gain=norm != "none" and rng.random() < 0.5,
                hidden=0 if each else rng.choice((0, 0, 3)),
                start=rng.choice(("zeros", "zeros", "normal")),
                group=rng.choice(("decayed", "mix")),
                grain=rng.choice(grains),
            )
        )
        return self.others[-1]

    def sum(self, m: int, k: int, level: int, full: bool) -> Weight:
        return Sum(tuple(self.weight(m, k, level + 1, full=full) for _ in range(self.rng.choice((2, 2, 3)))))

    def product(self, m: int, k: int, level: int, full: bool) -> Weight:
        h = self.rng.randint(1, 3)
        return Product(self.weight(m, h, level + 1, full=full), self.weight(h, k, level + 1, full=full))

    def times(self, m: int, k: int, level: int, full: bool) -> Weight:
        return Times(self.weight(m, k, level + 1, full=full), self.weight(m, k, level + 1, full=full))

    def scaled(self, m: int, k: int, level: int, full: bool) -> Weight:
        pair = [self.weight(1, 1, level + 1, full=full), self.weight(m, k, level + 1, full=full)]
        self.rng.shuffle(pair)
        return Times(*pair)

    def place(self, m: int, k: int, level: int, full: bool) -> Weight:
        rng = self.rng
        rows, columns = rng.randint(1, 3), rng.randint(1, 3)
        inner = self.weight(rows, columns, level + 1, full=full)
        places = [(i, j) for i in range(m) for j in range(k)]
        cells = [(i, j, rng.randrange(rows), rng.randrange(columns)) for i, j in places if rng.random() < 0.7]
        placed = Place(inner, (m, k), tuple(cells))
        return transpose(transpose(placed)) if rng.random() < 0.2 else placed


def exact_values(topology: Topology, seed: int) -> dict[str, Matrix]:
    """Other values for every parameter: Fractions, the fixed entries kept, and where a function needs it equal
    numbers (softmax, Sinkhorn) or zeros (sigmoid, tanh)."""
    rng = random.Random(seed)
    zeros, equal = set[str](), set[str]()
    for rule in (rule for mix in topology.mixes for rule in walk(mix.weight)):
        if isinstance(rule, Sigmoid | Tanh):
            zeros |= {p.name for p in parameters(rule)}
        if isinstance(rule, Softmax | Sinkhorn):
            equal |= {p.name for p in parameters(rule)}
    result: dict[str, Matrix] = {}
    for mix in topology.mixes:
        for p in parameters(mix.weight):
            if p.name in result:
                continue
            m, k = p.shape
            if p.name in zeros | equal and p.learned is None:
                result[p.name] = ((Fraction(rng.randint(-9, 9), 5) * (p.name not in zeros),) * k,) * m
                continue
            draw = [[Fraction(rng.randint(-9, 9), rng.randint(1, 7)) for _ in range(k)] for _ in range(m)]
            result[p.name] = tuple(
                tuple(draw[i][j] if p.trains(i, j) else p.initial[i][j] for j in range(k)) for i in range(m)
            )
    return result


def rebuilt(weight: Weight, change: Callable[[Weight], Weight]) -> Weight:
    """The same expression with ``change`` applied to every rule inside, children first."""
    given: dict[str, Any] = {}
    for field in fields(weight):
        value = getattr(weight, field.name)
        if isinstance(value, Weight):
            given[field.name] = rebuilt(value, change)
        elif field.name == "terms":
            given[field.name] = tuple(rebuilt(term, change) for term in value)
    return change(replace(weight, **given) if given else weight)


def numbers_in(value: Any) -> list[int | float | Fraction]:
    """Every number inside a rule, in order."""
    if isinstance(value, Weight):
        value = tuple(getattr(value, field.name) for field in fields(value))
    if isinstance(value, tuple):
        return [number for part in value for number in numbers_in(part)]
    return [value] if isinstance(value, int | float | Fraction) else []


def _other_words(rule: Weight, moved: list[int], seed: int) -> Weight:
    """One rule said differently: renamed, terms and factors exchanged, key p now at the place ``moved[p]``."""
    rng = random.Random(f"{seed} {getattr(rule, 'name', rule)}")  # equal rules are said alike: they may be ties
    match rule:
        case Parameter(name=name) | Bernoulli(name=name):
            return replace(rule, name=f"other_{name}")
        case Generated(name=name, keys=keys):
            order = rng.sample(range(len(keys)), len(keys))
            made = replace(rule, name=f"other_{name}", keys=tuple(moved[keys[place]] for place in order))
            return pick(made, columns=[order.index(j) for j in range(len(keys))]) if rule.each else made
        case Sum(terms=(*terms,)):
            rng.shuffle(terms)
            return (
                Sum((terms[0], Sum(tuple(terms[1:])))) if len(terms) > 1 and rng.random() < 0.5 else Sum(tuple(terms))
            )
        case Times(left=left, right=right):
            commute = SCALAR in (left.grain, right.grain) or not (left.grain.full or right.grain.full)
            return Times(right, left) if commute and rng.random() < 0.5 else rule
        case Sigmoid(of=of, scale=scale):
            return Times(Constant(((scale,),)), Sigmoid(of)) if rng.random() < 0.5 else rule
    return rule


def respelled(topology: Topology, seed: int) -> Topology:
    """The same program: operations shuffled, values and parameters renamed, sources, outputs, keys, terms and
    factors permuted."""
    rng = random.Random(seed)
    names = {value: f"r{rng.randrange(10**6)}_{i}" for i, value in enumerate(["x0", *topology.producers])}
    longest = max((len(mix.keys) for mix in topology.mixes), default=0)
    moved = rng.sample(range(longest), longest)
    ops = []
    for op in topology.ops:
        reads = tuple(names[value] for value in op.reads)
        if isinstance(op, Block):
            ops.append(replace(op, reads=reads, writes=names[op.writes]))
            continue
        weight = rebuilt(op.weight, lambda rule: _other_words(rule, moved, seed))
        columns = rng.sample(range(len(reads)), len(reads))
        rows = rng.sample(range(len(op.writes)), len(op.writes))
        writes = tuple(names[op.writes[i]] for i in rows)
        norm = replace(op.norm, name=f"other_{op.norm.name}") if op.norm else None
        keys = [names[op.keys[min(place, len(op.keys) - 1)]] for place in range(longest)] if op.keys else []
        keys = [keys[moved.index(place)] for place in range(len(keys))]  # keys that nobody reads fill the gaps
        ops.append(Mix(tuple(reads[j] for j in columns), writes, permuted(weight, rows, columns), tuple(keys), norm))
    rng.shuffle(ops)
    return Topology(tuple(ops), names[topology.output], topology.depth, names["x0"])


def permuted(weight: Weight, rows: list[int], columns: list[int]) -> Weight:
    """``out[i] = weight[rows[i]]`` with columns likewise; entries move for Constant, a placement is used otherwise."""
    m, k = weight.shape
    if isinstance(weight, Constant):
        return Constant(tuple(tuple(weight.entries[i][j] for j in columns) for i in rows))
    left = Constant(tuple(tuple(int(i == row) for i in range(m)) for row in rows))
    right = Constant(tuple(tuple(int(j == column) for column in columns) for j in range(k)))
    return Product(Product(left, weight), right)


def with_hops(topology: Topology, seed: int) -> Topology:
    """The same program with identity hops before some readers."""
    rng = random.Random(seed)
    ops = []
    for n, op in enumerate(topology.ops):
        uses = list(op.uses)
        for place, value in enumerate(uses):
            if rng.random() < 0.5:
                ops.append(Mix((value,), (f"hop{n}_{place}",), Constant(((1,),))))
                uses[place] = f"hop{n}_{place}"
        reads = tuple(uses[: len(op.reads)])
        ops.append(
            replace(op, reads=reads) if isinstance(op, Block) else replace(op, reads=reads, keys=uses[len(reads) :])
        )
    ops.append(Mix((topology.output,), ("hop_out",), Constant(((1,),))))
    return Topology(tuple(ops), "hop_out", topology.depth)
