"""What a plan costs, by counting: parameters, FLOPs with the wiring, tensor traffic, live values. No torch."""

import functools
import operator
from dataclasses import dataclass

from graphs.errors import TopologyError
from graphs.form import Form
from graphs.plan import Plan, peak_of, sketch
from graphs.topology import Mix, Topology
from graphs.traffic import counts
from graphs.weights import Constant, Generated, Parameter, generators, walk

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

    ``block_flops`` is everything but the wiring: the blocks that run, stem and head. ``peak_live`` is the most
    hidden states alive at once in inference, ``kept`` how many the wiring's backward pass needs in training (what
    blocks keep is their own business).
    """

    flops: float
    block_flops: float
    wiring_flops: float
    parameters: int
    wiring_parameters: int
    forward_traffic: int
    backward_traffic: int
    peak_live: int
    kept: int

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
    return _price(plan.topology, costs)


def _price(lowered: Topology, costs: ModelCost) -> Cost:
    depth = lowered.depth
    if len(costs.blocks) != depth:
        raise TopologyError(f"the topology has {depth} blocks, but costs of {len(costs.blocks)} were given")
    block_flops = costs.fixed.flops + sum(costs.blocks[block.number - 1].flops for block in lowered.blocks)
    wiring_flops = sum(mix_flops(mix, costs.dim) for mix in lowered.mixes) * costs.tokens
    moved = counts(lowered)
    wiring_parameters = sum(wiring_sizes(lowered, costs.dim).values())
    return Cost(
        flops=block_flops + wiring_flops,
        block_flops=block_flops,
        wiring_flops=wiring_flops,
        parameters=costs.fixed.parameters + sum(cost.parameters for cost in costs.blocks) + wiring_parameters,
        wiring_parameters=wiring_parameters,
        forward_traffic=sum(len(mix.uses) + len(mix.writes) for mix in lowered.mixes),
        backward_traffic=moved.backward,
        peak_live=peak_of(lowered),
        kept=moved.kept,
    )


def cost_of(topology: Topology, costs: ModelCost) -> Cost:
    """:func:`price` of the topology's plan, which those that differ in temperatures alone share."""
    if all(mix.fixed for mix in topology.mixes):  # hardly ever asked for twice, and cheap to plan
        return _price(sketch(topology), costs)
    return _cost_of(topology.form, costs)


@functools.lru_cache(maxsize=256)
def _cost_of(form: Form, costs: ModelCost) -> Cost:
    return _price(sketch(form.topology), costs)


def wiring_sizes(plan: Plan | Topology, dim: int) -> dict[str, int]:
    """Learned scalars by parameter name, for hidden states of ``dim`` channels; a tied one counts once."""
    sizes = {}
    for mix in plan.mixes:
        for rule in () if isinstance(mix.weight, Constant) else walk(mix.weight):
            if isinstance(rule, Parameter | Generated):
                sizes[rule.name] = rule.size(dim)
        if mix.norm is not None:
            sizes[mix.norm.name] = mix.norm.size(dim)
    return sizes


def mix_flops(mix: Mix, dim: int) -> int:
    """FLOPs per token.

    An edge whose weight must be multiplied costs 2 (multiply and add) per channel, an edge of weight one costs an
    add, and the first unit edge of a row starts its sum for nothing: a residual add is d, an average of k is 2kd,
    static hyper-connections are 2 n (n + 2) d a block (less in block 1, whose streams are copies of one value). An
    edge that mixes p parts of the channels costs p times that. Weights computed per token cost the maps that
    compute them. Norms and activation functions are left out, as they are in blocks, and so is what is computed
    once for all tokens.
    """
    total = 0
    for row, unit in zip(mix.weight.support(), mix.weight.units(), strict=True):
        plain = sum(map(operator.and_, row, unit))
        total += mix.weight.grain.flops(dim) * (sum(row) - plain) + dim * max(plain - 1, 0)
    return total + (sum(rule.flops(dim) for rule in generators(mix.weight)) if mix.weight.per_token else 0)
