"""Random programs that give passes something to do, and what a pass must keep."""

import random
from collections.abc import Callable, Iterator
from fractions import Fraction

from graph_oracles import Meaning, Row
from graph_samples import exact_values

from graphs import Block, Constant, Mix, Parameter, Softmax, Sum, Topology
from graphs.weights import Bernoulli, Matrix, Rule, beside, evaluate, multiply, ones, parameters, pick, place

Draw = Callable[[int], Topology]


def number(rng: random.Random) -> int | Fraction:
    return rng.choice((1, 1, 1, 2, -1, Fraction(1, 3), Fraction(-2, 7), Fraction(5, 4)))


def rule(rng: random.Random, name: str, m: int, k: int) -> Rule:
    """A learned or fixed matrix: exact at its start, and at ``exact_values``."""
    entries = tuple(tuple(number(rng) for _ in range(k)) for _ in range(m))
    kind = rng.choice(("parameter", "parameter", "constant", "softmax", "masked", "sum"))
    if kind == "constant":
        return Constant(entries)
    if kind == "softmax":
        return Softmax(Parameter(name, ((0,) * k,) * m), rng.choice((1.0, 0.25)))
    if kind == "masked" and m * k > 1:
        mask = [rng.random() < 0.6 for _ in range(m * k)]
        mask[rng.randrange(m * k)] = True
        return Parameter(name, entries, tuple(tuple(mask[i * k : (i + 1) * k]) for i in range(m)))
    if kind == "sum":
        return Sum((Constant(entries), Parameter(name, ((0,) * k,) * m)))
    return Parameter(name, entries)


def histories(seed: int) -> Topology:
    """Readers of long shared histories: one or two ports a block, what they read old and new, learned or fixed."""
    rng = random.Random(f"histories {seed}")
    depth = rng.randint(6, 14)
    values, ops = ["x0"], []
    dense = rng.choice((1.0, 1.0, 0.9, 0.6))
    for block in range(1, depth + 2):
        ports = 1 if block > depth or rng.random() < 0.7 else 2
        reads = []
        for port in range(ports):
            sources = [value for value in values if rng.random() < dense] or [values[-1]]
            rng.shuffle(sources)
            name = f"u{block}_{port}"
            ops.append(Mix(tuple(sources), (name,), rule(rng, f"p{block}_{port}", 1, len(sources))))
            reads.append(name)
        if block > depth:
            return Topology(tuple(ops), reads[0], depth)
        ops.append(Block(block, tuple(reads), f"y{block}", tuple(f"port{i}" for i in range(ports))))
        values.append(f"y{block}")
        if rng.random() < 0.3:
            values.append(reads[0])
    raise AssertionError("unreachable")


def sums(seed: int) -> Topology:
    """Fixed combinations that begin alike, up to a factor, or contain each other, or each other's values."""
    rng = random.Random(f"sums {seed}")
    depth = rng.randint(4, 12)
    values, ops = ["x0"], []
    known: list[dict[str, int | Fraction]] = []
    for block in range(1, depth + 2):
        row: dict[str, int | Fraction] = {}
        if known and rng.random() < 0.8:
            other, factor = rng.choice(known), number(rng)
            row = {value: factor * weight for value, weight in other.items()}
            if rng.random() < 0.2:
                row.pop(rng.choice(list(row)))
        for value in rng.sample(values, min(len(values), rng.choice((0, 1, 2, 3)))):
            row.setdefault(value, number(rng))
        if block > depth:  # what nobody reads yet
            read = {value for op in ops for value in op.uses}
            row |= {value: number(rng) for value in values if value not in read and value not in row}
        row = row or {values[-1]: 1}
        known.append(row)
        ops.append(Mix(tuple(row), (f"u{block}",), Constant((tuple(row.values()),))))
        if block > depth:
            return Topology(tuple(ops), f"u{block}", depth)
        ops.append(Block(block, (f"u{block}",), f"y{block}"))
        values += [f"y{block}", f"u{block}"] if rng.random() < 0.3 else [f"y{block}"]
    raise AssertionError("unreachable")


def streamed(seed: int) -> Topology:
    """Running streams, read and written by one mix a block or by several; now and then one that is drawn."""
    rng = random.Random(f"streams {seed}")
    depth, n = rng.randint(1, 5), rng.randint(1, 3)
    state = tuple(f"s0_{i}" for i in range(n))
    ops: list[Mix | Block] = [Mix(("x0",), state, rule(rng, "expand", n, 1))]
    for block in range(1, depth + 1):
        carried = tuple(f"g{block}_{i}" for i in range(n))
        read = (f"u{block}",)
        if rng.random() < 0.2:
            keep = tuple(tuple(Fraction(rng.randint(0, 2), 2) for _ in state) for _ in range(1 + n))
            ops.append(Mix(state, read + carried, Bernoulli(f"drop{block}", keep)))
        elif rng.random() < 0.6:
            ops.append(Mix(state, read + carried, rule(rng, f"width{block}", 1 + n, n)))
        else:
            ops.append(Mix(state, read, rule(rng, f"read{block}", 1, n)))
            ops.append(Mix(state, carried, rule(rng, f"carry{block}", n, n)))
        ops.append(Block(block, read, f"y{block}"))
        new = tuple(f"s{block}_{i}" for i in range(n))
        sources = [f"y{block}", *carried]
        if rng.random() < 0.3:
            sources.append(rng.choice([value for op in ops for value in op.outputs if value not in sources]))
        ops.append(Mix(tuple(sources), new, rule(rng, f"depth{block}", n, len(sources))))
        state = new
    ops.append(Mix(state, ("out",), rule(rng, "collapse", 1, n)))
    return Topology(tuple(ops), "out", depth)


def products(seed: int) -> Topology:
    """Static hyper-connections written in history form: readers share ``S_k = [A_r S_{k-1} | B]``."""
    rng = random.Random(f"products {seed}")
    depth, n = rng.randint(1, 6), rng.randint(1, 3)
    return hyper_history(depth, n, lambda name, m, k: rule(rng, name, m, k))


def hyper_history(depth: int, n: int, make: Callable[[str, int, int], Rule] | None = None) -> Topology:
    """``n`` streams in history form, n (n + 2) weights a block."""

    def start(name: str, m: int, k: int) -> Rule:
        return Parameter(name, tuple(tuple(int(i in (0, j + 1)) if m > n else 1 for j in range(k)) for i in range(m)))

    make = make or start
    history, state = ["x0"], ones(n, 1)
    ops: list[Mix | Block] = []
    states: Rule = state
    for block in range(1, depth + 1):
        width = make(f"width{block}", n + 1, n)
        ops.append(Mix(tuple(history), (f"u{block}",), multiply(pick(width, rows=[0]), states)))
        ops.append(Block(block, (f"u{block}",), f"y{block}"))
        history.append(f"y{block}")
        states = beside(multiply(pick(width, rows=range(1, n + 1)), states), make(f"write{block}", n, 1))
    ops.append(Mix(tuple(history), ("out",), multiply(ones(1, n), states)))
    return Topology(tuple(ops), "out", depth)


def all_pairs(depth: int, weight: Callable[[int], int | Fraction] = lambda age: 1) -> Topology:
    """A residual chain in which every block reads the weighted sum of all earlier outputs."""
    values, ops = ["x0"], []
    for block in range(1, depth + 2):
        row = tuple(weight(block - 1 - j) for j in range(block))
        ops.append(Mix(tuple(values), (f"u{block}",), Constant((row,))))
        if block <= depth:
            ops.append(Block(block, (f"u{block}",), f"y{block}"))
            values.append(f"y{block}")
    return Topology(tuple(ops), f"u{depth + 1}", depth)


SAMPLES: dict[str, Draw] = {"histories": histories, "sums": sums, "streamed": streamed, "products": products}


def edges(topology: Topology) -> int:
    """Entries of all mixes that can ever be non-zero."""
    return sum(count for mix in topology.mixes for count, _ in mix.columns)


def reads(topology: Topology) -> int:
    return sum(len(mix.uses) for mix in topology.mixes)


def learned(topology: Topology) -> set[str]:
    return {p.name for mix in topology.mixes for p in parameters(mix.weight)}


def meanings(topology: Topology, values: dict[str, Matrix] | None = None) -> Meaning:
    """What the output and every listed block reads: ``graph_oracles.meaning`` with each matrix worked out once."""
    result: Meaning = {}
    holds: dict[str, Row] = {topology.stem: {0: Fraction(1)}}
    pending = [topology.output, *(value for block in topology.blocks for value in block.reads)]
    while pending:
        op = topology.producers.get(pending[-1])
        missing = [value for value in op.reads if value not in holds] if isinstance(op, Mix) else []
        if pending[-1] in holds or missing:
            pending = pending + missing if missing else pending[:-1]
        elif isinstance(op, Mix):
            for value, weights in zip(op.writes, evaluate(op.weight, values), strict=True):
                total: Row = {}
                for source, weight in zip(op.reads, weights, strict=True):
                    for column, entry in holds[source].items() if weight else ():
                        total[column] = total.get(column, Fraction(0)) + weight * entry
                holds[value] = {column: entry for column, entry in total.items() if entry}
        elif op is not None:
            holds[op.writes] = {op.number: Fraction(1)}
    for block in topology.blocks:
        result |= {(block.number, port): holds[value] for port, value in zip(block.ports, block.reads, strict=True)}
    return result | {"output": holds[topology.output]}


def differences(before: Topology, after: Topology, seed: int) -> Iterator[str]:
    """How ``after`` is not the same function of the same parameters, at their start and elsewhere; exact."""
    plain = not any(mix.weight.per_token for mix in before.mixes)
    for values in (None, exact_values(before, seed)) if plain else (None,):
        one, other = meanings(before, values), meanings(after, values)
        if other["output"] != one["output"]:
            yield "the output"
        yield from (f"what {reader} reads" for reader in other if other[reader] != one[reader])
    if (after.depth, after.stem, after.family, after.settings) != (
        before.depth,
        before.stem,
        before.family,
        before.settings,
    ):
        yield "where it comes from"
    kept = {block.number: block for block in before.blocks}
    for block in after.blocks:
        own = kept[block.number]
        if (block.name, block.ports, block.hints) != (own.name, own.ports, own.hints):
            yield f"block {block.number}"


def generic_values(topology: Topology, seed: int) -> dict[str, Matrix]:
    """Values for every parameter at which nothing cancels by chance; a softmax gives floats there."""
    rng = random.Random(f"generic {seed}")
    return {
        p.name: tuple(
            tuple(Fraction(rng.randint(50, 150), 97) if p.trains(i, j) else entry for j, entry in enumerate(row))
            for i, row in enumerate(p.initial)
        )
        for mix in topology.mixes
        for p in parameters(mix.weight)
    }


def mutants(before: Topology, after: Topology, values: dict[str, Matrix] | None) -> Iterator[tuple[str, Topology]]:
    """``after`` with one fault each in what the pass wrote: an edge dropped, or two reads swapped.

    Those that make no difference are left out: a source that holds nothing, two that hold the same.
    """
    old = set(map(id, before.ops))
    holds = {}
    for value in [after.stem, *after.producers]:
        holds[value] = meanings(after.with_ops(after.ops, value), values)["output"]
    live = _live(after, values)
    for at, op in enumerate(after.ops):
        if id(op) in old or not isinstance(op, Mix) or not live.intersection(op.writes):
            continue

        def with_op(mix: Mix, at: int = at) -> Topology:
            return after.with_ops((*after.ops[:at], mix, *after.ops[at + 1 :]))

        rows = [row for row, value in zip(evaluate(op.weight, values), op.writes, strict=True) if value in live]
        columns = list(zip(*rows, strict=True))
        for j, value in enumerate(op.reads):
            others = [i for i in range(len(op.reads)) if i != j]
            if others and any(columns[j]) and holds[value]:
                weight = place(pick(op.weight, columns=others), op.weight.shape, columns=others)
                yield "drop", with_op(Mix(op.reads, op.writes, weight))
            if j and holds[value] != holds[op.reads[j - 1]] and columns[j] != columns[j - 1]:
                swapped = (*op.reads[: j - 1], value, op.reads[j - 1], *op.reads[j + 1 :])
                yield "swap", with_op(Mix(swapped, op.writes, op.weight))


def _live(topology: Topology, values: dict[str, Matrix] | None) -> set[str]:
    """The values that blocks and the output depend on, at these weights."""
    live, pending = set[str](), [topology.output, *(value for block in topology.blocks for value in block.reads)]
    while pending:
        value = pending.pop()
        op = topology.producers.get(value)
        if value not in live and isinstance(op, Mix):
            row = evaluate(op.weight, values)[op.writes.index(value)]
            pending += [source for source, weight in zip(op.reads, row, strict=True) if weight]
        live.add(value)
    return live
