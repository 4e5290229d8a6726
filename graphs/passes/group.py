"""Consumers of a long shared history read it once, a group at a time: two-level blocking."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import isqrt

from graphs.order import schedule
from graphs.passes.linear import Names, composable
from graphs.topology import Mix, Op, Topology
from graphs.traffic import traffic
from graphs.weights import Constant, Grain, moved, summed

MIN_READS = 4  # a consumer of fewer sources has nothing to share
MIN_SHARED = 3  # reading fewer sources directly costs less than writing a partial sum of them


@dataclass(frozen=True, slots=True)
class Span:
    """A group: from which consumer on, those that get a sum of the sources older than it, and how many these are."""

    first: int
    members: tuple[int, ...]
    older: int


def group(topology: Topology) -> Topology:
    """The same function with fewer reads of shared sources.

    For S consecutive consumers one mix of S outputs reads the sources that exist before the first of them runs; each
    consumer then reads its partial sum and what has been written since. For a history of length L that is about
    L^2 / 2S + L S / 2 reads in all instead of L^2 / 2. The groups are those of the least counted traffic. Weights of
    one grain keep to themselves: a group of scalars and vectors would make vectors of all.
    """
    if "_grouped" not in vars(topology):  # forms are compared grouped, and the best of them comes here once more
        found = _group(topology)
        vars(topology)["_grouped"] = None if found is topology else found  # no reference to itself
    return vars(topology)["_grouped"] or topology


def _group(topology: Topology) -> Topology:
    order = schedule(topology)
    written = {value: i for i, op in enumerate(order) for value in op.outputs}
    written[topology.stem] = -1
    consumers: dict[Grain, dict[int, Mix]] = {}  # by place in the order
    for i, op in enumerate(order):
        if composable(op) and len(op.writes) == 1 and len(_live(op)) >= MIN_READS:
            consumers.setdefault(op.weight.grain, {})[i] = op
    names = Names(topology, "p")
    replaced: dict[int, tuple[Op, ...]] = {}
    for mixes in consumers.values():
        replaced |= _grouped(mixes, written, names)
    if not replaced:
        return topology
    ops = tuple(op for i, old in enumerate(order) for op in replaced.get(i, (old,)))
    found = topology.rewritten(ops)
    return found if traffic(found) < traffic(topology) else topology


def _grouped(mixes: dict[int, Mix], written: dict[str, int], names: Names) -> dict[int, tuple[Op, ...]]:
    """What takes the place of consumers, by their places."""
    sources = sorted(dict.fromkeys(value for mix in mixes.values() for value in mix.reads), key=written.__getitem__)
    index = {value: j for j, value in enumerate(sources)}
    masks, older = [], []
    exist = 0
    for place, mix in mixes.items():
        bits = bytearray(len(sources) // 8 + 1)
        for value in _live(mix):
            bits[index[value] >> 3] |= 1 << (index[value] & 7)
        masks.append(int.from_bytes(bits, "little"))
        while exist < len(sources) and written[sources[exist]] < place:
            exist += 1
        older.append(exist)
    places = list(mixes)
    replaced: dict[int, tuple[Op, ...]] = {}
    for span in blocked(masks, older)[0]:
        at = [places[i] for i in span.members]
        partial, rest = _split([mixes[i] for i in at], set(sources[: span.older]), index, names)
        replaced |= dict(zip(at, rest, strict=True))
        replaced[at[0]] = (partial, *replaced[at[0]])
    return replaced


def blocked(masks: Sequence[int], older: Sequence[int]) -> tuple[list[Span], int]:
    """The groups of the least traffic, and that traffic.

    Bit j of ``masks[i]`` says that consumer i reads source j; sources are numbered as they are written, and
    ``older[i]`` of them exist before consumer i runs. Counted are reads, writes and the gradients that go back along
    them, not what a source costs whoever reads it.
    """
    most = 2 * isqrt(len(masks)) + 8
    counts = [mask.bit_count() for mask in masks]
    best = list(accumulate((2 * count + 1 for count in counts), initial=0))  # all of them alone
    choice: list[Span | None] = [None] * (len(masks) + 1)
    for first, cut in enumerate(older):
        alone = best[first] + 2 * counts[first] + 1
        if alone < best[first + 1]:
            best[first + 1], choice[first + 1] = alone, None
        below = (1 << cut) - 1
        shared = edges = rest = 0
        members: list[int] = []
        for i in range(first, min(first + most, len(masks))):
            old = masks[i] & below
            count = old.bit_count()
            if count < MIN_SHARED:
                rest += 2 * counts[i] + 1
                continue
            late = counts[i] - count
            members.append(i)
            shared, edges = shared | old, edges + count
            rest += 1 + (2 * late + 2 if late else 0)  # a partial sum; then it, what is late, and the output
            width = shared.bit_count()
            total = best[first] + rest + width + min(edges, len(members) + 3 * width)
            if total < best[i + 1]:
                best[i + 1], choice[i + 1] = total, Span(first, tuple(members), cut)
    spans, end = [], len(masks)
    while end:
        span = choice[end]
        if span is not None:
            spans.append(span)
        end = end - 1 if span is None else span.first
    return spans[::-1], best[-1]


def _live(mix: Mix) -> list[str]:
    return [value for value, (edges, _) in zip(mix.reads, mix.columns, strict=True) if edges]


def _split(
    members: list[Mix], older: set[str], index: dict[str, int], names: Names
) -> tuple[Mix, list[tuple[Mix, ...]]]:
    """One mix that reads what is older for all members, and what each of them still does."""
    shared = sorted({value for mix in members for value in _live(mix) if value in older}, key=index.__getitem__)
    column = {value: j for j, value in enumerate(shared)}
    parts, writes = [], []
    rest: list[tuple[Mix, ...]] = []
    for i, mix in enumerate(members):
        live = set(_live(mix))
        old = [(i, column[value], 0, j) for j, value in enumerate(mix.reads) if value in column and value in live]
        late = [j for j, value in enumerate(mix.reads) if value not in column and value in live]
        parts.append(moved(mix.weight, (len(members), len(shared)), old))
        writes.append(names.fresh() if late else mix.writes[0])
        if late:
            shape = 1, 1 + len(late)
            one = Constant(((1, *(0,) * len(late)),))
            weight = summed([one, moved(mix.weight, shape, [(0, 1 + c, 0, j) for c, j in enumerate(late)])])
            rest.append((Mix((writes[-1], *(mix.reads[j] for j in late)), mix.writes, weight),))
        else:
            rest.append(())
    return Mix(tuple(shared), tuple(writes), summed(parts)), rest
