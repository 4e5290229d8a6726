import pytest
import torch
from torch import nn

import graphs
from graphs import CompileError, families

BLOCKS = [nn.Linear(4, 4) for _ in range(3)]
RESIDUAL = families.residual(3)


def test_blocks_are_the_same_objects():
    before = [block.weight.detach().clone() for block in BLOCKS]
    model = graphs.compile(RESIDUAL, BLOCKS, dim=4)
    assert all(one is other for one, other in zip(model.blocks, BLOCKS, strict=True))
    assert all(torch.equal(block.weight, weight) for block, weight in zip(BLOCKS, before, strict=True))
    assert isinstance(model, graphs.CompiledModel)
    assert model.plan.digest == RESIDUAL.digest
    assert (model.dim, model.channel_axis, model.impl) == (4, -1, "reference")
    generated = graphs.compile(RESIDUAL, (block for block in BLOCKS), dim=4)
    assert generated.blocks[2] is BLOCKS[2]
    assert graphs.compile(RESIDUAL, nn.ModuleList(BLOCKS), dim=4).blocks[0] is BLOCKS[0]


@pytest.mark.parametrize("count", [0, 2, 4])
def test_wrong_number_of_blocks(count):
    with pytest.raises(CompileError, match=f"the topology has 3 blocks, but {count} modules were given"):
        graphs.compile(RESIDUAL, [nn.Identity()] * count, dim=4)


def test_a_block_is_a_module():
    with pytest.raises(CompileError, match=r"block 2 is function; an nn.Module was expected"):
        graphs.compile(RESIDUAL, [nn.Identity(), lambda x: x, nn.Identity()], dim=4)
    with pytest.raises(CompileError, match="block 3 is NoneType"):
        graphs.compile(RESIDUAL, [nn.Identity(), nn.Identity(), None], dim=4)


@pytest.mark.parametrize("dim", [0, -1, True, 4.0, "4", None])
def test_dim_is_a_whole_number(dim):
    with pytest.raises(CompileError, match=r"dim is "):
        graphs.compile(RESIDUAL, BLOCKS, dim=dim)


@pytest.mark.parametrize("axis", [None, "1", 1.0, True])
def test_an_axis_is_a_whole_number(axis):
    with pytest.raises(CompileError, match=r"channel_axis is "):
        graphs.compile(RESIDUAL, BLOCKS, dim=4, channel_axis=axis)


@pytest.mark.parametrize("impl", ["cpu", "triton", ""])
def test_an_engine_this_version_lacks_is_named(impl):
    with pytest.raises(CompileError, match=f"impl='{impl}' is not in this version; it has 'reference', 'fused'"):
        graphs.compile(RESIDUAL, BLOCKS, dim=4, impl=impl)
