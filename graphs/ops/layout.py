"""Which mixes of a plan read a history from one buffer, and when their backward pass moves what. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from graphs.plan import Plan
from graphs.topology import Mix
from graphs.weights import SCALAR, Constant

BLOCK = 8  # consumers whose gradients are spread to older sources together; about sqrt(1.5 L) for the usual depths
SHARING = 3.0  # reads a source on average that make copying it into the buffer worth while


def fusible(mix: Mix) -> bool:
    """Whether the fused form is for it: one learned number per edge, the same for every token and step.

    Everything else runs the reference: fixed numbers (already an addition each), weights per token (their gradients
    are due before those of the sources), random ones, and entries finer than a number.
    """
    weight = mix.weight
    return not (isinstance(weight, Constant) or weight.per_token or weight.random) and weight.grain == SCALAR


@dataclass(frozen=True, slots=True)
class Read:
    """A mix of the buffer: ``out = sum of the direct sources + weight[:, columns] . slots``.

    ``slots`` is (start, stop, step). ``direct`` are the places among its sources of those added as they are. ``rows``
    are its rows among those of all reads. ``apart`` are the places of those of several outputs that others than these
    mixes read: they get memory of their own, or whoever keeps one would keep all.

    In the backward pass its gradient waits in the place ``waits`` (None: it has several outputs and is spread at
    once); then the rows ``spread`` are spread to the ``older`` slots (none: later), and ``fresh`` says that these
    have received nothing yet.
    """

    mix: int
    slots: tuple[int, int, int]
    columns: tuple[int, ...]
    direct: tuple[int, ...]
    rows: tuple[int, ...]
    apart: tuple[int, ...]
    older: int
    waits: int | None
    spread: tuple[int, ...]
    fresh: bool
    last: bool


@dataclass(frozen=True, slots=True)
class Push:
    """A value enters its slot. In the backward pass the rows of ``waiting`` have not been spread to it yet, and
    ``spread`` says whether any others have."""

    slot: int
    waiting: tuple[int, ...]
    spread: bool
    last: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """``slots`` sources, ``rows`` outputs; ``waiting`` places for gradients in the backward pass.

    ``reads`` by mix number, ``pushes`` by value name. ``only`` are the values that nobody reads but these mixes.
    """

    slots: int
    rows: int
    waiting: int
    reads: dict[int, Read]
    pushes: dict[str, Push]
    only: frozenset[str]


def consumers(plan: Plan) -> dict[str, tuple[tuple[int, int], ...]]:
    """For each value the fusible mixes that read it: (mix number, place among its sources)."""
    found: dict[str, list[tuple[int, int]]] = {}
    for n, mix in enumerate(plan.mixes):
        if fusible(mix):
            for j, value in enumerate(mix.reads):
                found.setdefault(value, []).append((n, j))
    return {value: tuple(places) for value, places in found.items()}


def layout_of(plan: Plan) -> Layout | None:
    """The mixes to run from one buffer, or None where sources are not shared enough for it."""
    mixes = dict(enumerate(plan.mixes))
    written = {plan.topology.stem: -1}
    for i, step in enumerate(plan.steps):
        written.update((value, i) for value in step.op.outputs)
    chosen = {n: mix for n, mix in mixes.items() if fusible(mix)}
    while True:
        needed = {mix.reads[j] for mix in chosen.values() for j in range(len(mix.reads)) if not _direct(mix, j)}
        order = sorted(needed, key=lambda value: (written[value], value))
        slot = {value: i for i, value in enumerate(order)}
        fits = {n: mix for n, mix in chosen.items() if _range(mix, slot) is not None}
        if len(fits) == len(chosen):
            break
        chosen = fits
    edges = sum(value in slot for mix in chosen.values() for value in mix.reads)
    if edges < SHARING * max(len(slot), 1):
        return None
    others = {plan.topology.output}
    for n, mix in mixes.items():
        others |= set(mix.keys) | (set() if n in chosen else set(mix.reads))
    for block in plan.topology.blocks:
        others |= set(block.reads)
    reads, pushes, waiting, rows = _program(plan, chosen, slot, others)
    return Layout(len(slot), rows, waiting, reads, pushes, frozenset(set(slot) - others))


def _direct(mix: Mix, j: int) -> bool:
    """Whether source j is fixed at one or zero, in a mix of one output: added as it is, or not at all."""
    return mix.weight.shape[0] == 1 and (mix.weight.units()[0][j] or not mix.weight.support()[0][j])


def _range(mix: Mix, slot: dict[str, int]) -> tuple[int, int, int] | None:
    """The slots it reads as (start, stop, step), if they are evenly spaced."""
    places = sorted(slot[value] for j, value in enumerate(mix.reads) if value in slot and _reads(mix, j))
    if not places:
        return None
    step = places[1] - places[0] if len(places) > 1 else 1
    spaced = tuple(range(places[0], places[-1] + 1, step))
    return (places[0], places[-1] + 1, step) if spaced == tuple(places) else None


def _reads(mix: Mix, j: int) -> bool:
    return any(row[j] for row in mix.weight.support())


def _program(
    plan: Plan, chosen: dict[int, Mix], slot: dict[str, int], others: set[str]
) -> tuple[dict[int, Read], dict[str, Push], int, int]:
    """Reads and pushes in running order, then what each does in the backward pass, from the last to the first."""
    order: list[tuple[str, int | str, int]] = []  # kind, mix or value, slots filled before it
    filled, number = 0, 0

    def push(values: Sequence[str]) -> None:
        nonlocal filled
        for value in values:
            if value in slot:
                order.append(("push", value, filled))
                filled += 1

    push([plan.topology.stem])
    for step in plan.steps:
        if isinstance(step.op, Mix):
            if number in chosen:
                order.append(("read", number, filled))
            number += 1
        push(sorted(step.op.outputs))
    rows: dict[int, tuple[int, ...]] = {}
    count = 0
    for n, mix in chosen.items():
        rows[n] = tuple(range(count, count + len(mix.writes)))
        count += len(mix.writes)
    reads: dict[int, Read] = {}
    pushes: dict[str, Push] = {}
    waiting: list[int] = []
    most, reached = 0, 0
    for at, (kind, what, older) in reversed(list(enumerate(order))):
        last = at == len(order) - 1
        if isinstance(what, str):
            pushes[what] = Push(slot[what], tuple(waiting), slot[what] < reached, last)
            continue
        assert kind == "read"
        mix = chosen[what]
        span = _range(mix, slot)
        assert span is not None
        column = {slot[value]: j for j, value in enumerate(mix.reads) if value in slot and _reads(mix, j)}
        direct = tuple(j for j, value in enumerate(mix.reads) if value not in slot and _reads(mix, j))
        waits, spread = None, rows[what]
        if len(mix.writes) == 1:
            waits = len(waiting)
            waiting.append(rows[what][0])
            most = max(most, len(waiting))
            spread = tuple(waiting) if len(waiting) == BLOCK else ()
            if spread:
                waiting = []
        reads[what] = Read(
            what,
            span,
            tuple(column[i] for i in range(*span)),
            direct,
            rows[what],
            tuple(i for i, value in enumerate(mix.writes) if value in others) if len(mix.writes) > 1 else (),
            older,
            waits,
            spread,
            bool(spread) and not reached,
            last,
        )
        if spread:
            reached = max(reached, older)
    return reads, pushes, most, count
