import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainers import backbones, costs
from trainers.errors import TrainerError
from trainers.hints import Hints

HEADER = """
import torch
from torch import nn

class Stem(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.cut = nn.Conv2d(1, dim, 4, 4)
    def forward(self, x):
        return self.cut(x).flatten(2).transpose(1, 2)

class Head(nn.Linear):
    def forward(self, x):
        return super().forward(x.mean(dim=1))

class Attend(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attend = nn.MultiheadAttention(dim, 2, batch_first=True)
    def forward(self, u):
        v = self.norm(u)
        return self.attend(v, v, v, need_weights=False)

def block(dim):
    return nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 3 * dim), nn.GELU(), nn.Linear(3 * dim, dim))

"""
GOOD = """
def make(depth, dim, image, channels, classes):
    assert image == (8, 8) and channels == 1
    blocks = [Attend(dim) if i == 0 else block(dim) for i in range(depth)]
    return Stem(dim), blocks, Head(dim, classes)
"""
SIZES: dict[str, Any] = {"depth": 3, "dim": 6, "image": (8, 8), "channels": 1, "classes": 10}
Made = Callable[[str], str]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    def make(body: str) -> str:
        path = tmp_path / "mine.py"
        path.write_text(HEADER + body)
        return f"{path}:make"

    return make


def build(function: str, hints: Hints | None = None, **changes: Any) -> backbones.Backbone:
    return backbones.build("function", function=function, hints=hints, **SIZES | changes)


def test_its_parts_run_and_cost_what_torch_counts(made: Made) -> None:
    function = made(GOOD)
    price = costs.price("function", function=function, **SIZES)
    assert (price.tokens, price.dim) == (4, 6)
    assert price.stem_flops == 2 * 4 * 16 * 6
    assert price.head_flops == 2 * 6 * 10
    assert [block.flops for block in price.blocks] == [4 * 8 * 6**2 + 4 * 4**2 * 6, *[4 * 4 * 6 * 18] * 2]
    backbone = build(function)
    counted = [sum(p.numel() for p in part.parameters()) for _, part in backbone.parts()]
    assert [price.stem_parameters, *(b.parameters for b in price.blocks), price.head_parameters] == counted
    assert nn.Sequential(backbone.stem, backbone.blocks[1], backbone.head)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def weights(backbone: backbones.Backbone) -> dict[str, torch.Tensor]:
    return {f"{part}.{name}": p for part, module in backbone.parts() for name, p in module.named_parameters()}


def test_the_start_depends_on_seed_and_name_alone(made: Made) -> None:
    function = made(GOOD)
    torch.manual_seed(1)
    one = build(function)
    before = torch.get_rng_state()
    one.initialise(5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    deep, other = build(function, depth=5), build(function)
    deep.initialise(5)
    other.initialise(6)
    for name, weight in weights(one).items():
        assert torch.equal(weight, weights(deep)[name]), name
    drawn = ["stem.cut.weight", "block1.attend.in_proj_weight", "block2.1.weight", "block3.3.weight", "head.weight"]
    for name in drawn:
        assert not torch.equal(weights(one)[name], weights(other)[name]), name
    assert not torch.equal(weights(one)["block2.1.weight"], weights(one)["block3.1.weight"])


def test_scales_and_rates_are_seen_to_without_its_help(made: Made) -> None:
    function = made(GOOD)
    plain, hinted = build(function), build(function, {2: {"output_init_scale": 0.5, "lr_scale": 0.25}})
    plain.initialise(0)
    hinted.initialise(0)
    assert torch.equal(weights(hinted)["block2.3.weight"], 0.5 * weights(plain)["block2.3.weight"])
    assert torch.equal(weights(hinted)["block2.1.weight"], weights(plain)["block2.1.weight"])
    assert weights(hinted)["block2.1.weight"].lr_scale == 0.25  # type: ignore[attr-defined]


def test_a_norm_it_cannot_leave_out_is_refused_unless_it_takes_hints(made: Made) -> None:
    function = made(GOOD)
    with pytest.raises(TrainerError, match=r"block 2 is asked for pre_norm 0, which .* cannot give: it takes no hints"):
        build(function, {2: {"pre_norm": 0}})
    function = made("""
def make(depth, dim, image, channels, classes, hints):
    bare = [number for number, given in hints.items() if given.get("pre_norm") == 0]
    blocks = [nn.Linear(dim, dim) if i in bare else block(dim) for i in range(1, depth + 1)]
    return Stem(dim), blocks, Head(dim, classes)
""").replace("mine.py", "./mine.py")  # another name, because a module is imported once
    found = build(function, {2: {"pre_norm": 0}})
    assert [type(block) for block in found.blocks] == [nn.Sequential, nn.Linear, nn.Sequential]


RETURN = "def make(depth, dim, image, channels, classes): return "
BLOCKS = "[block(dim) for _ in range(depth)]"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def make(depth): pass", "make raised TypeError: make() got an unexpected keyword argument"),
        ("def make(**sizes): raise OSError('disk')", "make raised OSError: disk"),
        (f"{RETURN}None", "returned a NoneType; must return (stem, blocks, head)"),
        (f"{RETURN}Stem(dim), {BLOCKS}", "returned a tuple; must return (stem, blocks, head)"),
        (f"{RETURN}3, {BLOCKS}, Head(dim, classes)", "the stem is a int; must be a torch module"),
        (
            f"{RETURN}Stem(dim), {BLOCKS}[1:], Head(dim, 10)",
            "returned 2 blocks; must be a list of 3, as many as",
        ),
        (f"{RETURN}Stem(dim), block(dim), Head(dim, 10)", "returned a Sequential as blocks; must be a list of 3"),
        (f"{RETURN}Stem(dim), [1, 2, 3], Head(dim, 10)", "block 1 is a int; must be a torch module"),
        (f"{RETURN}Stem(dim), [block(dim)] * depth, Head(dim, 10)", "the same module is returned for two blocks"),
        (f"{RETURN}Stem(dim + 1), {BLOCKS}, Head(dim, 10)", "the stem makes (1, 4, 7); its last axis must be dim, 6"),
        (f"{RETURN}Stem(dim), [nn.Linear(6, 5) for _ in 'abc'], Head(dim, 10)", "block1 makes (1, 4, 5) of (1, 4, 6)"),
        (f"{RETURN}Stem(dim), [nn.Linear(5, 6) for _ in 'abc'], Head(dim, 10)", "block1 of an input (1, 4, 6) raised"),
        (f"{RETURN}Stem(dim), {BLOCKS}, Head(dim, 9)", "the head makes (1, 9) of (1, 4, 6); must make (1, 10)"),
        (
            f"{RETURN}Stem(dim), {BLOCKS}, nn.Linear(dim, 10)",
            "the head makes (1, 4, 10) of (1, 4, 6); must",
        ),
    ],
)
def test_what_a_function_does_wrong_is_one_sentence(made: Made, body: str, message: str) -> None:
    function = made(body)
    with pytest.raises(TrainerError, match=re.escape(message)) as caught:
        costs.price("function", function=function, **SIZES)
    assert function in str(caught.value)


def test_a_parameter_whose_start_nobody_could_seed_is_refused(made: Made) -> None:
    function = made("""
class Gain(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.randn(6))
    def forward(self, u):
        return u * self.gain
def make(depth, dim, image, channels, classes):
    return Stem(dim), [nn.Sequential(Gain()) for _ in range(depth)], Head(dim, classes)
""")
    with pytest.raises(TrainerError, match=r"'0.gain' of 'block1': Gain has no reset_parameters\(\)"):
        build(function).initialise(0)


def test_a_function_may_read_text(made: Made) -> None:
    function = made("""
class Bytes(nn.Embedding):
    def forward(self, x):
        return super().forward(x.long())
def make(depth, dim, context, classes):
    blocks = nn.ModuleList(block(dim) for _ in range(depth))
    return {"stem": Bytes(256, dim), "blocks": blocks, "head": nn.Linear(dim, classes)}
""")
    price = costs.price("function", function=function, depth=2, dim=6, context=11, classes=256)
    assert (price.tokens, price.stem_flops, price.head_flops) == (11, 0, 2 * 11 * 6 * 256)
