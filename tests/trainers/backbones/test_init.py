import re

import pytest
import torch
from torch import nn

from trainers import backbones
from trainers.errors import TrainerError


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    with pytest.raises(TrainerError, match=re.escape("did you mean 'mixer'?")):
        backbones.build("mixers", depth=1, classes=2, image=(8, 8), channels=1, dim=4, patch=4)


def test_an_unknown_option_is_refused_with_the_nearest() -> None:
    with pytest.raises(TrainerError, match=re.escape("unknown option of backbone 'mixer' 'pach'")):
        backbones.build("mixer", depth=1, classes=2, image=(8, 8), channels=1, dim=4, pach=4)


def test_an_unknown_hint_is_refused_with_the_nearest() -> None:
    sizes = {"depth": 2, "classes": 2, "image": (8, 8), "channels": 1, "dim": 4, "patch": 4}
    with pytest.raises(TrainerError, match=re.escape("unknown hint of block 2 'lr_scal'")):
        backbones.build("mixer", **sizes, hints={2: {"lr_scal": 0.5}})
    with pytest.raises(TrainerError, match="blocks are numbered 1 to 2"):
        backbones.build("mixer", **sizes, hints={3: {"lr_scale": 0.5}})


def test_rates_are_attributes_of_the_matrices_of_their_block_alone() -> None:
    hints = {2: {"lr_scale": 0.5}, 3: {"lr_scale": 0.25, "eps_scale": 2.0}}
    backbone = backbones.build("mixer", depth=4, classes=2, image=(8, 8), channels=1, dim=4, patch=4, hints=hints)
    model = nn.ModuleList([backbone.stem, *backbone.blocks, backbone.head]).double()  # a conversion keeps them
    marked = {name: vars(parameter) for name, parameter in model.named_parameters() if vars(parameter)}
    assert marked == {
        "2.expand.weight": {"lr_scale": 0.5},
        "2.reduce.weight": {"lr_scale": 0.5},
        "3.expand.weight": {"lr_scale": 0.25, "eps_scale": 2.0},
        "3.reduce.weight": {"lr_scale": 0.25, "eps_scale": 2.0},
    }
    assert all(parameter.dtype == torch.float64 for parameter in model.parameters())
