"""A pre-norm transformer (Xiong et al., 2020, arXiv:2002.04745) whose blocks are single sub-layers without a skip.

Axes: b batch, t tokens, d channels of a token (`dim`), n heads, e channels of a head, c image channels.
"""

import torch
from torch import nn

from trainers.backbones.backbone import Backbone
from trainers.backbones.mixer import patches
from trainers.backbones.norm import norm
from trainers.catalogue import BYTES
from trainers.hints import PLAIN, BlockHints
from trainers.initial import UNSCALED
from trainers.shapes import TransformerShape, patch_height


class PatchStem(nn.Module):
    """Images (b, c, height, width) -> tokens (b, t, d): patches in reading order plus a learned place."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        assert shape.image is not None
        assert shape.patch is not None
        self.patch = patch_height(shape.image, shape.patch), shape.patch
        self.embed = nn.Linear(self.patch[0] * self.patch[1] * shape.channels, shape.dim)
        self.place = nn.Embedding(shape.tokens, shape.dim)

    def forward(self, image_bchw: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.embed(patches(image_bchw, *self.patch)) + self.place.weight
        return tokens


class ByteStem(nn.Module):
    """Bytes (b, t), of any integer type and t at most the context -> tokens (b, t, d) with a learned place."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.embed = nn.Embedding(BYTES, shape.dim)
        self.place = nn.Embedding(shape.tokens, shape.dim)

    def forward(self, bytes_bt: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.embed(bytes_bt.long()) + self.place.weight[: bytes_bt.shape[1]]
        return tokens


class Attention(nn.Module):
    """y = softmax(Q K' / sqrt(e)) V W_o, each of Q, K, V a map of N(its own input); (b, t, d) -> (b, t, d).

    One input stands for all three. N, shared by them, is LN unless hints say otherwise. Causal for text.
    """

    def __init__(self, shape: TransformerShape, hints: BlockHints = PLAIN) -> None:
        super().__init__()
        self.heads = shape.heads
        self.causal = shape.context is not None
        self.norm = norm(shape.dim, hints)
        self.query = nn.Linear(shape.dim, shape.dim)
        self.key = nn.Linear(shape.dim, shape.dim)
        self.value = nn.Linear(shape.dim, shape.dim)
        self.output = nn.Linear(shape.dim, shape.dim)
        for scores in (self.query, self.key):
            setattr(scores, UNSCALED, True)

    def forward(
        self, q_btd: torch.Tensor, k_btd: torch.Tensor | None = None, v_btd: torch.Tensor | None = None
    ) -> torch.Tensor:
        q = self.norm(q_btd)
        k = q if k_btd is None else self.norm(k_btd)
        v = q if v_btd is None else self.norm(v_btd)
        query, key, value = self._heads(self.query(q)), self._heads(self.key(k)), self._heads(self.value(v))
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        y_btd: torch.Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return y_btd

    def _heads(self, x_btd: torch.Tensor) -> torch.Tensor:
        """(b, t, d) -> (b, n, t, e)."""
        batch, tokens, dim = x_btd.shape
        return x_btd.reshape(batch, tokens, self.heads, dim // self.heads).transpose(1, 2)


class FeedForward(nn.Module):
    """y = W_2 GELU(W_1 N(u)), (b, t, d) -> (b, t, d); N is LN unless hints say otherwise."""

    def __init__(self, shape: TransformerShape, hints: BlockHints = PLAIN) -> None:
        super().__init__()
        self.norm = norm(shape.dim, hints)
        self.expand = nn.Linear(shape.dim, shape.width)
        self.reduce = nn.Linear(shape.width, shape.dim)

    def forward(self, u_btd: torch.Tensor) -> torch.Tensor:
        y_btd: torch.Tensor = self.reduce(nn.functional.gelu(self.expand(self.norm(u_btd))))
        return y_btd


class Head(nn.Module):
    """LayerNorm and linear: (b, t, d) -> logits (b, classes) of the mean token or, of text, (b, t, classes)."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.each = shape.context is not None
        self.norm = nn.LayerNorm(shape.dim)
        self.classify = nn.Linear(shape.dim, shape.classes)

    def forward(self, output_btd: torch.Tensor) -> torch.Tensor:
        tokens = self.norm(output_btd)
        logits: torch.Tensor = self.classify(tokens if self.each else tokens.mean(dim=1))
        return logits


def transformer(shape: TransformerShape, hints: tuple[BlockHints, ...]) -> Backbone:
    """The parts of a transformer: odd blocks attend, even blocks feed forward; `hints` has one entry per block."""
    numbers = range(1, shape.depth + 1)
    return Backbone(
        stem=PatchStem(shape) if shape.context is None else ByteStem(shape),
        blocks=tuple(
            Attention(shape, hint) if number % 2 else FeedForward(shape, hint)
            for number, hint in zip(numbers, hints, strict=True)
        ),
        head=Head(shape),
        names=tuple(f"block{number}" for number in numbers),
        hints=hints,
    )
