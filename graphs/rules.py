"""What is legal: one function and one sentence per rule. Each yields the messages of what breaks it."""

from collections.abc import Callable, Iterator
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from graphs.errors import TopologyError
from graphs.order import schedule

if TYPE_CHECKING:
    from graphs.topology import Topology

Rule = Callable[["Topology"], Iterator[str]]


def single_assignment(topology: "Topology") -> Iterator[str]:
    """Every value is written once, and the stem by nobody."""
    seen = {topology.stem}
    for op in topology.ops:
        for value in op.outputs:
            if value in seen:
                yield f"value {value!r} is written twice; give each output a name of its own"
            seen.add(value)


def numbered_blocks(topology: "Topology") -> Iterator[str]:
    """Block numbers are distinct and lie in 1..depth, and names are distinct."""
    from graphs.topology import Block

    depth = topology.depth
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
        yield f"depth is {depth!r}; a topology has at least one block"
    blocks = [op for op in topology.ops if isinstance(op, Block)]
    numbers = [block.number for block in blocks]
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= topology.depth:
            yield f"block number {number!r} is outside 1..{topology.depth}"
    names = [block.name for block in blocks]
    for what, labels in (("number", list(map(str, numbers))), ("name", names)):
        if len(set(labels)) < len(labels):
            twice = next(label for label in labels if labels.count(label) > 1)
            yield f"two blocks share the {what} {twice}; give each its own"


def fed(topology: "Topology") -> Iterator[str]:
    """Every operation reads at least one value, and every value read is written or is the stem."""
    known = {topology.stem, *topology.producers}
    for op in topology.ops:
        label = _label(op)
        if not op.reads:
            yield f"{label} reads nothing; every block and mix needs a predecessor"
        for value in op.reads:
            if value not in known:
                yield f"{label} reads {value!r}, which nobody writes"
    if topology.output not in known:
        yield f"the output {topology.output!r} is written by nobody"


def distinct_sources(topology: "Topology") -> Iterator[str]:
    """The sources of one mix are distinct."""
    for mix in topology.mixes:
        if len(set(mix.reads)) < len(mix.reads):
            twice = sorted({value for value in mix.reads if mix.reads.count(value) > 1})
            yield f"{_label(mix)} reads {', '.join(twice)} twice; add the two weights instead"


def shapes(topology: "Topology") -> Iterator[str]:
    """A mix of k values into m has a weight of shape (m, k); a block reads one value per port."""
    for mix in topology.mixes:
        if mix.weight.shape != (len(mix.writes), len(mix.reads)):
            yield (
                f"{_label(mix)} has {len(mix.reads)} sources and {len(mix.writes)} outputs, "
                f"so its weight must have shape {(len(mix.writes), len(mix.reads))}, not {mix.weight.shape}"
            )
    for block in topology.blocks:
        if len(block.reads) != len(block.ports) or len(set(block.ports)) < len(block.ports):
            yield f"{_label(block)} has ports {list(block.ports)} and reads {list(block.reads)}; one value per port"


def tied_parameters(topology: "Topology") -> Iterator[str]:
    """Parameters that share a name share their initial value, mask and group."""
    from graphs.weights import Parameter, parameters

    first: dict[str, Parameter] = {}
    for mix in topology.mixes:
        for parameter in parameters(mix.weight):
            other = first.setdefault(parameter.name, parameter)
            if other is not parameter and other != parameter:
                yield f"two different parameters are called {parameter.name!r}; tie equal ones or rename one"


def acyclic(topology: "Topology") -> Iterator[str]:
    """No value depends on itself."""
    try:
        TopologicalSorter({value: op.reads for value, op in topology.producers.items()}).prepare()
    except CycleError as error:
        yield f"a cycle: {' -> '.join(error.args[1])}; a topology has no loops"


def runnable_order(topology: "Topology") -> Iterator[str]:
    """A block depends only on blocks of smaller number."""
    last = 0
    for op in schedule(topology):
        number = getattr(op, "number", None)
        if number is not None:
            if number < last:
                yield (
                    f"a block of number below {last} needs block {last}'s output; "
                    "number blocks in an order in which they can run"
                )
            last = number


# Later rules may assume what earlier ones established.
RULES: tuple[Rule, ...] = (
    single_assignment,
    numbered_blocks,
    fed,
    distinct_sources,
    shapes,
    tied_parameters,
    acyclic,
    runnable_order,
)


def verify(topology: "Topology") -> None:
    """Raise TopologyError with the first broken rule's message."""
    for rule in RULES:
        for message in rule(topology):
            raise TopologyError(message)


def _label(op: object) -> str:
    number = getattr(op, "number", None)
    if number is not None:
        return f"block {number}"
    return f"the mix that writes {', '.join(op.writes) or 'nothing'}"  # type: ignore[attr-defined]
