"""The normalisation at a block's input, as its hints want it."""

import torch
from torch import nn

from trainers.hints import BlockHints


class ScaledLayerNorm(nn.LayerNorm):
    """s LN(u), (b, t, d) -> (b, t, d), for a fixed number s."""

    def __init__(self, dim: int, scale: float) -> None:
        super().__init__(dim)
        self.scale = scale

    def forward(self, u_btd: torch.Tensor) -> torch.Tensor:
        return self.scale * super().forward(u_btd)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, scale={self.scale}"


def norm(dim: int, hints: BlockHints) -> nn.Module:
    """N of a block: LN, s LN, or nothing; s is the hint `norm_scale`, and `pre_norm` says whether there is one."""
    if not hints.pre_norm:
        return nn.Identity()
    return nn.LayerNorm(dim) if hints.norm_scale == 1.0 else ScaledLayerNorm(dim, hints.norm_scale)
