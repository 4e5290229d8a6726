"""Lowering: a topology becomes a straight-line plan that can be printed, priced and followed."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush

from graphs.order import schedule
from graphs.passes import PIPELINE
from graphs.topology import Block, Mix, Op, Topology
from graphs.weights import (
    Bernoulli,
    Constant,
    Generated,
    Parameter,
    Place,
    Product,
    Sigmoid,
    Softmax,
    Sum,
    Times,
    Weight,
)


@dataclass(frozen=True, slots=True)
class Step:
    """One operation, the values whose last use it is, and how many values are alive once it has run.

    ``buffers`` numbers the buffer that each output may be written to: one that no value alive then occupies.
    """

    op: Op
    frees: tuple[str, ...]
    live: int
    buffers: tuple[int, ...] = ()

    @property
    def reads(self) -> int:
        """Hidden states this step's wiring reads, keys included (a block's reading is the block's business)."""
        return len(self.op.uses) if isinstance(self.op, Mix) else 0

    @property
    def writes(self) -> int:
        """Hidden states this step's wiring writes."""
        return len(self.op.writes) if isinstance(self.op, Mix) else 0


@dataclass(frozen=True)
class Plan:
    """The steps of one forward pass in order. ``topology`` is the lowered program, ``source`` what it came from."""

    topology: Topology
    steps: tuple[Step, ...]
    source: Topology

    @property
    def digest(self) -> str:
        """Identity of the program; worked out when first asked for, since planning does not need it."""
        return self.source.digest

    @property
    def mixes(self) -> tuple[Mix, ...]:
        return tuple(step.op for step in self.steps if isinstance(step.op, Mix))

    @property
    def peak(self) -> int:
        """Most hidden states alive at once during inference, the operations of ``topology`` run in their order."""
        return peak_of(self.topology)

    def __str__(self) -> str:
        lines = [
            f"plan of {self.source}: {len(self.topology.blocks)} blocks, {len(self.mixes)} mixes, {self.digest}",
            f"{'step':>4}  {'reads':>5} {'writes':>6} {'live':>4}  operation",
        ]
        for i, step in enumerate(self.steps):
            frees = f"   free {' '.join(step.frees)}" if step.frees else ""
            lines.append(f"{i:>4}  {step.reads:>5} {step.writes:>6} {step.live:>4}  {_text(step.op)}{frees}")
        total = sum(step.reads for step in self.steps), sum(step.writes for step in self.steps)
        lines.append(
            f"      {total[0]:>5} {total[1]:>6} {self.peak:>4}  in all (live: the peak); output {self.topology.output}"
        )
        return "\n".join(lines)


def lower(topology: Topology, observe: Callable[[str, Topology], None] | None = None) -> Plan:
    """Run the passes, order the operations, and free each value at its last use.

    ``observe(name, topology)`` is called with the input as ``"verify"`` and after every pass with its name.
    """
    if observe is not None:
        observe("verify", topology)
    found = topology
    for step in PIPELINE:
        found = step(found)
        if observe is not None:
            observe(step.__name__, found)
    return Plan(found, steps_of(found), topology)


def sketch(topology: Topology) -> Topology:
    """What :func:`lower` runs, but for the last pass, which renames and checks: to be counted, and not to be run."""
    for step in PIPELINE[:-1]:
        topology = step(topology)
    return topology


def steps_of(topology: Topology) -> tuple[Step, ...]:
    """The operations in order, with what each frees and the buffers it may write to."""
    order = schedule(topology)
    last = _last(topology)
    live = 1
    place = {topology.stem: 0}
    free: list[int] = []
    count = 1
    steps = []
    for i, op in enumerate(order):
        buffers = []
        for value in op.outputs:  # taken before the inputs are freed: an output never overwrites what it reads
            if not free:
                heappush(free, count)
                count += 1
            place[value] = heappop(free)
            buffers.append(place[value])
        frees = tuple(dict.fromkeys(value for value in (*op.uses, *op.outputs) if last[value] == i))
        for value in frees:
            heappush(free, place[value])
        live += len(op.outputs) - len(frees)
        steps.append(Step(op, frees, live, tuple(buffers)))
    return tuple(steps)


def peak_of(topology: Topology) -> int:
    """Most hidden states alive at once while the operations run in order, each freed at its last use."""
    ends = Counter(_last(topology).values())
    live = peak = 1
    for i, op in enumerate(schedule(topology)):
        live += len(op.outputs)
        peak = max(peak, live)
        live -= ends[i]
    return peak


def _last(topology: Topology) -> dict[str, int]:
    """Where in the order each value is used last; the output stays, and what nobody reads goes at once."""
    order = schedule(topology)
    last = {value: i for i, op in enumerate(order) for value in (*op.outputs, *op.uses)}
    last[topology.output] = len(order)
    return last


def _text(op: Op) -> str:
    if isinstance(op, Block):
        reads = ", ".join(
            value if port == "in" else f"{port}={value}" for port, value in zip(op.ports, op.reads, strict=True)
        )
        hints = "".join(f" {name}={float(value):g}" for name, value in op.hints)
        return f"{op.writes} = {op.name}({reads})" + (f"  with{hints}" if hints else "")
    left = op.writes[0] if len(op.writes) == 1 else f"({', '.join(op.writes)})"
    right = f"{_weight(op.weight)} . ({', '.join(op.reads)})"
    if op.norm is not None:
        right = f"{op.norm.kind}_norm({right})"
    return f"{left} = {right}" + (f"  from ({', '.join(op.keys)})" if op.keys else "")


MAX_NESTED, MAX_TERMS = 4, 3  # what a line shows of a weight; what passes multiply out can be long


def _weight(weight: Weight, inside: int = 0) -> str:
    if inside == MAX_NESTED:
        return ".."
    inside += 1
    match weight:
        case Constant(entries=entries):
            if weight.shape[0] == 1 and len(entries[0]) <= 12:
                return f"[{' '.join(f'{float(entry):g}' for entry in entries[0])}]"
            return f"constant{list(weight.shape)}"
        case Parameter(name=name) | Generated(name=name) | Bernoulli(name=name):
            return name
        case Softmax(of=inner, temperature=temperature):
            return f"softmax({_weight(inner, inside)}{f' / {temperature:g}' if temperature != 1 else ''})"
        case Sum(terms=terms):
            shown = [_weight(term, inside) for term in terms[:MAX_TERMS]]
            return f"({' + '.join([*shown, *(['..'] if len(terms) > MAX_TERMS else [])])})"
        case Product(left=left, right=right):
            return f"{_weight(left, inside)} @ {_weight(right, inside)}"
        case Times(left=left, right=right):
            return f"{_weight(left, inside)} * {_weight(right, inside)}"
        case Place(of=of, cells=cells):
            return f"{_weight(of, inside)}[{len(cells)} placed]"
        case Sigmoid(of=inner, scale=scale):
            return f"{f'{scale:g} ' if scale != 1 else ''}sigmoid({_weight(inner, inside)})"
    return f"{type(weight).__name__.lower()}({', '.join(_weight(child, inside) for child in weight.children)})"
