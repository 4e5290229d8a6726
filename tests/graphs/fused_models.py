"""Topologies with a shared history, and one model compiled by the reference and fused, for comparison."""

import torch
from torch import nn

import graphs
from graphs import Block as Step
from graphs import Mix, Parameter, Topology, families
from graphs.topology import Norm

DIM = 4


def wide(depth):
    """Every block has two ports, fed by one mix of two outputs over the whole history."""
    ops, history = [], ["x0"]
    for i in range(1, depth + 1):
        ops.append(
            Mix(tuple(history), (f"u{i}", f"v{i}"), Parameter(f"w{i}", ((1,) * len(history), (2,) * len(history))))
        )
        ops.append(Step(i, (f"u{i}", f"v{i}"), f"y{i}", ("in", "memory")))
        history.append(f"y{i}")
    ops.append(Mix(tuple(history), ("out",), Parameter("last", ((1,) * len(history),))))
    return Topology(tuple(ops), "out", depth)


def grouped(depth, size):
    """A dense average by hand in groups: one mix of partial sums of what is older, then each adds what is late."""
    ops, history = [], ["x0"]
    for first in range(1, depth + 1, size):
        members = range(first, min(first + size, depth + 1))
        older = list(history)
        shape = ((1,) * len(older),) * len(members)
        ops.append(Mix(tuple(older), tuple(f"p{i}" for i in members), Parameter(f"old{first}", shape)))
        for i in members:
            late = history[len(older) :]
            value = f"p{i}"
            if late:
                initial, learned = ((1, *(1,) * len(late)),), ((False, *(True,) * len(late)),)
                ops.append(Mix((value, *late), (f"u{i}",), Parameter(f"late{i}", initial, learned)))
                value = f"u{i}"
            ops.append(Step(i, (value,), f"y{i}"))
            history.append(f"y{i}")
    ops.append(Mix(tuple(history), ("out",), Parameter("last", ((1,) * len(history),))))
    return Topology(tuple(ops), "out", depth)


def normed(depth):
    """Every mix of the history ends with a norm, the second block's with one that has a bias."""
    ops, history = [], ["x0"]
    for i in range(1, depth + 1):
        norm = Norm(f"norm{i}", "layer" if i == 2 else "rms")
        ops.append(Mix(tuple(history), (f"u{i}",), Parameter(f"w{i}", ((1,) * len(history),)), norm=norm))
        ops.append(Step(i, (f"u{i}",), f"y{i}"))
        history.append(f"y{i}")
    ops.append(Mix(tuple(history), ("out",), Parameter("last", ((1,) * len(history),)), norm=Norm("end")))
    return Topology(tuple(ops), "out", depth)


HISTORIES = {
    "normed": lambda: normed(6),
    "dense": lambda: families.dense(12, inner=False),
    "dense-inner": lambda: families.dense(20),
    "dilated": lambda: families.dense(24, inner=False, dilation=3),
    "ancre": lambda: families.ancre(19),
    "ancre-plain": lambda: families.ancre(9, inner=False, temperature=0.5),
    "wide": lambda: wide(7),
    "grouped": lambda: grouped(14, 4),
    "long": lambda: families.dense(26, inner=False),
}


class Block(nn.Module):
    """A small smooth block of any number of ports, whose behaviour a test may change."""

    def __init__(self, ports=1):
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(DIM, DIM) for _ in range(ports))
        self.seen = None
        self.change = None

    def forward(self, *inputs):
        self.seen = inputs[0]
        if self.change is not None:
            inputs = [self.change(inputs[0]), *inputs[1:]]
        return torch.tanh(sum((i + 1) * layer(u) for i, (layer, u) in enumerate(zip(self.maps, inputs, strict=True))))


def both(topology, dtype=torch.float64, seed=0):
    """The model by the reference and fused, on the same blocks, with the same weights away from their start."""
    torch.manual_seed(seed)
    ports = {block.number: len(block.ports) for block in topology.blocks}
    blocks = [Block(ports.get(n, 1)).to(dtype) for n in range(1, topology.depth + 1)]
    models = [graphs.compile(topology, blocks, dim=DIM, impl=impl).to(dtype).eval() for impl in ("reference", "fused")]
    with torch.no_grad():
        for parameter in models[0].weights.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    models[1].weights.load_state_dict(models[0].weights.state_dict())
    return models


def probe(dtype=torch.float64, seed=5, shape=(2, 3, DIM)):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def results(model, x=None, call=None, at=None):
    """The value and every gradient, after one backward pass, from the input of block ``at`` where given."""
    x = probe() if x is None else x
    model.zero_grad()
    out = (model if call is None else call)(x)
    if at is not None:
        out = model.blocks[at].seen
    loss = (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)).sum()
    loss.backward()
    leaves = [x, *model.parameters()]
    return [out.detach(), *(torch.zeros_like(leaf) if leaf.grad is None else leaf.grad.clone() for leaf in leaves)]


def assert_equal(got, expected, tolerance=1e-11):
    largest = max((two.abs().max().item() for two in expected if two.numel()), default=0.0)
    for one, two in zip(got, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=tolerance, atol=tolerance * max(largest, 1.0))
