import inspect

import pytest
import torch
from torch import nn

from trainers.backbones.mixer import ChannelMixing, Head, Stem, TokenMixing, mixer
from trainers.backbones.norm import ScaledLayerNorm
from trainers.hints import PLAIN, BlockHints
from trainers.shapes import MixerShape, ports

SHAPE = MixerShape(depth=3, dim=6, patch=2, image=(4, 6), channels=2, classes=5)


def test_stem_embeds_patches_in_reading_order() -> None:
    stem = Stem(SHAPE)
    images = torch.randn(3, 2, 4, 6)
    tokens = stem(images)
    assert tokens.shape == (3, 6, 6)
    # Token 4 is the middle patch of the lower row: rows 2-3, columns 2-3.
    torch.testing.assert_close(tokens[:, 4], stem.embed(images[:, :, 2:4, 2:4].reshape(3, -1)))


def test_token_mixing_is_a_prenorm_mlp_over_tokens_without_a_skip() -> None:
    block = TokenMixing(SHAPE)
    u = torch.randn(2, 6, 6)
    hidden = torch.einsum("btd,ht->bhd", block.norm(u), block.expand.weight) + block.expand.bias[:, None]
    expected = torch.einsum("bhd,th->btd", nn.functional.gelu(hidden), block.reduce.weight)
    torch.testing.assert_close(block(u), expected + block.reduce.bias[:, None])


def test_channel_mixing_is_a_prenorm_mlp_over_channels_without_a_skip() -> None:
    block = ChannelMixing(SHAPE)
    u = torch.randn(2, 6, 6)
    hidden = torch.einsum("btd,hd->bth", block.norm(u), block.expand.weight) + block.expand.bias
    expected = torch.einsum("bth,dh->btd", nn.functional.gelu(hidden), block.reduce.weight)
    torch.testing.assert_close(block(u), expected + block.reduce.bias)


def test_head_normalises_then_averages_tokens() -> None:
    head = Head(SHAPE)
    x = torch.randn(2, 6, 6)
    torch.testing.assert_close(head(x), head.classify(head.norm(x).sum(dim=1) / 6))


def test_odd_blocks_mix_tokens_and_even_ones_channels() -> None:
    backbone = mixer(SHAPE, (PLAIN,) * 3)
    assert [type(block) for block in backbone.blocks] == [TokenMixing, ChannelMixing, TokenMixing]
    assert backbone.names == ("block1", "block2", "block3")


BLOCKS = pytest.mark.parametrize("kind", [TokenMixing, ChannelMixing])


def random_block(kind: type[TokenMixing] | type[ChannelMixing], hints: BlockHints) -> TokenMixing | ChannelMixing:
    block = kind(SHAPE, hints)
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    return block


def mlp(block: TokenMixing | ChannelMixing, x: torch.Tensor) -> torch.Tensor:
    if isinstance(block, TokenMixing):
        return block.reduce(nn.functional.gelu(block.expand(x.mT))).mT
    return block.reduce(nn.functional.gelu(block.expand(x)))


@BLOCKS
def test_pre_norm_0_leaves_the_mlp_and_its_parameters_alone(kind: type[TokenMixing] | type[ChannelMixing]) -> None:
    block = random_block(kind, BlockHints(pre_norm=0.0))
    u = torch.randn(2, 6, 6)
    torch.testing.assert_close(block(u), mlp(block, u))
    assert [name for name, _ in block.named_parameters()] == [
        "expand.weight", "expand.bias", "reduce.weight", "reduce.bias"
    ]  # fmt: skip


@BLOCKS
def test_norm_scale_multiplies_the_normalised_input(kind: type[TokenMixing] | type[ChannelMixing]) -> None:
    block = random_block(kind, BlockHints(norm_scale=0.25))
    plain = kind(SHAPE)
    assert block.state_dict().keys() == plain.state_dict().keys()
    plain.load_state_dict(block.state_dict())
    u = torch.randn(2, 6, 6)
    torch.testing.assert_close(block(u), mlp(block, 0.25 * plain.norm(u)))
    # The gain and the shift are inside the factor, which a scaled gain alone would not be.
    gain, shift = block.norm.weight, block.norm.bias
    torch.testing.assert_close(block.norm(u), 0.25 * nn.functional.layer_norm(u, (6,), gain, shift))
    assert "scale=0.25" in str(block)


@BLOCKS
def test_every_block_has_an_argument_per_port(kind: type[TokenMixing] | type[ChannelMixing]) -> None:
    assert len(inspect.signature(kind(SHAPE).forward).parameters) == len(ports("mixer"))


def test_hints_go_to_the_block_of_their_number() -> None:
    blocks = mixer(SHAPE, (PLAIN, BlockHints(norm_scale=0.5), BlockHints(pre_norm=0.0))).blocks
    assert [type(block.norm) for block in blocks] == [nn.LayerNorm, ScaledLayerNorm, nn.Identity]
    assert blocks[1].norm.scale == 0.5
