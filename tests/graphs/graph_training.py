"""Short training runs of a topology's wiring in fp64, to tell programs that train alike from others."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

import graphs
from graphs import Topology

DIM = 4
RATE, DECAY = 0.2, 0.1


class Smooth(nn.Module):
    """A block of any number of inputs."""

    def __init__(self, ports: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(DIM, DIM) for _ in range(ports))

    def forward(self, *inputs: Tensor) -> Tensor:
        pairs = zip(inputs, self.maps, strict=True)
        return torch.tanh(torch.stack([(i + 1) * layer(u) for i, (u, layer) in enumerate(pairs)]).sum(0))


def losses(
    topology: Topology, steps: int = 3, *, training: bool = False, start: Mapping[str, Tensor] | None = None
) -> list[float]:
    """Losses before each of ``steps`` steps of SGD and after the last, with learning rates and decay by group.

    Blocks, data and random draws are the same for all topologies. ``start`` replaces first values of weights that
    the model has.
    """
    model = wired(topology)
    model.train(training)
    with torch.no_grad():
        for name, parameter in model.weights.named_parameters():
            if start is not None and name in start:
                parameter.copy_(start[name])
    groups = [{"params": list(model.blocks.parameters())}]
    for parameter in model.weights.parameters():
        decay = 0.0 if parameter.no_weight_decay else DECAY
        groups.append({"params": [parameter], "lr": RATE * parameter.lr_scale, "weight_decay": decay})
    optimiser = torch.optim.SGD(groups, lr=RATE)
    x, wanted = torch.randn(2, 5, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    result = []
    for step in range(steps + 1):
        torch.manual_seed(step)
        loss = (model(x) - wanted).square().log1p().mean()  # no gradient is large, whatever the wiring does
        result.append(loss.item())
        if step < steps and loss.requires_grad:
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return result


def wired(topology: Topology) -> graphs.CompiledModel:
    """The compiled model in fp64, with blocks that depend on their number alone."""
    ports = {block.number: len(block.ports) for block in topology.blocks}
    torch.set_default_dtype(torch.float64)
    try:
        blocks = []
        for number in range(1, topology.depth + 1):
            torch.manual_seed(number)
            blocks.append(Smooth(ports.get(number, 1)))
        return graphs.compile(topology, blocks, dim=DIM, generator=torch.Generator().manual_seed(0))
    finally:
        torch.set_default_dtype(torch.float32)
