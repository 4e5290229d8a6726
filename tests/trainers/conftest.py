"""Hand-wired models: the trainers know no topologies, so their tests join blocks with a loop."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from trainers import backbones, data
from trainers.hints import Hints


class Residual(nn.Module):
    """x = x + f(x) over the blocks of a backbone."""

    def __init__(self, backbone: backbones.Backbone) -> None:
        super().__init__()
        self.stem, self.blocks, self.head = backbone.stem, nn.ModuleList(backbone.blocks), backbone.head

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.stem(images)
        for block in self.blocks:
            x = x + block(x)
        logits: torch.Tensor = self.head(x)
        return logits


@pytest.fixture(scope="session")
def digits() -> data.Data:
    return data.load("digits")


@pytest.fixture
def residual() -> Callable[..., Residual]:
    def build(*, depth: int = 2, dim: int = 8, patch: int = 4, seed: int = 0, hints: Hints | None = None) -> Residual:
        sizes = {"depth": depth, "dim": dim, "patch": patch, "hints": hints}
        backbone = backbones.build("mixer", classes=10, image=(8, 8), channels=1, **sizes)
        backbone.initialise(seed)
        return Residual(backbone)

    return build
