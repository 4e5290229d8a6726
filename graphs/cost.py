"""What a plan costs, by counting: parameters, FLOPs with the wiring, tensor traffic, live values. No torch."""

from collections import defaultdict
from dataclasses import dataclass

from graphs.errors import TopologyError
from graphs.order import schedule
from graphs.plan import Plan
from graphs.topology import Block, Mix
from graphs.weights import Constant, Parameter, Product, Softmax, Sum, Weight, parameters, support

# One forward and a backward of twice its size: the usual count of a training step.
TRAINING_FACTOR = 3


@dataclass(frozen=True, slots=True)
class BlockCost:
    """Forward FLOPs of one sample (2 per multiply-add) and parameters of one block."""

    flops: float
    parameters: int


@dataclass(frozen=True, slots=True)
class ModelCost:
    """What the wiring joins: ``tokens`` hidden vectors of ``dim`` channels a sample, the blocks, and the rest.

    ``blocks[l - 1]`` is block l; ``fixed`` is stem and head together.
    """

    tokens: int
    dim: int
    blocks: tuple[BlockCost, ...]
    fixed: BlockCost = BlockCost(0, 0)


@dataclass(frozen=True, slots=True)
class Cost:
    """Counted costs. FLOPs are of one sample's forward pass; traffic is in Td, one pass over one hidden state.

    ``block_flops`` is everything but the wiring: the blocks that run, stem and head.
    """

    flops: float
    block_flops: float
    wiring_flops: float
    parameters: int
    wiring_parameters: int
    forward_traffic: int
    backward_traffic: int
    peak_live: int

    @property
    def training_flops(self) -> float:
        """FLOPs of one sample's training step, forward and backward."""
        return TRAINING_FACTOR * self.flops

    @property
    def traffic(self) -> int:
        """Hidden states the wiring reads and writes in a forward and a backward pass, in Td."""
        return self.forward_traffic + self.backward_traffic


def price(plan: Plan, costs: ModelCost) -> Cost:
    """Count what ``plan`` costs with blocks of the given costs; pruned blocks keep parameters but do not run."""
    depth = plan.topology.depth
    if len(costs.blocks) != depth:
        raise TopologyError(f"the topology has {depth} blocks, but costs of {len(costs.blocks)} were given")
    runs = [block.number for block in plan.topology.blocks]
    block_flops = costs.fixed.flops + sum(costs.blocks[number - 1].flops for number in runs)
    wiring_flops = sum(map(mix_flops, plan.mixes)) * costs.tokens * costs.dim
    wiring_parameters = sum(wiring_sizes(plan).values())
    return Cost(
        flops=block_flops + wiring_flops,
        block_flops=block_flops,
        wiring_flops=wiring_flops,
        parameters=costs.fixed.parameters + sum(cost.parameters for cost in costs.blocks) + wiring_parameters,
        wiring_parameters=wiring_parameters,
        forward_traffic=sum(step.reads + step.writes for step in plan.steps),
        backward_traffic=backward_traffic(plan),
        peak_live=plan.peak,
    )


def wiring_sizes(plan: Plan) -> dict[str, int]:
    """Learned scalars by parameter name; a tied one counts once."""
    return {parameter.name: parameter.size for mix in plan.mixes for parameter in parameters(mix.weight)}


def mix_flops(mix: Mix) -> int:
    """FLOPs per element of one hidden state.

    An edge whose weight must be multiplied costs 2 (multiply and add), an edge of weight one costs an add, and
    the first unit edge of a row starts its sum for nothing: a residual add is 1, an average of k is 2k, static
    hyper-connections are 2 n (n + 2) a block (less in block 1, whose streams are copies of one value).
    """
    total = 0
    unit = _units(mix.weight)
    for i, row in enumerate(support(mix.weight)):
        plain = sum(1 for j, on in enumerate(row) if on and unit[i][j])
        total += 2 * (sum(row) - plain) + max(plain - 1, 0)
    return total


def _units(weight: Weight) -> tuple[tuple[bool, ...], ...]:
    """Which entries are fixed at one (or minus one), so that no multiplication is needed."""
    m, k = weight.shape
    match weight:
        case Constant(entries=entries):
            return tuple(tuple(abs(entry) == 1 for entry in row) for row in entries)
        case Parameter(initial=initial):
            return tuple(tuple(not weight.trains(i, j) and abs(initial[i][j]) == 1 for j in range(k)) for i in range(m))
        case Sum(terms=terms):
            on = [support(term) for term in terms]
            unit = [_units(term) for term in terms]
            return tuple(
                tuple(sum(part[i][j] for part in on) == 1 and any(part[i][j] for part in unit) for j in range(k))
                for i in range(m)
            )
        case Softmax() | Product():
            return ((False,) * k,) * m


def backward_traffic(plan: Plan) -> int:
    """Td of the wiring's backward pass, gathered: each source reads its consumers' gradients once.

    A value with several readers costs one read per reader and one write; with a single reader through a weight
    fixed at one its gradient is the reader's own, and costs nothing. Where the weights are learned the value is
    read once more.
    """
    readers: dict[str, int] = defaultdict(int)
    learned: set[str] = set()
    scaled: set[str] = set()
    for op in schedule(plan.topology):
        if isinstance(op, Block):
            for value in op.reads:
                readers[value] += 1
            continue
        on, unit = support(op.weight), _units(op.weight)
        has_parameters = any(True for _ in parameters(op.weight))
        for j, value in enumerate(op.reads):
            edges = [i for i in range(len(op.writes)) if on[i][j]]
            readers[value] += len(edges)
            if any(not unit[i][j] for i in edges):
                scaled.add(value)
            if has_parameters and any(not unit[i][j] for i in edges):
                learned.add(value)
    total = 0
    for value, count in readers.items():
        if count > 1 or value in scaled:
            total += count + 1 + int(value in learned)
    return total
