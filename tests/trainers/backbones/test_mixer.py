import torch
from torch import nn

from trainers.backbones.mixer import ChannelMixing, Head, Stem, TokenMixing, mixer
from trainers.shapes import MixerShape

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
    backbone = mixer(SHAPE)
    assert [type(block) for block in backbone.blocks] == [TokenMixing, ChannelMixing, TokenMixing]
    assert backbone.names == ("block1", "block2", "block3")
