"""Composition of linear mixes: identity hops and chains of fixed mixes become one step."""

from collections import Counter
from dataclasses import replace

from graphs.order import schedule
from graphs.topology import Block, Mix, Op, Topology
from graphs.weights import Constant, Number, multiply

# How a value is read instead of being computed: (source, weight) pairs.
Terms = dict[str, Number]


def fold(topology: Topology) -> Topology:
    """The same function with fewer mixes.

    An output that is one source times one is read as that source. An output of a fixed mix that is read once,
    by a mix, is read as its sources; when both are fixed that saves its write and its read, and otherwise it is
    done only where it adds no source. Learned matrices keep their parameters; the composition is a product.
    """
    if "_folded" in vars(topology):  # by an earlier fold, with nothing to do
        return topology
    readers = Counter(value for op in topology.ops for value in op.uses)
    readers[topology.output] += 1
    read_by_mix = {value for op in topology.mixes for value in op.reads}
    read_by_mix -= {value for op in topology.blocks for value in op.reads} | {topology.output}
    read_by_mix -= {value for op in topology.mixes for value in op.keys}
    alias: dict[str, str] = {}
    inline: dict[str, Terms] = {}
    ops: list[Op] = []
    order = schedule(topology)
    for op in order:
        if isinstance(op, Block):
            reads = tuple(alias.get(value, value) for value in op.reads)
            ops.append(op if reads == op.reads else replace(op, reads=reads))
            continue
        mix = _composed(op, alias, inline)
        ops.append(mix)
        if isinstance(mix.weight, Constant) and mix.norm is None:
            for value, row in zip(mix.writes, mix.weight.entries, strict=True):
                terms = {source: w for source, w in zip(mix.reads, row, strict=True) if w}
                if list(terms.values()) == [1]:
                    alias[value] = next(iter(terms))
                elif terms and readers[value] == 1 and value in read_by_mix:
                    inline[value] = terms
    # What is no longer read stays listed here; prune removes it.
    output = alias.get(topology.output, topology.output)
    same = output == topology.output and all(new is old for new, old in zip(ops, order, strict=True))
    if same:
        vars(topology)["_folded"] = None
        return topology
    return topology.rewritten(tuple(ops), output)


def _composed(mix: Mix, alias: dict[str, str], inline: dict[str, Terms]) -> Mix:
    """``mix`` reading through aliases and inlined values, its sources distinct."""
    if alias.keys().isdisjoint(mix.uses) and inline.keys().isdisjoint(mix.reads):
        return mix
    fixed = isinstance(mix.weight, Constant)
    rows: list[Terms] = []  # how each old source reads in new ones
    for value in mix.reads:
        if value in alias:
            rows.append({alias[value]: 1})
        elif value in inline and (fixed or len(inline[value]) == 1):
            rows.append(inline[value])
        else:
            rows.append({value: 1})
    sources = tuple(dict.fromkeys(source for row in rows for source in row))
    keys = tuple(alias.get(value, value) for value in mix.keys)
    if len(sources) == len(rows) and all(row == {source: 1} for row, source in zip(rows, sources, strict=True)):
        return replace(mix, reads=sources, keys=keys)
    spread = Constant(tuple(tuple(row.get(source, 0) for source in sources) for row in rows))
    return replace(mix, reads=sources, weight=multiply(mix.weight, spread), keys=keys)
