"""MLP-Mixer (Tolstikhin et al., 2021) whose blocks are single sub-layers without a skip.

Axes: b batch, t tokens, d channels of a token (`dim`), h hidden, c image channels, p patch side.
"""

import torch
from torch import nn

from trainers.backbones.backbone import Backbone
from trainers.backbones.norm import norm
from trainers.hints import PLAIN, BlockHints
from trainers.shapes import MixerShape, patch_height


class Stem(nn.Module):
    """Images (b, c, height, width) -> tokens (b, t, d), one per p x p patch in reading order."""

    def __init__(self, shape: MixerShape) -> None:
        super().__init__()
        self.patch = patch_height(shape.image, shape.patch), shape.patch
        self.embed = nn.Linear(shape.patch_values, shape.dim)

    def forward(self, image_bchw: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.embed(patches(image_bchw, *self.patch))
        return tokens


def patches(image_bchw: torch.Tensor, tall: int, wide: int) -> torch.Tensor:
    """The pixels of each patch, (b, t, c * tall * wide), patches in reading order."""
    batch, channels, height, width = image_bchw.shape
    rows, columns = height // tall, width // wide
    grid = image_bchw.reshape(batch, channels, rows, tall, columns, wide)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, channels * tall * wide)


class TokenMixing(nn.Module):
    """y = MLP over tokens of N(u), (b, t, d) -> (b, t, d); N is LN unless hints say otherwise."""

    def __init__(self, shape: MixerShape, hints: BlockHints = PLAIN) -> None:
        super().__init__()
        self.norm = norm(shape.dim, hints)
        self.expand = nn.Linear(shape.tokens, shape.token_width)
        self.reduce = nn.Linear(shape.token_width, shape.tokens)

    def forward(self, u_btd: torch.Tensor) -> torch.Tensor:
        u_bdt = self.norm(u_btd).transpose(1, 2)
        y_bdt: torch.Tensor = self.reduce(nn.functional.gelu(self.expand(u_bdt)))
        return y_bdt.transpose(1, 2)


class ChannelMixing(nn.Module):
    """y = MLP over channels of N(u), (b, t, d) -> (b, t, d); N is LN unless hints say otherwise."""

    def __init__(self, shape: MixerShape, hints: BlockHints = PLAIN) -> None:
        super().__init__()
        self.norm = norm(shape.dim, hints)
        self.expand = nn.Linear(shape.dim, shape.channel_width)
        self.reduce = nn.Linear(shape.channel_width, shape.dim)

    def forward(self, u_btd: torch.Tensor) -> torch.Tensor:
        y_btd: torch.Tensor = self.reduce(nn.functional.gelu(self.expand(self.norm(u_btd))))
        return y_btd


class Head(nn.Module):
    """LayerNorm, mean over tokens, linear: (b, t, d) -> logits (b, classes)."""

    def __init__(self, shape: MixerShape) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(shape.dim)
        self.classify = nn.Linear(shape.dim, shape.classes)

    def forward(self, output_btd: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classify(self.norm(output_btd).mean(dim=1))
        return logits


def mixer(shape: MixerShape, hints: tuple[BlockHints, ...]) -> Backbone:
    """The parts of a mixer: odd blocks mix tokens, even blocks mix channels; `hints` has one entry per block."""
    numbers = range(1, shape.depth + 1)
    return Backbone(
        stem=Stem(shape),
        blocks=tuple(
            TokenMixing(shape, hint) if number % 2 else ChannelMixing(shape, hint)
            for number, hint in zip(numbers, hints, strict=True)
        ),
        head=Head(shape),
        names=tuple(f"block{number}" for number in numbers),
        hints=hints,
    )
