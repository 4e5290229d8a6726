"""Which mixes of a plan form seams: what joins one block to the next by weights per token. No torch."""

import math
from dataclasses import dataclass

from graphs.plan import Plan
from graphs.topology import Mix
from graphs.weights import SCALAR, ones


@dataclass(frozen=True, slots=True)
class Seam:
    """A depth mix (what a block wrote enters the streams) and the width mix that follows it, as one operation.

    ``depth`` and ``width`` are mix numbers: without a depth mix the state is what the width mix reads, without a width
    mix it is what comes out. ``reads`` are the values that come in and ``state`` those between the two mixes, which
    exist nowhere else; ``sources`` are the width mix's places in the state, and ``kept`` the places that others read.
    ``later`` are the depth mixes whose weights are computed from this state, and ``keys`` the places in the state of
    the keys of each mix whose weights are worked out here (the width mix first, then those of ``later``).
    ``norm`` is the mix that only normalises the width mix's first output, the block's input: ``writes`` has its value.
    """

    depth: int | None
    width: int | None
    reads: tuple[str, ...]
    state: tuple[str, ...]
    sources: tuple[int, ...]
    writes: tuple[str, ...]
    kept: tuple[int, ...]
    later: tuple[int, ...]
    keys: tuple[tuple[int, ...], ...]
    norm: int | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """The width mix's outputs, then the state values that others read."""
        return *self.writes, *(self.state[i] for i in self.kept)

    @property
    def inside(self) -> tuple[int, ...]:
        """The mixes whose weights are worked out here."""
        return *(() if self.width is None else (self.width,)), *self.later


@dataclass(frozen=True, slots=True)
class Link:
    """Where a seam stands in a run of seams of which one state is kept: ``place`` 0 is where it is kept.

    ``carried`` are the places among its reads of what the seam ``before`` it (an index, None: no seam) gives, and
    ``given`` their places among that seam's outputs. ``last`` says that no seam of the segment follows.
    """

    place: int
    before: int | None
    carried: tuple[int, ...]
    given: tuple[int, ...]
    last: bool


def seams_of(plan: Plan) -> tuple[Seam, ...]:
    """The seams in running order.

    A seam has weights per token in one of its mixes at least; all of its weights are one number an edge (not a
    number per channel) and not random.
    """
    mixes = dict(enumerate(plan.mixes))
    norms = {n: norm for n in mixes if (norm := _normed(plan, n)) is not None}
    able = {n: mix for n, mix in mixes.items() if _able(mix) and n not in norms.values()}
    made = {value: n for n, mix in mixes.items() for value in mix.writes}
    pairs: dict[int, int] = {}  # depth mix -> width mix
    for n, mix in able.items():
        makers = {made.get(value) for value in (*mix.reads, *mix.keys)}
        depth = makers.pop() if len(makers) == 1 else None
        if depth in able and depth not in pairs and depth not in pairs.values():
            assert depth is not None
            if able[depth].norm is None and (mix.weight.per_token or able[depth].weight.per_token):
                pairs[depth] = n
    joined = {*pairs, *pairs.values()}
    states = {n: mixes[n].writes for n in pairs}
    alone = {n: mix for n, mix in able.items() if n not in joined and mix.weight.per_token}
    first = {  # width mixes of values that exist anyway, if their keys are those of a depth mix to come
        n: tuple(dict.fromkeys(mix.uses))
        for n, mix in alone.items()
        if any(_within(mixes[d], mix.uses) for d in (*pairs, *alone) if d > n)
    }
    ends = {n for n, mix in alone.items() if n not in first and mix.norm is None}
    known = [set(state) for state in (*states.values(), *first.values())]
    ends = {n for n in ends if any(set(mixes[n].keys) <= state for state in known)}
    depths = {*pairs, *ends}
    starts = sorted([(n, n, pairs.get(n)) for n in depths] + [(n, None, n) for n in first])
    spoken: set[int] = set()  # depth mixes whose weights some seam works out
    seams = []
    for n, depth, width in starts:
        state = first[n] if depth is None else mixes[depth].writes
        later = tuple(d for d in sorted(depths) if d > n and d not in spoken and _within(mixes[d], state))
        spoken.update(later)
        inside = (*(() if width is None else (width,)), *later)
        last = None if width is None else mixes[width]
        norm = None if width is None else norms.get(width)
        writes = () if last is None else last.writes
        if norm is not None:
            writes = mixes[norm].writes + writes[1:]
        seams.append(
            Seam(
                depth,
                width,
                state if depth is None else mixes[depth].reads,
                state,
                () if last is None else tuple(map(state.index, last.reads)),
                writes,
                () if depth is None else _kept(plan, state, width, later),
                later,
                tuple(tuple(map(state.index, mixes[i].keys)) for i in inside),
                norm,
            )
        )
    return tuple(seams)


def links_of(seams: tuple[Seam, ...], recompute: bool | int) -> tuple[Link, ...]:
    """How the seams follow each other, in segments of ``recompute`` seams of which one keeps its state.

    False keeps every state. True keeps one of every ``sqrt(n L / (n + 2))`` for n streams and L seams, where the sum
    of what is kept and what is rebuilt at a time is least. Source: mHC, arXiv 2512.24880, section 4.3.2.
    """
    carries = [_carried(seams, i) for i in range(len(seams))]
    longest = sum(before is not None for before, _, _ in carries)
    place: list[int] = []
    followed: set[int] = set()
    for before, carried, _ in carries:
        size = recompute
        if recompute is True:
            size = max(1, round(math.sqrt(len(carried) * longest / (len(carried) + 2))))
        here = 0
        # A second reader of one seam's outputs, or another number of streams, begins a segment of its own.
        alike = before is not None and (place[before] == 0 or len(carries[before][1]) == len(carried))
        if before is not None and alike and before not in followed and place[before] + 1 < size:
            followed.add(before)
            here = place[before] + 1
        place.append(here)
    return tuple(Link(place[i], *carry, i not in followed) for i, carry in enumerate(carries))


def _carried(seams: tuple[Seam, ...], i: int) -> tuple[int | None, tuple[int, ...], tuple[int, ...]]:
    """The seam whose outputs seam ``i`` reads, if any; where they are in its reads and in those outputs."""
    for j in range(i - 1, -1, -1):
        outputs = seams[j].outputs
        if places := tuple(r for r, value in enumerate(seams[i].reads) if value in outputs):
            return j, places, tuple(outputs.index(seams[i].reads[r]) for r in places)
    return None, (), ()


def _able(mix: Mix) -> bool:
    return mix.weight.grain == SCALAR and not mix.weight.random


def _within(mix: Mix, values: tuple[str, ...]) -> bool:
    """Whether a mix's weights are computed from these values."""
    return mix.weight.per_token and bool(mix.keys) and set(mix.keys) <= set(values)


def _normed(plan: Plan, width: int) -> int | None:
    """The mix that normalises the first output of a width mix and does nothing else, if it is its only reader."""
    if plan.mixes[width].norm is not None:
        return None
    value, number, found = plan.mixes[width].writes[0], 0, []
    readers = int(value == plan.topology.output)
    for step in plan.steps:
        readers += step.op.uses.count(value)
        if isinstance(step.op, Mix):
            alone = step.op.reads == (value,) and step.op.weight == ones(1, 1)
            found += [number] if alone and step.op.norm is not None else []
            number += 1
    return found[0] if found and readers == 1 else None


def _kept(plan: Plan, state: tuple[str, ...], width: int | None, later: tuple[int, ...]) -> tuple[int, ...]:
    """The state's values that somebody reads but the width mix and, as keys, the depth mixes of ``later``."""
    number, read = 0, {plan.topology.output}
    for step in plan.steps:
        if not isinstance(step.op, Mix):
            read.update(step.op.reads)
            continue
        if number != width:
            read.update(step.op.reads)
            if number not in later:
                read.update(step.op.keys)
        number += 1
    return tuple(i for i, value in enumerate(state) if value in read)
