"""What is legal: one function and one sentence per rule. Each yields the messages of what breaks it."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from graphs.errors import TopologyError
from graphs.order import schedule

if TYPE_CHECKING:
    from graphs.topology import Topology

MAX_DEPTH = 10_000

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
    elif depth > MAX_DEPTH:
        yield f"depth is {depth}; at most {MAX_DEPTH} blocks"
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
        for value in op.uses:
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


def keyed(topology: "Topology") -> Iterator[str]:
    """A mix has keys exactly where its weights are computed from hidden states, and enough of them."""
    from graphs.weights import generators

    for mix in topology.mixes:
        needed = 1 + max((place for rule in generators(mix.weight) for place in rule.keys), default=-1)
        if needed > len(mix.keys):
            yield f"{_label(mix)} computes its weights from {needed} keys, but lists {len(mix.keys)}"
        if mix.keys and not needed:
            yield f"{_label(mix)} lists keys, but its weights are not computed from any"


def normed(topology: "Topology") -> Iterator[str]:
    """A mix with a norm has one output."""
    for mix in topology.mixes:
        if mix.norm is not None and len(mix.writes) != 1:
            yield f"{_label(mix)} has a norm and {len(mix.writes)} outputs; give each output a mix of its own"


def finite_hints(topology: "Topology") -> Iterator[str]:
    """A block's hints have names, each once, and finite numbers."""
    from graphs.weights.numbers import finite

    for block in topology.blocks:
        names = [name for name, _ in block.hints]
        if len(set(names)) < len(names):
            yield f"{_label(block)} has the hint {next(n for n in names if names.count(n) > 1)!r} twice"
        for name, value in block.hints:
            if not isinstance(name, str) or isinstance(value, bool) or not isinstance(value, int | float | Fraction):
                yield f"{_label(block)} has the hint {name!r}: {value!r}; a name and a number were expected"
            elif not finite(value):
                yield f"{_label(block)} has the hint {name}: {value!r}; a finite number was expected"


def plain_names(topology: "Topology") -> Iterator[str]:
    """Names are printable text without spaces at their ends."""
    from graphs.topology import Block

    values = [topology.stem, *(value for op in topology.ops for value in op.outputs)]
    blocks = [text for op in topology.ops if isinstance(op, Block) for text in (op.name, *op.ports)]
    for text in (topology.family, *values, *blocks):
        if not text.isprintable() or text.strip() != text or not text:
            yield f"the name {text!r} is empty, has spaces at its ends or characters that cannot be printed; rename it"


def tied_parameters(topology: "Topology") -> Iterator[str]:
    """Rules that share a name are one: the same initial value, mask, group and grain; a norm's name is its own."""
    from graphs.weights import Bernoulli, Generated, Parameter, walk

    first: dict[str, object] = {}
    for mix in topology.mixes:
        named = [rule for rule in walk(mix.weight) if isinstance(rule, Parameter | Generated | Bernoulli)]
        for rule in (*named, *([mix.norm] if mix.norm is not None else [])):
            other = first.setdefault(rule.name, rule)
            if other is not rule and other != rule:
                yield f"two different parameters are called {rule.name!r}; tie equal ones or rename one"


def acyclic(topology: "Topology") -> Iterator[str]:
    """No value depends on itself."""
    try:
        TopologicalSorter({value: op.uses for value, op in topology.producers.items()}).prepare()
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
    keyed,
    normed,
    finite_hints,
    plain_names,
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
