"""What is legal: one function and one sentence per rule. Each yields the messages of what breaks it."""

from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from graphlib import CycleError, TopologicalSorter

from graphs.errors import TopologyError
from graphs.order import schedule
from graphs.topology import Block, Norm, Topology
from graphs.weights import Bernoulli, Generated, Parameter, generators, walk
from graphs.weights import Rule as WeightRule
from graphs.weights.numbers import finite

MAX_DEPTH = 10_000

Rule = Callable[[Topology], Iterator[str]]


def single_assignment(topology: Topology) -> Iterator[str]:
    """Every value is written once, and the stem by nobody."""
    seen = {topology.stem}
    for op in topology.ops:
        for value in op.outputs:
            if value in seen:
                yield f"value {value!r} is written twice; give each output a name of its own"
            seen.add(value)


def numbered_blocks(topology: Topology) -> Iterator[str]:
    """Block numbers are distinct and lie in 1..depth, and names are distinct."""
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
    for what, labels in (("number", numbers), ("name", names)):
        if len(set(labels)) == len(labels):
            continue
        for label, count in Counter(map(str, labels)).items():
            if count > 1:
                yield f"two blocks share the {what} {label}; give each its own"


def fed(topology: Topology) -> Iterator[str]:
    """Every operation reads at least one value, and every value read is written or is the stem."""
    known = {topology.stem, *topology.producers}
    for op in topology.ops:
        if not op.reads:
            yield f"{_label(op)} reads nothing; every block and mix needs a predecessor"
        for value in () if known.issuperset(op.uses) else op.uses:
            if value not in known:
                yield f"{_label(op)} reads {value!r}, which nobody writes"
    if topology.output not in known:
        yield f"the output {topology.output!r} is written by nobody"


def distinct_sources(topology: Topology) -> Iterator[str]:
    """The sources of one mix are distinct."""
    for mix in topology.mixes:
        if len(set(mix.reads)) < len(mix.reads):
            twice = sorted(value for value, count in Counter(mix.reads).items() if count > 1)
            yield f"{_label(mix)} reads {', '.join(twice)} twice; add the two weights instead"


def shapes(topology: Topology) -> Iterator[str]:
    """A mix of k values into m has a weight rule of shape (m, k); a block reads one value per port."""
    for mix in topology.mixes:
        weight: object = mix.weight
        if not isinstance(weight, WeightRule):
            yield f"{_label(mix)} has the weight {weight!r:.80}; a weight rule was expected, such as Constant"
        if mix.weight.shape != (len(mix.writes), len(mix.reads)):
            yield (
                f"{_label(mix)} has {len(mix.reads)} sources and {len(mix.writes)} outputs, "
                f"so its weight must have shape {(len(mix.writes), len(mix.reads))}, not {mix.weight.shape}"
            )
    for block in topology.blocks:
        if len(block.reads) != len(block.ports) or len(set(block.ports)) < len(block.ports):
            yield f"{_label(block)} has ports {list(block.ports)} and reads {list(block.reads)}; one value per port"


def keyed(topology: Topology) -> Iterator[str]:
    """A mix has keys exactly where its weights are computed from hidden states, and enough of them."""
    for mix in topology.mixes:
        if mix.fixed and not mix.keys:
            continue
        generated = generators(mix.weight) if mix.weight.per_token else ()
        needed = 1 + max((place for rule in generated for place in rule.keys), default=-1)
        if needed > len(mix.keys):
            yield f"{_label(mix)} computes its weights from {needed} keys, but lists {len(mix.keys)}"
        if mix.keys and not needed:
            yield f"{_label(mix)} lists keys, but its weights are not computed from any"


def normed(topology: Topology) -> Iterator[str]:
    """A mix with a norm has one output."""
    for mix in topology.mixes:
        norm: object = mix.norm
        if norm is not None and not isinstance(norm, Norm):
            yield f"{_label(mix)} has the norm {norm!r:.80}; a Norm or None was expected"
        if mix.norm is not None and len(mix.writes) != 1:
            yield f"{_label(mix)} has a norm and {len(mix.writes)} outputs; give each output a mix of its own"


def finite_hints(topology: Topology) -> Iterator[str]:
    """A block's hints have words for names, each once, and finite numbers."""
    for block in topology.blocks:
        if not block.hints:
            continue
        names = [name for name, _ in block.hints]
        for name, count in Counter(names).items():
            if count > 1:
                yield f"{_label(block)} has the hint {name!r} twice"
        for name, value in block.hints:
            word = isinstance(name, str) and name.isidentifier()
            if not word or isinstance(value, bool) or not isinstance(value, int | float | Fraction):
                yield f"{_label(block)} has the hint {name!r}: {value!r:.80}; a word and a number were expected"
            elif not finite(value):
                yield f"{_label(block)} has the hint {name}: {value!r:.80}; a finite number was expected"


def plain_names(topology: Topology) -> Iterator[str]:
    """Names are printable text without spaces at their ends."""
    values = [topology.stem, *(value for op in topology.ops for value in op.outputs)]
    blocks = dict.fromkeys(text for op in topology.ops if isinstance(op, Block) for text in (op.name, *op.ports))
    settings = [name for name, _ in topology.settings]
    for text in (topology.family, *values, *blocks, *settings):
        if isinstance(text, str) and text.isidentifier() and text.isascii():
            continue  # nearly all of them
        if not isinstance(text, str) or not text.isprintable() or text.strip() != text or not text:
            yield f"the name {text!r} is empty, has spaces at its ends or characters that cannot be printed; rename it"
    for name, setting in topology.settings:
        if isinstance(setting, str) and not setting.isprintable():
            yield f"the setting {name} is {setting!r}, which has characters that cannot be printed"


def tied_parameters(topology: Topology) -> Iterator[str]:
    """Rules that share a name are one: the same initial value, mask, group and grain; a norm's name is its own."""
    first: dict[str, object] = {}
    seen: set[int] = set()
    for mix in topology.mixes:
        if mix.fixed:
            continue
        named = [rule for rule in walk(mix.weight, seen) if isinstance(rule, Parameter | Generated | Bernoulli)]
        for rule in (*named, *([mix.norm] if mix.norm is not None else [])):
            other = first.setdefault(rule.name, rule)
            if other is not rule and other != rule:
                yield f"two different parameters are called {rule.name!r}; tie equal ones or rename one"


def acyclic(topology: Topology) -> Iterator[str]:
    """No value depends on itself."""
    written = {topology.stem}
    for op in schedule(topology):
        if not written.issuperset(op.uses):
            break
        written.update(op.outputs)
    else:
        return  # an order in which all can run: there is no cycle to look for
    try:
        TopologicalSorter({value: op.uses for value, op in topology.producers.items()}).prepare()
    except CycleError as error:
        yield f"a cycle: {' -> '.join(error.args[1])}; a topology has no loops"


def runnable_order(topology: Topology) -> Iterator[str]:
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


def verify(topology: Topology) -> None:
    """Raise TopologyError with the first broken rule's message."""
    for rule in RULES:
        for message in rule(topology):
            raise TopologyError(message)


def _label(op: object) -> str:
    number = getattr(op, "number", None)
    if number is not None:
        return f"block {number}"
    return f"the mix that writes {', '.join(op.writes) or 'nothing'}"  # type: ignore[attr-defined]
