"""State form or history form: of the two forms of one function the one that moves less."""

import functools
import operator

from graphs.passes.defer import defer
from graphs.passes.factor import factor
from graphs.passes.fold import fold
from graphs.passes.group import blocked, group
from graphs.passes.history import Rows, States
from graphs.passes.history import to_history as to_history
from graphs.passes.prune import prune
from graphs.passes.streams import shares_factors
from graphs.passes.streams import to_streams as to_streams
from graphs.topology import Mix, Topology
from graphs.traffic import Traffic, traffic

# History form is for running states, which come from the mix before. An average of averages of all ages is a history
# already: multiplied out, its matrices would grow with the cube of the depth.
MAX_ORIGINS = 2  # mixes whose outputs one mix of a running state reads
SLACK = 1.1
MAX_WORK = 64  # entries of the matrices to work out, per edge of the history form


def forms(topology: Topology) -> Topology:
    """The same function in the form of least counted traffic, forward and backward, once readers are grouped.

    Tried are: as it is; products apart, so that what their factors share is computed once; and, of both, those
    segments in history form that then move less.
    """
    found = [topology]
    if shares_factors(topology):
        found.append(_settled(to_streams(topology)))
    for form in tuple(found):
        state = States(form)
        found.extend(_settled(state.replaced(rows)) for rows in _shorter(state))
    return min(found, key=lambda form: traffic(group(form))) if len(found) > 1 else topology


def _settled(topology: Topology) -> Topology:
    for run in (prune, fold, prune, factor, fold, defer, prune):
        topology = run(topology)
    return topology


def _shorter(state: States) -> list[Rows]:
    """History form for the segments that, estimated, move less in it than as they are; and for those that may.

    The estimate is of grouped readers and within a tenth; what is built from it is counted.
    """
    plausible = [(segment, sketch) for segment in state.segments if (sketch := _sketch(state, segment)) is not None]
    if not plausible:
        return []
    count = Traffic(state.order)
    surely: Rows = {}
    maybe: Rows = {}
    for segment, (readers, older) in plausible:
        before = count.total
        for mix in segment:
            count.remove(mix)
        present = before - count.total
        _, least = blocked(readers, older)
        if least < present * SLACK:
            rows = state.history(segment)
            now = [mix for mix in rows.values() if mix is not None]
            for mix in now:
                count.add(mix)
            grouped = count.total - sum(2 * mask.bit_count() + 1 for mask in readers) + least
            for mix in now:
                count.remove(mix)
            if grouped - before < present * (SLACK - 1):
                maybe |= rows
            if grouped < before:
                surely |= rows
        for mix in segment:
            count.add(mix)
    return [rows for rows in ([surely, maybe] if len(surely) < len(maybe) else [maybe]) if rows]


def _sketch(state: States, segment: list[Mix]) -> tuple[list[int], list[int]] | None:
    """The history form of a segment as :func:`graphs.passes.group.blocked` takes it; None where it is not for it.

    Readers and sources are bits here: nothing is multiplied to know what reads what.
    """
    origin = {value: i for i, mix in enumerate(segment) for value in mix.writes}
    outside = dict.fromkeys(value for mix in segment for value in mix.reads if value not in origin)
    sources = sorted(outside, key=state.born.__getitem__)
    mask = {value: 1 << j for j, value in enumerate(sources)}
    readers: list[int] = []
    older: list[int] = []
    exist = work = 0
    for mix in segment:
        origins = {origin[value] for value in mix.reads if value in origin}
        if len(origins) > MAX_ORIGINS:
            return None
        union = 0
        for value, flags in zip(mix.writes, mix.weight.support(), strict=True):
            row = 0
            for source, on in zip(mix.reads, flags, strict=True):
                if on:
                    row |= mask[source]
            mask[value] = row
            union |= row
        if origins:
            m, k = mix.weight.shape
            work += (m + k * (1 + len(origins))) * union.bit_count()
        wanted = [mask[value] for value in mix.writes if value in state.wanted]
        if wanted:
            while exist < len(sources) and state.born[sources[exist]] < state.born[mix.writes[0]]:
                exist += 1
            readers.append(functools.reduce(operator.or_, wanted))
            older.append(exist)
    return (readers, older) if work <= MAX_WORK * sum(mask.bit_count() for mask in readers) else None
