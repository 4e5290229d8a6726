"""Seams in plain torch against the reference: values, every gradient, what is kept, and who may call them how."""

import copy
import gc
import weakref

import pytest
import torch
from fused_models import DIM, assert_equal, probe, results
from seam_models import FAMILY_SEAMS, SEAMS, pair
from torch import nn
from torch.autograd import gradcheck
from torch.utils.checkpoint import checkpoint

import graphs
from graphs import CompileError, families

# Few with many properties, for what does not depend on the rules: layer norm, Sinkhorn, carried states, norms.
SOME = ("hyper3", "mhc2", "mhc-identity", "normalised", "hyper-normed", "general")
KEEP = (False, True, 4)


@pytest.mark.parametrize("recompute", KEEP)
@pytest.mark.parametrize("name", SEAMS)
def test_equals_the_reference(name, recompute):
    reference, model = pair(SEAMS[name](), recompute=recompute)
    assert len(model._seams.jobs) > 1
    assert_equal(results(model), results(reference))


@pytest.mark.parametrize("recompute", [3, 4, 9])
@pytest.mark.parametrize("name", ["hyper2", "mhc-identity", "normalised"])
def test_segments_of_any_size(name, recompute):
    reference, model = pair(SEAMS[name](), recompute=recompute)
    assert_equal(results(model), results(reference))


@pytest.mark.parametrize("recompute", [False, 2])
@pytest.mark.parametrize(
    "name", ["hyper2", "mhc2", "hyper-linear-layer", "normalised", "static-write", "general", "mhc-normed"]
)
def test_gradcheck(name, recompute):
    _, model = pair(SEAMS[name](), recompute=recompute)
    names, values = zip(*model.named_parameters(), strict=True)

    def call(x, *parameters):
        return torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), (x,))

    x = probe(shape=(2, DIM))
    assert gradcheck(call, (x, *(value.detach().requires_grad_() for value in values)), fast_mode=True)


@pytest.mark.parametrize("recompute", KEEP)
@pytest.mark.parametrize("shape", [(DIM,), (0, DIM), (1, 1, DIM), (2, 1, 3, DIM), (7, DIM)])
def test_shapes(shape, recompute):
    for name in ("hyper3", "mhc1", "normalised"):
        reference, model = pair(SEAMS[name](), recompute=recompute)
        if 0 in shape:
            out = model(probe(shape=shape))
            out.sum().backward()
            assert out.shape == shape
            assert all(not parameter.grad.any() for parameter in model.weights.parameters())
        else:
            assert_equal(results(model, probe(shape=shape)), results(reference, probe(shape=shape)))


@pytest.mark.parametrize("recompute", [False, 2])
@pytest.mark.parametrize("axis", [0, 1, -2])
@pytest.mark.parametrize("name", ["hyper3", "mhc-identity", "static-read"])
def test_channels_elsewhere_and_states_that_are_not_contiguous(name, axis, recompute):
    topology = SEAMS[name]()
    torch.manual_seed(0)
    blocks = [nn.Tanh() for _ in range(topology.depth)]
    _, model = pair(topology)
    got = []
    for impl, extra in (("reference", {}), ("fused", {"recompute": recompute})):
        one = graphs.compile(topology, blocks, dim=DIM, channel_axis=axis, impl=impl, **extra).double()
        one.weights.load_state_dict(model.weights.state_dict())
        x = torch.randn(DIM, 5, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
        state = x.transpose(0, 2) if axis == 0 else x.transpose(0, 1)
        out = one(state)
        assert out.shape == state.shape
        got.append([out, *torch.autograd.grad(out.pow(2).sum(), [x, *one.parameters()])])
    assert_equal(*got)


def kept(model, x):
    """Bytes kept for the backward pass, in tensors of the size of a hidden state and in smaller ones."""
    storages = {}

    def pack(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = model(x)
    state = x.numel() * x.element_size()
    sizes = [size for pointer, size in storages.items() if pointer not in own]
    return out, sum(size for size in sizes if size >= state) / state, sum(size for size in sizes if size < state)


class Free(nn.Module):
    """A block that keeps nothing: what is kept is kept by the seams."""

    def forward(self, u):
        return u * 2


@pytest.mark.parametrize("family", ["hyper", "mhc"])
@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("recompute", [False, 2, 4])
def test_what_is_kept(family, n, recompute):
    depth, dim = 8, 256
    given = {"dynamic": True} if family == "hyper" else {"iterations": 4}
    topology = getattr(families, family)(depth, streams=n, **given)
    blocks = [Free() for _ in range(depth)]
    model = graphs.compile(topology, blocks, dim=dim, impl="fused", recompute=recompute)
    x = torch.randn(3, 7, dim, requires_grad=True)
    _, states, small = kept(model, x)
    every = recompute or 1
    # The first seam keeps x0, each later one a block's output, and one of each segment the streams.
    streams = sum(n for seam in range(1, depth + 1) if seam % every == 0)
    assert states == 1 + depth + streams
    assert small <= 4 * 21 * depth * n * (n + 1), "the depth mixes' weights, one matrix a token"
    _, eager, _ = kept(graphs.compile(topology, blocks, dim=dim), x)
    assert eager > (2.5 if family == "hyper" else 2) * states


def test_the_state_is_not_alive_during_a_block():
    """Alive are the streams and the block's input, and x0, which the test holds; no second set of streams."""
    n, depth, dim, tokens = 4, 5, 64, 50
    alive = []

    def held():
        tensors = (one for one in gc.get_objects() if type(one) is torch.Tensor and one.shape[-1:] == (dim,))
        return {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors}

    class Watch(nn.Module):
        def forward(self, u):
            alive.append(sum(size for at, size in held().items() if at not in before) / (8 * tokens * dim))
            return torch.tanh(u)

    model = graphs.compile(families.mhc(depth, streams=n), [Watch()] * depth, dim=dim, impl="fused").double()
    before = held()
    with torch.no_grad():
        model(torch.randn(tokens, dim, dtype=torch.float64))
    assert alive == [1 + 1 + n] * depth


@pytest.mark.parametrize("recompute", KEEP)
@pytest.mark.parametrize("name", SOME)
def test_several_backward_calls(name, recompute):
    reference, model = pair(SEAMS[name](), recompute=recompute)
    got = []
    for one in (reference, model):
        x = probe()
        out = one(x)
        leaves = [x, *one.parameters()]
        first = torch.autograd.grad(out.sum(), leaves, retain_graph=True)
        second = torch.autograd.grad(out.pow(2).sum(), leaves, retain_graph=True)
        third = torch.autograd.grad(out.sum(), leaves)
        assert all(map(torch.equal, first, third))
        got.append([*first, *second])
    assert_equal(*got)


@pytest.mark.parametrize("recompute", KEEP)
@pytest.mark.parametrize("name", SOME)
def test_from_any_hidden_state(name, recompute):
    """A backward pass may begin in mid-segment, or at several places, or reach only some of the inputs."""
    reference, model = pair(SEAMS[name](), recompute=recompute)
    for at in range(len(model.blocks)):
        assert_equal(results(model, at=at), results(reference, at=at))
    got = []
    for one in (reference, model):
        x = probe()
        out = one(x)
        hidden = [block.seen for block in one.blocks]
        loss = out.sum() + sum((i + 1) * state.pow(2).sum() for i, state in enumerate(hidden) if i % 2)
        got.append(
            [*torch.autograd.grad(loss, [*hidden, x], retain_graph=True), *torch.autograd.grad(out.sum(), hidden[2:])]
        )
    assert_equal(*got)


@pytest.mark.parametrize("recompute", KEEP)
@pytest.mark.parametrize("kind", ["input", "output", "every"])
@pytest.mark.parametrize("name", SOME)
def test_blocks_that_detach(name, kind, recompute):
    reference, model = pair(SEAMS[name](), recompute=recompute)
    for i, block in enumerate(reference.blocks):
        if kind == "every" or i == 1:
            forward = block.forward
            if kind == "input":
                block.change = torch.Tensor.detach
            else:
                block.forward = lambda u, forward=forward: forward(u).detach()
    assert_equal(results(model), results(reference))


@pytest.mark.parametrize("recompute", KEEP)
@pytest.mark.parametrize("frozen", ["weights", "some", "blocks", "maps", "input"])
@pytest.mark.parametrize("name", SOME)
def test_frozen(name, frozen, recompute):
    reference, model = pair(SEAMS[name](), recompute=recompute)
    got = []
    for one in (reference, model):
        named = list(one.weights.named_parameters())
        if frozen == "blocks":
            one.blocks.requires_grad_(False)
        for i, (label, parameter) in enumerate(named):
            if frozen == "weights" or (frozen == "some" and i % 2) or (frozen == "maps" and label.endswith("_map")):
                parameter.requires_grad_(False)
        x = probe().requires_grad_(frozen != "input")
        out = one(x)
        leaves = [leaf for leaf in (x, *one.parameters()) if leaf.requires_grad]
        got.append([out, *torch.autograd.grad(out.pow(2).sum(), leaves)])
        one.requires_grad_(True)
    assert_equal(*got)


@pytest.mark.parametrize("recompute", KEEP)
def test_all_is_frozen(recompute):
    _, model = pair(SEAMS["mhc2"](), recompute=recompute)
    model.requires_grad_(False)
    assert not model(probe().detach()).requires_grad


@pytest.mark.parametrize("recompute", KEEP)
@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("name", SOME)
def test_activation_checkpointing_of_blocks(name, reentrant, recompute):
    reference, model = pair(SEAMS[name](), recompute=recompute)
    expected = results(reference)
    for block in model.blocks:
        forward = block.forward
        block.forward = lambda u, forward=forward: checkpoint(forward, u, use_reentrant=reentrant)
    assert_equal(results(model), expected)


@pytest.mark.parametrize("recompute", KEEP)
@pytest.mark.parametrize("name", SOME)
def test_saved_tensors_elsewhere_and_two_runs_at_once(name, recompute):
    reference, model = pair(SEAMS[name](), recompute=recompute)

    def twice(one):
        def call(x):
            with torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda tensor: tensor):
                first = one(x)
            return first + one(first * 0.5)

        return call

    assert_equal(results(model, call=twice(model)), results(reference, call=twice(reference)))


@pytest.mark.parametrize("recompute", KEEP)
def test_parameters_changed_before_the_backward_pass_are_an_error(recompute):
    _, model = pair(SEAMS["hyper3"](), recompute=recompute)
    out = model(probe())
    with torch.no_grad():
        model.weights.dynamic_width1_map.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


@pytest.mark.parametrize("recompute", KEEP)
def test_other_parameters_by_functional_call(recompute):
    """The backward pass takes the parameters of the forward pass, not those the module has by then."""
    reference, model = pair(SEAMS["mhc2"](), recompute=recompute)
    got = []
    for one in (reference, model):
        other = {name: (value + 0.1).detach().requires_grad_() for name, value in one.named_parameters()}
        out = torch.func.functional_call(one, other, (probe(),))
        got.append([out, *torch.autograd.grad(out.pow(2).sum(), list(other.values()))])
    assert_equal(*got)


@pytest.mark.parametrize("recompute", KEEP)
def test_copies(recompute):
    reference, model = pair(SEAMS["hyper3"](), recompute=recompute)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    reference, _ = pair(SEAMS["hyper3"]())
    assert_equal(results(twin), results(reference))


@pytest.mark.parametrize("recompute", KEEP)
@pytest.mark.parametrize("name", SOME)
def test_reruns_are_equal_to_the_bit_and_recomputing_changes_nothing(name, recompute):
    _, model = pair(SEAMS[name](), torch.float32, recompute=recompute)
    _, plain = pair(SEAMS[name](), torch.float32)
    x = probe(torch.float32, shape=(37, DIM))
    first = results(model, x.detach().clone().requires_grad_())
    assert all(map(torch.equal, results(model, x.detach().clone().requires_grad_()), first))
    assert all(map(torch.equal, results(plain, x.detach().clone().requires_grad_()), first))


@pytest.mark.parametrize("recompute", KEEP)
@pytest.mark.parametrize("name", SOME)
def test_second_derivatives_raise(name, recompute):
    _, model = pair(SEAMS[name](), recompute=recompute)
    x = probe()
    with pytest.raises(CompileError, match="first derivatives alone"):
        torch.autograd.grad(model(x).sum(), x, create_graph=True)


@pytest.mark.parametrize("recompute", KEEP)
@pytest.mark.parametrize("name", SOME)
def test_autocast(name, recompute):
    reference, model = pair(SEAMS[name](), torch.float32, recompute=recompute)
    got = []
    for one in (model, reference):
        x = probe(torch.float32)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = one(x)
            assert out.dtype is torch.float32
            got.append([out, *torch.autograd.grad(out.sum(), [x, *one.parameters()])])
    assert distance(*got) < 0.02


@pytest.mark.parametrize("recompute", KEEP)
@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits(name, dtype, recompute):
    reference, model = pair(SEAMS[name](), torch.float32, recompute=recompute)
    exact = results(reference, probe(torch.float32))
    model.to(dtype), reference.to(dtype)
    assert {parameter.dtype for parameter in model.weights.parameters()} == {torch.float32}
    got, rounded = (
        results(one, probe(torch.float32).detach().to(dtype).requires_grad_()) for one in (model, reference)
    )
    assert got[0].dtype is got[1].dtype is dtype
    assert distance(got, exact) < 1.5 * distance(rounded, exact) + 1e-3, "states are rounded less often"


def distance(some, others):
    norm = sum(two.double().pow(2).sum() for two in others).sqrt()
    return sum((one.double() - two.double()).pow(2).sum() for one, two in zip(some, others, strict=True)).sqrt() / norm


@pytest.mark.parametrize("recompute", KEEP)
@pytest.mark.parametrize("name", SOME)
def test_blocks_of_another_dtype(name, recompute):
    """Streams of bf16 until a block gives fp32: both kinds follow each other in a segment's streams."""
    reference, model = pair(SEAMS[name](), torch.float32, recompute=recompute)
    for i, block in enumerate(reference.blocks):
        forward = block.forward
        block.forward = lambda u, i=i, forward=forward: forward(u.float()).to(torch.float32 if i >= 2 else u.dtype)
    got = []
    for one in (model, reference):
        x = probe(torch.float32).detach().to(torch.bfloat16).requires_grad_()
        got.append(results(one, x))
    assert got[0][0].dtype is torch.float32
    _, plain = pair(SEAMS[name](), torch.float32)
    plain.blocks, own = model.blocks, probe(torch.float32).detach().to(torch.bfloat16).requires_grad_()
    plain.weights.load_state_dict(model.weights.state_dict())
    assert all(map(torch.equal, results(plain, own), got[0])), "no stream is replayed in another dtype"
    assert [one.dtype for one in got[0]] == [two.dtype for two in got[1]]
    assert distance(*got) < 0.03


@pytest.mark.parametrize("recompute", KEEP)
@pytest.mark.parametrize("name", SOME)
def test_vmap_and_torch_func(name, recompute):
    reference, model = pair(SEAMS[name](), recompute=recompute)
    parameters = dict(model.named_parameters())

    def loss(parameters, x):
        return torch.func.functional_call(model, parameters, (x,)).pow(2).sum()

    got = torch.func.grad(loss)(parameters, probe().detach())
    assert_equal(
        list(got.values()),
        torch.autograd.grad(reference(probe()).pow(2).sum(), list(reference.parameters()), materialize_grads=True),
    )
    batch = torch.stack([probe(seed=seed).detach() for seed in range(3)])
    assert_equal(list(torch.vmap(model)(batch)), [reference(one).detach() for one in batch])


@pytest.mark.parametrize("recompute", KEEP)
def test_without_gradients(recompute):
    reference, model = pair(SEAMS["mhc2"](), recompute=recompute)
    expected = reference(probe()).detach()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            out = model(probe())
        assert not out.requires_grad
        assert_equal([out], [expected])


@pytest.mark.parametrize("recompute", KEEP)
def test_anomaly_mode_finds_none(recompute):
    _, model = pair(SEAMS["hyper3"](), recompute=recompute)
    with pytest.warns(UserWarning, match="Anomaly Detection"), torch.autograd.detect_anomaly():
        model(probe()).sum().backward()


DDP = [{}, {"find_unused_parameters": True, "gradient_as_bucket_view": True}]


@pytest.mark.parametrize("options", DDP, ids=["plain", "unused"])
def test_ddp(tmp_path, options):
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        for name in ("hyper2", "mhc-identity", "mhc-normed"):
            reference, model = pair(SEAMS[name](), recompute=2)
            wrapped = DistributedDataParallel(model, **options)
            assert_equal(results(model, call=wrapped), results(reference))
            assert_equal(results(model, call=wrapped), results(reference))
    finally:
        dist.destroy_process_group()


DYNAMO = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own doing


@DYNAMO
@pytest.mark.parametrize("name", ["hyper2", "mhc2", "normalised", "mhc-normed"])
def test_torch_compile(name):
    _, model = pair(SEAMS[name](), torch.float32, recompute=2)
    for block in model.blocks:
        block.forward = lambda u, layer=block.maps[0]: torch.tanh(layer(u))
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    got = results(model, probe(torch.float32), call=compiled)
    assert_equal(got, results(model, probe(torch.float32)), 2e-5)


@DYNAMO
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # dynamo looks at any input's
@pytest.mark.parametrize("name", ["hyper2", "mhc2", "hyper-normed"])
def test_torch_compile_of_single_blocks_and_export(name):
    topology = FAMILY_SEAMS[name]()
    torch.manual_seed(0)
    blocks = [nn.Linear(DIM, DIM) for _ in range(topology.depth)]
    model = graphs.compile(topology, blocks, dim=DIM, impl="fused", recompute=2)
    x = torch.randn(3, DIM)
    expected = model(x)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), expected)
    torch._dynamo.reset()
    one = graphs.compile(
        topology, [torch.compile(block, backend="aot_eager") for block in blocks], dim=DIM, impl="fused", recompute=2
    )
    one.weights.load_state_dict(model.weights.state_dict())
    torch.testing.assert_close(one(x), expected)


@pytest.mark.parametrize("recompute", KEEP)
def test_nothing_is_alive_after_a_run(recompute):
    _, model = pair(SEAMS["mhc3"](), recompute=recompute)
    seen = []
    for block in model.blocks:
        block.register_forward_hook(lambda module, inputs, output: seen.append(weakref.ref(output)) and None)
    gc.disable()
    try:
        results(model)
        for block in model.blocks:
            block.seen = None
        assert [ref() for ref in seen] == [None] * len(seen), "without a collection: no cycles"
    finally:
        gc.enable()


def test_errors():
    topology, blocks = families.hyper(2, dynamic=True), [nn.Identity()] * 2
    for recompute in (-1, 1.5, "yes", None):
        with pytest.raises(CompileError, match=r"recompute is .*True, False or how many"):
            graphs.compile(topology, blocks, dim=DIM, impl="fused", recompute=recompute)
    with pytest.raises(CompileError, match="an option of impl='fused'; impl is 'reference'"):
        graphs.compile(topology, blocks, dim=DIM, recompute=True)
