"""Random topologies, the families at small sizes, and ways of writing one program differently."""

import random
from collections.abc import Callable
from fractions import Fraction

from graphs import Block, Constant, Mix, Parameter, Product, Softmax, Sum, Topology, families
from graphs.weights import Matrix, Weight, parameters

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
    "wiring": lambda: families.wiring(4, edges=[(0, 2), (1, 5), (2, 4)]),
    "wiring-learned": lambda: families.wiring(4, edges=[(0, 2), (1, 5), (2, 4)], learned=True),
}


def sample(seed: int, *, learned: bool = True, uniform: bool = True) -> Topology:
    """A random legal topology: streams, mixes of several outputs, zeros, identity hops, ties, dead ends, two ports.

    ``learned=False`` keeps to Fraction constants; ``uniform`` starts every softmax at equal logits, so that it is
    exact.
    """
    rng = random.Random(seed)
    depth = rng.randint(1, 6)
    values, ops = ["x0"], []
    pool: list[Parameter] = []
    for number in range(1, depth + 1):
        for _ in range(rng.randint(0, 3)):
            near = values[-6:]
            reads = tuple(rng.sample(near, min(len(near), rng.choice((1, 1, 2, 3, 4)))))
            writes = tuple(f"v{len(values) + i}" for i in range(rng.choice((1, 1, 2, 3))))
            ops.append(Mix(reads, writes, _weight(rng, len(writes), len(reads), pool, learned, uniform)))
            values += writes
        if number > 1 and rng.random() < 0.1:
            continue  # a depth may count blocks that nobody lists
        ports = ("in",) if rng.random() < 0.8 else ("in", "memory")
        reads = tuple(rng.choice(values[-3:]) for _ in ports)
        ops.append(Block(number, reads, f"y{number}", ports))
        values.append(f"y{number}")
    tail = tuple(rng.sample(values[-5:], min(len(values), 3)))
    ops.append(Mix(tail, ("last",), _weight(rng, 1, len(tail), pool, learned, uniform)))
    output = "last" if rng.random() < 0.9 else rng.choice(values)
    return Topology(tuple(ops), output, depth)


def _number(rng: random.Random) -> int | Fraction:
    return rng.choice((0, 1, 1, 1, -1, 2, Fraction(1, 3), Fraction(-2, 7), Fraction(5, 4)))


def _constant(rng: random.Random, m: int, k: int) -> Constant:
    kind = rng.random()
    if kind < 0.3:  # identity hops: every output is one source
        return Constant(tuple(tuple(int(j == i % k) for j in range(k)) for i in range(m)))
    return Constant(tuple(tuple(_number(rng) for _ in range(k)) for _ in range(m)))


def _parameter(rng: random.Random, m: int, k: int, pool: list[Parameter], *, equal: bool) -> Parameter:
    ties = [p for p in pool if p.shape == (m, k) and (not equal or len({*sum(p.initial, ())}) == 1)]
    if ties and rng.random() < 0.3:
        return rng.choice(ties)
    initial = ((_number(rng),) * k,) * m if equal else tuple(tuple(_number(rng) for _ in range(k)) for _ in range(m))
    mask = None
    if not equal and rng.random() < 0.3:
        mask = tuple(tuple(rng.random() < 0.5 for _ in range(k)) for _ in range(m))
        mask = mask if any(map(any, mask)) else None
    parameter = Parameter(f"p{len(pool)}", initial, mask, rng.choice(("mix", "mix", "slow")))
    pool.append(parameter)
    return parameter


def _weight(rng: random.Random, m: int, k: int, pool: list[Parameter], learned: bool, uniform: bool) -> Weight:
    kind = rng.choice(("constant", "parameter", "softmax", "sum", "product")) if learned else "constant"
    if kind == "constant":
        return _constant(rng, m, k)
    if kind == "parameter":
        return _parameter(rng, m, k, pool, equal=False)
    if kind == "softmax":
        logits = _parameter(rng, m, k, pool, equal=uniform)
        return Softmax(logits, rng.choice((1.0, 0.25)), rng.choice(("sources", "destinations")))
    if kind == "sum":
        inner = Softmax(_parameter(rng, m, k, pool, equal=uniform), 0.5)
        return Sum((_constant(rng, m, k), _parameter(rng, m, k, pool, equal=False), inner))
    h = rng.randint(1, 3)
    left: Weight = _constant(rng, m, h) if rng.random() < 0.5 else _parameter(rng, m, h, pool, equal=False)
    return Product(left, _parameter(rng, h, k, pool, equal=False))


def exact_values(topology: Topology, seed: int) -> dict[str, Matrix]:
    """Other values for every parameter: Fractions, the fixed entries kept, equal logits inside a softmax."""
    rng = random.Random(seed)
    inside: set[str] = set()
    for mix in topology.mixes:
        inside |= {p.name for weight in _softmaxes(mix.weight) for p in parameters(weight)}
    result: dict[str, Matrix] = {}
    for mix in topology.mixes:
        for p in parameters(mix.weight):
            if p.name in result:
                continue
            m, k = p.shape
            if p.name in inside and p.learned is None:
                result[p.name] = ((Fraction(rng.randint(-9, 9), 5),) * k,) * m
                continue
            draw = [[Fraction(rng.randint(-9, 9), rng.randint(1, 7)) for _ in range(k)] for _ in range(m)]
            result[p.name] = tuple(
                tuple(draw[i][j] if p.trains(i, j) else p.initial[i][j] for j in range(k)) for i in range(m)
            )
    return result


def _softmaxes(weight: Weight) -> list[Softmax]:
    match weight:
        case Softmax():
            return [weight]
        case Sum(terms=terms):
            return [softmax for term in terms for softmax in _softmaxes(term)]
        case Product(left=left, right=right):
            return _softmaxes(left) + _softmaxes(right)
    return []


def rename_parameters(weight: Weight, name: Callable[[str], str]) -> Weight:
    match weight:
        case Parameter():
            return Parameter(name(weight.name), weight.initial, weight.learned, weight.group)
        case Softmax():
            return Softmax(rename_parameters(weight.of, name), weight.temperature, weight.over)
        case Sum(terms=terms):
            return Sum(tuple(rename_parameters(term, name) for term in terms))
        case Product(left=left, right=right):
            return Product(rename_parameters(left, name), rename_parameters(right, name))
    return weight


def respelled(topology: Topology, seed: int) -> Topology:
    """The same program: operations shuffled, values and parameters renamed, sources and outputs permuted."""
    rng = random.Random(seed)
    names = {value: f"r{rng.randrange(10**6)}_{i}" for i, value in enumerate(["x0", *topology.producers])}
    ops = []
    for op in topology.ops:
        reads = tuple(names[value] for value in op.reads)
        if isinstance(op, Block):
            ops.append(Block(op.number, reads, names[op.writes], op.ports, op.name))
            continue
        weight = rename_parameters(op.weight, lambda name: f"other_{name}")
        columns = rng.sample(range(len(reads)), len(reads))
        rows = rng.sample(range(len(op.writes)), len(op.writes))
        writes = tuple(names[op.writes[i]] for i in rows)
        ops.append(Mix(tuple(reads[j] for j in columns), writes, permuted(weight, rows, columns)))
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
        reads = list(op.reads)
        for place, value in enumerate(reads):
            if rng.random() < 0.5:
                ops.append(Mix((value,), (f"hop{n}_{place}",), Constant(((1,),))))
                reads[place] = f"hop{n}_{place}"
        if isinstance(op, Block):
            ops.append(Block(op.number, tuple(reads), op.writes, op.ports, op.name))
        else:
            ops.append(Mix(tuple(reads), op.writes, op.weight))
    ops.append(Mix((topology.output,), ("hop_out",), Constant(((1,),))))
    return Topology(tuple(ops), "hop_out", topology.depth)
