"""Whether a compiled family is what its paper says: the paper's own forward pass over the same numbers, in fp64."""

from collections.abc import Callable, Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

import graphs
from graphs import Topology
from graphs.cost import wiring_sizes

# paper(blocks, weights by their names in the model, x0) -> output
Paper = Callable[[list[nn.Module], Mapping[str, Tensor], Tensor], Tensor]

EPS = 1e-6


class Smooth(nn.Module):
    """A block with one input per port."""

    def __init__(self, dim: int, ports: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(dim, dim) for _ in range(ports))

    def forward(self, *inputs: Tensor) -> Tensor:
        pairs = zip(inputs, self.maps, strict=True)
        return torch.tanh(torch.stack([(i + 1) * layer(u) for i, (u, layer) in enumerate(pairs)]).sum(0))


def compiled(topology: Topology, dim: int, *, noise: float = 0.5, seed: int = 0) -> graphs.CompiledModel:
    """The model in fp64 with its weights moved away from their start by normal noise."""
    torch.manual_seed(seed)
    ports = {block.number: len(block.ports) for block in topology.blocks}
    blocks = [Smooth(dim, ports[number]).double() for number in range(1, topology.depth + 1)]
    torch.set_default_dtype(torch.float64)  # what is fixed is then exact too, as it is not after .double()
    try:
        model = graphs.compile(topology, blocks, dim=dim)
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        for weight in model.weights.parameters():
            weight += noise * torch.randn_like(weight)
    return model


def assert_is_the_paper(
    topology: Topology, paper: Paper, *, dim: int = 8, seed: int = 0, idle: tuple[str, ...] = ()
) -> None:
    """Outputs and the gradients of the input, the blocks and every weight.

    Weights whose names start with one of ``idle`` have none, up to rounding; all others have one.
    """
    model = compiled(topology, dim, seed=seed)
    x0 = torch.randn(2, 3, dim, dtype=torch.float64, requires_grad=True)
    probe = torch.randn_like(x0)
    out = model(x0)
    learned = dict(model.weights.named_parameters())
    got = torch.autograd.grad((out * probe).sum(), [x0, *model.blocks.parameters(), *learned.values()])

    blocks = deepcopy(model.blocks)
    weights = {name: weight.detach().clone().requires_grad_() for name, weight in learned.items()}
    other = x0.detach().clone().requires_grad_()
    expected_out = paper(list(blocks), weights, other)
    wanted = [other, *blocks.parameters(), *weights.values()]
    expected = torch.autograd.grad((expected_out * probe).sum(), wanted)

    torch.testing.assert_close(out, expected_out, rtol=1e-10, atol=1e-10)
    names = ["x0", *(name for name, _ in blocks.named_parameters()), *learned]
    largest = max(gradient.abs().max().item() for gradient in expected)
    for name, one, two in zip(names, got, expected, strict=True):
        none = name.startswith(idle) if idle else False
        assert (two.abs().max().item() < 1e-12 * largest) is none, name
        scale = largest if none else two.abs().max().item()
        torch.testing.assert_close(
            one, two, rtol=1e-10, atol=1e-10 * scale, msg=lambda text, name=name: f"{name}: {text}"
        )


def sizes(topology: Topology, dim: int) -> int:
    """The number of learned scalars, as counted and as the compiled model has it."""
    counted = wiring_sizes(graphs.lower(topology), dim)
    model = graphs.compile(topology, [nn.Identity()] * topology.depth, dim=dim)
    held = sum(weight.numel() for weight in model.weights.parameters())
    assert held == sum(counted.values())
    return held


def layer_norm(x: Tensor) -> Tensor:
    """Over the last axis, without gain and bias."""
    return (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, unbiased=False, keepdim=True) + EPS)


def rms_norm(x: Tensor) -> Tensor:
    """Over the last axis, without gain."""
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + EPS)
