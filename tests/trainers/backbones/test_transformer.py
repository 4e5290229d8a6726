import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trainers import backbones
from trainers.backbones.norm import ScaledLayerNorm
from trainers.backbones.transformer import Attention, ByteStem, FeedForward, Head, PatchStem, transformer
from trainers.hints import PLAIN, BlockHints, Hints
from trainers.shapes import TransformerShape

TEXT = TransformerShape(depth=4, dim=12, heads=3, context=10)
IMAGES = TransformerShape(depth=2, dim=12, heads=3, image=(4, 6), patch=2, channels=3, classes=5)


def wired(shape: TransformerShape, hints: Hints | None = None) -> nn.Sequential:
    given = {"context": shape.context} if shape.context else {"image": shape.image, "channels": 3, "patch": shape.patch}
    sizes = {"depth": shape.depth, "dim": shape.dim, "heads": shape.heads, "classes": shape.classes}
    backbone = backbones.build("transformer", **sizes, **given, hints=hints)
    backbone.initialise(0)
    return nn.Sequential(backbone.stem, *backbone.blocks, backbone.head)


def test_shapes() -> None:
    assert wired(TEXT)(torch.zeros(2, 10, dtype=torch.uint8)).shape == (2, 10, 256)
    assert wired(TEXT)(torch.zeros(2, 4, dtype=torch.int64)).shape == (2, 4, 256), "a shorter text"
    assert wired(IMAGES)(torch.zeros(2, 3, 4, 6)).shape == (2, 5)


@given(st.binary(min_size=10, max_size=10), st.integers(0, 9), st.integers(1, 255))
@settings(max_examples=25, deadline=None)
def test_no_byte_changes_what_is_said_before_it(text: bytes, place: int, change: int) -> None:
    model = wired(TEXT)
    for parameter in model.parameters():  # else a mistake might hide in weights that start small
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    bytes_bt = torch.tensor([list(text)])
    other = bytes_bt.clone()
    other[0, place] = (other[0, place] + change) % 256
    before, after = model(bytes_bt), model(other)
    assert torch.equal(before[:, :place], after[:, :place])
    assert not torch.equal(before[:, place], after[:, place])


def test_patches_attend_both_ways() -> None:
    images = torch.randn(1, 3, 4, 6)
    block = Attention(IMAGES)
    tokens = PatchStem(IMAGES)(images)
    changed = tokens.clone()
    changed[:, -1] += 1 * torch.randn(12)
    assert not torch.allclose(block(tokens)[:, 0], block(changed)[:, 0])


def explicit(block: Attention, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
    """The formula of the docstring, head by head."""
    query, key, value = block.query(block.norm(q)), block.key(block.norm(k)), block.value(block.norm(v))
    found = []
    for part in range(3):
        here = slice(4 * part, 4 * part + 4)
        scores = query[..., here] @ key[..., here].mT / 2.0
        if causal:
            scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), float("-inf"))
        found.append(scores.softmax(-1) @ value[..., here])
    mixed: torch.Tensor = block.output(torch.cat(found, dim=-1))
    return mixed


@pytest.mark.parametrize("shape", [TEXT, IMAGES], ids=["text", "images"])
def test_attention_is_its_formula_with_one_input_or_three(shape: TransformerShape) -> None:
    block, causal = Attention(shape), shape.context is not None
    q, k, v = torch.randn(3, 2, 6, 12)
    torch.testing.assert_close(block(q, k, v), explicit(block, q, k, v, causal))
    torch.testing.assert_close(block(q), explicit(block, q, q, q, causal))
    assert torch.equal(block(q), block(q, q, q))


def test_feed_forward_is_a_prenorm_mlp_without_a_skip() -> None:
    block = FeedForward(TEXT)
    u = torch.randn(2, 6, 12)
    assert block.expand.out_features == 48
    torch.testing.assert_close(block(u), block.reduce(nn.functional.gelu(block.expand(nn.LayerNorm(12)(u)))))


def test_stems_add_a_place_to_every_token() -> None:
    stem = ByteStem(TEXT)
    same = stem(torch.full((1, 10), 65, dtype=torch.uint8))
    torch.testing.assert_close(same - stem.embed.weight[65], stem.place.weight[None])
    patch = PatchStem(IMAGES)
    torch.testing.assert_close(patch(torch.zeros(1, 3, 4, 6)), (patch.embed.bias + patch.place.weight)[None])


def test_heads_read_the_mean_token_or_each() -> None:
    x = torch.randn(2, 6, 12)
    head = Head(IMAGES)
    torch.testing.assert_close(head(x), head.classify(head.norm(x).sum(dim=1) / 6))
    each = Head(TEXT)
    torch.testing.assert_close(each(x)[:, 3], each.classify(each.norm(x[:, 3])))


def test_odd_blocks_attend_and_hints_go_to_the_block_of_their_number() -> None:
    hints = (PLAIN, BlockHints(norm_scale=0.5), BlockHints(pre_norm=0.0), PLAIN)
    blocks = transformer(TEXT, hints).blocks
    assert [type(block) for block in blocks] == [Attention, FeedForward] * 2
    assert [type(block.norm) for block in blocks] == [nn.LayerNorm, ScaledLayerNorm, nn.Identity, nn.LayerNorm]


def test_initial_scales_leave_queries_and_keys_alone() -> None:
    plain, scaled = wired(TEXT), wired(TEXT, {1: {"init_scale": 0.5, "output_init_scale": 3.0}})
    expected = {"query": 1.0, "key": 1.0, "value": 0.5, "output": 1.5}
    for name, scale in expected.items():
        start = plain.get_parameter(f"1.{name}.weight")
        assert torch.equal(scaled.get_parameter(f"1.{name}.weight"), start * scale), name
    assert torch.equal(scaled.get_parameter("0.embed.weight"), plain.get_parameter("0.embed.weight"))
    assert abs(plain.get_parameter("0.embed.weight").std() * 12**0.5 - 1) < 0.05
