"""Shared partial sums: fixed combinations that several consumers contain are computed once."""

from collections import deque
from dataclasses import dataclass
from fractions import Fraction

from graphs.order import schedule
from graphs.passes.linear import Names
from graphs.topology import Mix, Op, Topology
from graphs.traffic import Traffic
from graphs.weights import Constant, Number, row
from graphs.weights.numbers import exact

RECENT = 4  # how many earlier combinations a consumer is compared with, beside those that begin as it does
SHORT = 3  # saving no more reads than this may not pay: it is tried both ways

Terms = dict[str, Number]  # a combination: weights by source


def factor(topology: Topology) -> Topology:
    """The same function, where a consumer that contains a multiple of an earlier combination reads that instead.

    Consumers are mixes of one output and fixed weights, their sources taken in the order in which they are written:
    those that begin alike share what they begin with, whether a consumer already computes it or not. So a residual
    chain written as all pairs becomes one running sum. Ratios are exact. What does not lower the counted traffic is
    taken back.
    """
    order = schedule(topology)
    written = {value: i for i, op in enumerate(order) for value in op.outputs}
    written[topology.stem] = -1
    rows: dict[str, Terms] = {}
    for op in order:
        if isinstance(op, Mix) and op.fixed and len(op.writes) == 1 and isinstance(op.weight, Constant):
            terms = {value: w for value, w in zip(op.reads, op.weight.entries[0], strict=True) if w}
            if len(terms) > 1:
                rows[op.writes[0]] = dict(sorted(terms.items(), key=lambda item: written[item[0]]))
    shared = _contained(_begun(rows, Names(topology, "f")), rows)
    changed = {value: terms for value, terms in shared.items() if terms != rows.get(value)}
    if not changed:
        return topology
    ops: dict[str, Op] = {op.outputs[0]: op for op in order}
    count = Traffic(order)
    before = count.total
    for value, terms in changed.items():
        if value in ops:
            count.remove(ops[value])
        ops[value] = _mix(value, terms)
        count.add(ops[value])
    for value in reversed(changed):
        if value in rows and len(rows[value]) - len(shared[value]) <= SHORT:
            now, old = ops[value], _mix(value, rows[value])
            total = count.total
            count.remove(now)
            count.add(old)
            if count.total < total:
                ops[value] = old
            else:
                count.remove(old)
                count.add(now)
    return topology.rewritten(tuple(ops.values())) if count.total < before else topology


def _mix(value: str, terms: Terms) -> Mix:
    return Mix(tuple(terms), (value,), row(tuple(terms.values())))


def ratio(number: Number, unit: Number) -> Number:
    """``number / unit`` exactly, an int where it is one."""
    if number == unit:
        return 1
    return exact(Fraction(number) / Fraction(unit))


@dataclass(slots=True)
class _Node:
    """A beginning that consumers share: ``value`` computes ``scale`` times it, if anything does."""

    parent: "_Node | None"
    source: str
    weight: Number
    size: int
    through: int = 0
    branches: int = 0
    value: str | None = None
    scale: Number = 1


def _begun(rows: dict[str, Terms], names: Names) -> dict[str, Terms]:
    """Consumers that begin alike up to a factor read that beginning as one value, new ones where it pays."""
    root = _Node(None, "", 1, 0)
    children: dict[tuple[int, str, Number], _Node] = {}
    ends: dict[str, _Node] = {}
    nodes: list[_Node] = []
    for value, terms in rows.items():
        node = root
        first = next(iter(terms.values()))
        for source, weight in terms.items():
            part = ratio(weight, first)
            key = id(node), source, part
            if key not in children:
                node.branches += 1
                children[key] = _Node(node, source, part, node.size + 1)
                nodes.append(children[key])
            node = children[key]
            node.through += 1
        ends[value] = node
        if node.value is None:
            node.value, node.scale = value, first
    result: dict[str, Terms] = {}
    for node in nodes:  # parents before children: each finds the beginning that is read as one value
        if node.value is None and node.branches > 1:
            above = _above(node)
            reads = node.size - above.size + (above is not root)
            # Each of them reads one value for so many, forward and backward; the new one reads, writes and is gathered.
            if (node.through - 1) * (reads - 1) > 2:
                node.value = names.fresh()
                result[node.value] = _terms(node, _ratios(node), 1)
    for value, node in ends.items():
        first = next(iter(rows[value].values()))
        if node.value == value:
            result[value] = _terms(node, rows[value], first)
        else:
            assert node.value is not None
            result[value] = {node.value: ratio(first, node.scale)}
    return result


def _ratios(node: _Node) -> Terms:
    """A beginning with the weight one on its first source."""
    terms = []
    while node.parent is not None:
        terms.append((node.source, node.weight))
        node = node.parent
    return dict(reversed(terms))


def _above(node: _Node) -> _Node:
    """The longest proper beginning of two sources or more that is a value, or the empty one."""
    above = node.parent
    assert above is not None
    while above.parent is not None and (above.value is None or above.size < 2):
        above = above.parent
    return above


def _terms(node: _Node, terms: Terms, first: Number) -> Terms:
    """``terms``, which end at this node and start with the weight ``first``, by the longest beginning before it."""
    above = _above(node)
    if above.value is None:
        return terms
    return _reading(above.value, ratio(first, above.scale), dict(list(terms.items())[above.size :])) or terms


def _reading(value: str, factor: Number, rest: Terms) -> Terms:
    """``factor`` times a value and the rest, in which it may be already; nothing where all of it cancels."""
    already = rest.get(value, 0)
    total = exact(exact(already) + exact(factor)) if already else factor
    others = {source: weight for source, weight in rest.items() if source != value}
    return {value: total, **others} if total else others


def _contained(rows: dict[str, Terms], written: dict[str, Terms]) -> dict[str, Terms]:
    """Consumers that contain one of the combinations before them, as it is or as it was ``written``, read that."""
    recent: deque[tuple[str, Terms]] = deque(maxlen=2 * RECENT)
    result = {}
    for value, terms in rows.items():
        fits = [(name, other, c) for name, other in recent if (c := _times(other, terms)) is not None]
        if fits and len(terms) > 1:
            name, other, c = max(fits, key=lambda fit: len(fit[1]))
            terms = _reading(name, c, {source: w for source, w in terms.items() if source not in other}) or terms
        result[value] = terms
        recent += [(value, other) for other in (terms, written.get(value, terms)) if len(other) > 1]
    return result


def _times(part: Terms, whole: Terms) -> Number | None:
    """The factor by which ``whole`` contains ``part``, if it does."""
    source, unit = next(iter(part.items()))
    if len(part) > len(whole) or source not in whole:
        return None
    factor = ratio(whole[source], unit)
    for source, weight in part.items():
        if source not in whole or exact(whole[source]) != factor * exact(weight):
            return None
    return factor
