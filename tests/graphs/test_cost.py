import pytest
import torch
from graph_samples import FAMILIES, sample
from torch import nn

import graphs
from graphs import Block, BlockCost, Constant, Cost, Mix, ModelCost, Parameter, Topology, TopologyError, families, lower
from graphs.cost import mix_flops, price, wiring_sizes
from graphs.passes import fold, prune
from graphs.plan import Plan, steps_of
from graphs.topology import Norm
from graphs.traffic import counts
from graphs.weights import CHANNEL, MATRIX, Bernoulli, Generated, Grain, Product, Sigmoid, Softmax, Sum, ones

TOKENS, DIM = 7, 5


def as_written(topology) -> Plan:
    """The plan of the published form: what the passes that look for less traffic would make of it is left out."""
    plain = topology
    for run in (prune, fold, prune):
        plain = run(plain)
    return Plan(plain, steps_of(plain), topology)


def _price(topology) -> Cost:
    return price(as_written(topology), ModelCost(TOKENS, DIM, (BlockCost(0, 0),) * topology.depth))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_compiled_plan_never_moves_more(name):
    topology = FAMILIES[name]()
    costs = ModelCost(TOKENS, 12, (BlockCost(0, 0),) * topology.depth)
    written, compiled = price(as_written(topology), costs), price(lower(topology), costs)
    assert compiled.traffic <= written.traffic
    assert compiled.wiring_parameters <= written.wiring_parameters


def test_compiled_seams_of_hyper_connections():
    """Beyond a few blocks n streams are kept, and each seam reads n + 1 hidden states and writes n + 1."""
    shallow, deep = (lower(families.hyper(depth, streams=2)) for depth in (24, 25))
    forward = [sum(step.reads + step.writes for step in plan.steps) for plan in (shallow, deep)]
    assert forward[1] - forward[0] == (2 + 1) + (2 + 1)


def _per_element(topology):
    flops = _price(topology).wiring_flops / (TOKENS * DIM)
    assert flops == int(flops)
    return int(flops)


@pytest.mark.parametrize("depth", [1, 2, 9])
def test_residual(depth):
    cost = _price(families.residual(depth))
    assert cost.wiring_flops == depth * TOKENS * DIM, "one add per element and block"
    assert (cost.forward_traffic, cost.backward_traffic) == (3 * depth, 3 * depth), "read x, read f, write x"
    assert cost.traffic == 6 * depth
    assert cost.peak_live == 3
    assert cost.wiring_parameters == 0


@pytest.mark.parametrize("depth", [1, 2, 9])
def test_to_output(depth):
    cost = _price(families.to_output(depth))
    assert _per_element(families.to_output(depth)) == depth, "L adds for L + 1 values"
    assert cost.forward_traffic == depth + 2
    assert cost.backward_traffic == 3 * depth, "all but the last have two readers: two gradients read, one written"
    assert cost.peak_live == depth + 2


@pytest.mark.parametrize("depth", [1, 2, 6])
def test_dense_without_inner_residual(depth):
    """An average of k sources is 2 k FLOPs, k reads and a write; backward reads a gradient per edge and the source."""
    topology = families.dense(depth, inner=False)
    edges = depth * (depth + 3) // 2
    assert _per_element(topology) == 2 * edges
    cost = _price(topology)
    assert cost.wiring_parameters == edges
    assert cost.forward_traffic == edges + depth
    # Sources x_0..x_L: one gradient per average that reads them, the source itself, one write; the stem also feeds
    # block 1. An average h_i has one reader of weight one, the next block: its gradient is that one's.
    assert cost.backward_traffic == edges + 2 * (depth + 1) + 1


@pytest.mark.parametrize("depth", [1, 2, 6])
def test_dense_with_inner_residual(depth):
    topology = families.dense(depth)
    edges = depth * (depth + 3) // 2
    assert _per_element(topology) == 2 * edges + depth
    cost = _price(topology)
    assert cost.forward_traffic == (edges + depth) + 3 * depth
    # The stem feeds block 1 and the add of x_1 too; each h_i but the output feeds a block and an add.
    assert cost.backward_traffic == edges + 2 * (depth + 1) + 2 + 3 * (depth - 1)


@pytest.mark.parametrize(("depth", "n"), [(1, 2), (3, 2), (4, 4), (2, 5)])
def test_hyper(depth, n):
    """2 n (n + 2) FLOPs a block, but the first width connection reads one stem instead of n copies."""
    topology = families.hyper(depth, streams=n)
    copies = 2 * (n + 1) * (n - 1)
    assert _per_element(topology) == depth * 2 * n * (n + 2) - copies + (n - 1)
    cost = _price(topology)
    assert cost.wiring_parameters == depth * n * (n + 2)
    width, write, collapse = n + (n + 1), (n + 1) + n, n + 1
    assert cost.forward_traffic == depth * (width + write) - (n - 1) + collapse
    # A width connection reads its n + 1 output gradients and its n streams once and writes n gradients; the first has
    # one source, the stem. A block's output feeds n learned writes: their gradients, itself, one write.
    assert cost.backward_traffic == (n + 1 + 2) + depth * (n + 2) + (depth - 1) * (3 * n + 1)
    assert cost.peak_live == 2 * n + 1


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_ancre(depth):
    topology = families.ancre(depth)
    # Site k: k gates to multiply, the block's output for nothing. The first has the weight 2 on the stem.
    assert _per_element(topology) == 2 * (depth * (depth + 1) // 2)
    assert _price(topology).forward_traffic == sum(k + 2 for k in range(1, depth + 1))
    grouped = families.ancre(4, period=2)
    # Inner add 1, site 1: [1 1 2], site 2: one add inside, [1 1 | 2 gates].
    assert _per_element(grouped) == 1 + (2 + 1) + 1 + (1 + 4)


def test_mix_flops_by_hand():
    def flops(weight):
        return mix_flops(Mix(tuple("abcdef"[: weight.shape[1]]), tuple("uvwxyz"[: weight.shape[0]]), weight), 1)

    learned = Parameter("p", ((0, 0, 0),))
    assert flops(ones(1, 2)) == 1
    assert flops(ones(1, 1)) == 0
    assert flops(ones(3, 4)) == 9
    assert flops(Constant(((1, -1, 1),))) == 2
    assert flops(Constant(((2, 0.5, 1),))) == 4
    assert flops(Constant(((2, 0, 0),))) == 2
    assert flops(Constant(((0, 0),))) == 0
    assert flops(learned) == 6
    assert flops(Parameter("p", ((0, 1, 2, 0),), ((True, False, False, False),))) == 2 + 0 + 2
    assert flops(Softmax(learned)) == 6
    assert (
        flops(
            Sum((Constant(((1, 1, 0),)), Product(Softmax(Parameter("q", ((0, 0),))), Constant(((0, 1, 0), (0, 0, 1))))))
        )
        == 4
    )
    assert flops(Product(Parameter("q", ((1, 2),)), Constant(((1, 0, 0), (0, 0, 1))))) == 4


def test_finer_weights_by_hand():
    """d = 12 channels: a factor per channel or part costs what a scalar costs, a matrix d times, p parts p times."""

    def flops(weight, keys=(), norm=None):
        reads, writes = tuple("abcdef"[: weight.shape[1]]), tuple("uvwxyz"[: weight.shape[0]])
        return mix_flops(Mix(reads, writes, weight, keys, norm), 12)

    gain = Parameter("g", ((1, 0.1),), ((False, True),), grain=CHANNEL)
    assert flops(gain) == 2 * 12, "the stream is added for nothing, each channel of the branch is multiplied and added"
    assert flops(Parameter("m", ((1, 1, 1),), grain=MATRIX)) == 3 * 2 * 12 * 12
    assert flops(Parameter("f", ((1,),), grain=Grain(4, full=True))) == 2 * 12 * 4
    assert flops(Parameter("f", ((1,),), grain=Grain(4))) == 2 * 12
    keys = ("a", "b", "c")
    each = Generated("e", (2, 3), (0, 1, 2), each=True)
    assert flops(each, keys) == 6 * 2 * 12 + 3 * (2 * 12 * 2), "six edges, and two dot products of each key"
    together = Generated("t", (2, 3), (0, 1, 2))
    assert flops(together, keys) == 6 * 2 * 12 + 2 * 36 * 6
    hidden = Generated("h", (2, 3), (0, 1, 2), hidden=5)
    assert flops(hidden, keys) == 6 * 2 * 12 + 2 * 36 * 5 + 2 * 5 * 6
    gate = Sigmoid(Generated("c", (1, 1), (0,), grain=CHANNEL))
    assert flops(gate, ("a",)) == 2 * 12 + 2 * 12 * 12
    parts = Generated("p", (1, 1), (0,), each=True, grain=Grain(4, full=True))
    assert flops(parts, ("a",)) == 2 * 12 * 4 + 4 * (2 * 3 * 4), "four parts of three channels, four maps each"
    assert flops(ones(1, 3), norm=Norm("n")) == 2 * 12, "norms are left out, as in blocks"
    assert flops(Bernoulli("b", ((1, 0.5),))) == 2 * 12


def test_traffic_of_keys_and_norms():
    """Weights computed from hidden states read them once more, forward and backward, and keep them."""
    weight = Generated("g", (1, 2), (0,), each=False)
    topology = Topology(
        (Block(1, ("x0",), "y1"), Mix(("x0", "y1"), ("o",), Sum((ones(1, 2), weight)), ("x0",), Norm("n"))), "o", 1
    )
    cost = _price(topology)
    assert cost.forward_traffic == 3 + 1, "two sources and a key read, one output written; the norm rides along"
    x0 = 1 + 1 + 1 + 1 + 1  # the block, the edge and the key; itself; one write
    y1 = 1 + 1 + 1
    assert cost.backward_traffic == x0 + y1 + 2, "the norm reads its input and writes its gradient"
    assert cost.kept == 2 + 1, "x0 and y1 for the weights, what is normalised for the norm"
    assert _price(families.residual(5)).kept == 0
    assert _price(families.hyper(30, streams=2)).kept > 0


def test_backward_traffic_by_hand():
    """x0 feeds a learned and a unit edge, y1 one scaled edge, y2 one unit edge."""
    topology = Topology(
        (
            Block(1, ("x0",), "y1"),
            Block(2, ("y1",), "y2"),
            Mix(("x0", "y2"), ("h",), Parameter("p", ((1, 1),), ((True, False),))),
            Block(3, ("h",), "y3"),
            Mix(("y1", "y3"), ("o",), Constant(((2, 1),))),
        ),
        "o",
        3,
    )
    x0, y1, y2, h, y3 = 2 + 1 + 1, 2 + 1, 0, 0, 0
    assert counts(lower(topology).topology).backward == x0 + y1 + y2 + h + y3
    assert _price(topology).forward_traffic == 6


class _Block(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.up, self.down = nn.Linear(dim, hidden), nn.Linear(hidden, dim, bias=False)

    def forward(self, *inputs):
        return self.down(torch.relu(self.up(sum(inputs))))


@pytest.mark.parametrize(
    "topology",
    [*(pytest.param(build(), id=name) for name, build in FAMILIES.items()), *(sample(seed) for seed in range(15))],
)
def test_parameters_are_those_of_the_compiled_model(topology):
    blocks = [_Block(4, 3 + number) for number in range(topology.depth)]
    costs = tuple(BlockCost(10.0 * n, sum(p.numel() for p in block.parameters())) for n, block in enumerate(blocks))
    model = graphs.compile(topology, blocks, dim=4)
    plan = lower(topology)
    cost = price(plan, ModelCost(3, 4, costs))
    assert cost.parameters == sum(p.numel() for p in model.parameters())
    assert cost.wiring_parameters == sum(p.numel() for p in model.weights.parameters())
    assert sum(wiring_sizes(plan, 4).values()) == cost.wiring_parameters


def test_blocks_and_the_rest():
    """A pruned block keeps its parameters and does not run; stem and head count in full."""
    topology = Topology((Block(1, ("x0",), "a"), Block(2, ("x0",), "b"), Mix(("x0", "b"), ("o",), ones(1, 2))), "o", 3)
    costs = ModelCost(7, 5, (BlockCost(1000, 1), BlockCost(200, 20), BlockCost(30, 300)), BlockCost(4, 4000))
    cost = price(lower(topology), costs)
    assert cost.block_flops == 200 + 4
    assert cost.wiring_flops == 35
    assert cost.flops == 239
    assert cost.training_flops == 3 * 239
    assert (cost.parameters, cost.wiring_parameters) == (4321, 0)


def test_a_tied_parameter_counts_once():
    p = Parameter("p", ((1, 1),))
    topology = Topology(
        (
            Block(1, ("x0",), "y1"),
            Mix(("x0", "y1"), ("h",), p),
            Block(2, ("h",), "y2"),
            Mix(("h", "y2"), ("o",), p),
        ),
        "o",
        2,
    )
    assert wiring_sizes(lower(topology), 1) == {"p": 2}
    assert _price(topology).wiring_parameters == 2


def test_a_wrong_number_of_blocks():
    with pytest.raises(TopologyError, match="the topology has 3 blocks, but costs of 2 were given"):
        price(lower(families.residual(3)), ModelCost(1, 1, (BlockCost(0, 0),) * 2))
