"""Compiled models with impl="fused": equal to the reference in every use a model is put to."""

import copy
import gc
import pickle
import sys
import threading
import weakref

import pytest
import torch
from fused_models import DIM, HISTORIES, assert_equal, both, probe, results
from graph_samples import FAMILIES, sample
from torch import nn
from torch.utils.checkpoint import checkpoint

import graphs
from graphs import Block as Step
from graphs import CompileError, Constant, Mix, Parameter, Product, Sum, Topology, families
from graphs.supernet import supernet
from graphs.weights import Place

# A history read by all, with sources added as they are, in groups; streams; and weights that a token brings.
MODELS = {
    "dense": lambda: families.dense(20, inner=False),
    "ancre": lambda: families.ancre(11, temperature=0.5),
    "grouped": HISTORIES["grouped"],
    "normed": HISTORIES["normed"],
    "hyper": lambda: families.hyper(3, streams=2),
    "short": lambda: families.dense(3),
    "token": lambda: families.hyper(3, streams=2, dynamic=True),
    "attention": lambda: families.attnres(5),
    "chosen": lambda: supernet(5, kind="top_k", fan_in=2),
}


@pytest.mark.parametrize("name", [*FAMILIES, *HISTORIES])
def test_every_family_equals_the_reference(name):
    reference, fused = both((FAMILIES | HISTORIES)[name]())
    assert_equal(results(fused), results(reference))


@pytest.mark.parametrize("seed", range(40))
def test_samples_equal_the_reference(seed):
    reference, fused = both(sample(seed, uniform=False))
    assert_equal(results(fused), results(reference))


@pytest.mark.parametrize("name", MODELS)
def test_single_precision(name):
    reference, fused = both(MODELS[name](), torch.float32)
    assert_equal(results(fused, probe(torch.float32)), results(reference, probe(torch.float32)), 2e-5)


@pytest.mark.parametrize("name", MODELS)
def test_several_backward_calls(name):
    reference, fused = both(MODELS[name]())
    got = []
    for model in (fused, reference):
        x = probe()
        out = model(x)
        out.sum().backward(retain_graph=True)
        out.pow(2).sum().backward(retain_graph=True)
        model.blocks[1].seen.sum().backward()
        got.append([x.grad, *(parameter.grad for parameter in model.parameters())])
        model.zero_grad()
    assert_equal(*got)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_a_part_of_the_inputs(name):
    reference, fused = both(MODELS[name]())
    for pick in (
        lambda model, x: [x],
        lambda model, x: [next(model.weights.parameters())],
        lambda model, x: [list(model.weights.parameters())[-1]],
        lambda model, x: [model.blocks[2].seen, model.blocks[1].maps[0].weight],
        lambda model, x: [model.blocks[-1].seen],
    ):
        got = []
        for model in (fused, reference):
            x = probe()
            out = model(x)
            got.append(torch.autograd.grad(out.pow(2).sum(), pick(model, x)))
        assert_equal(*got)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_from_a_hidden_state(name):
    reference, fused = both(MODELS[name]())
    for at in (0, 1, len(fused.blocks) // 2, len(fused.blocks) - 1):
        assert_equal(results(fused, at=at), results(reference, at=at))


@pytest.mark.parametrize("name", MODELS)
def test_a_loss_on_hidden_states_and_the_output(name):
    reference, fused = both(MODELS[name]())
    got = []
    for model in (fused, reference):
        x = probe()
        loss = model(x).sum() + sum(block.seen.pow(2).sum() for block in list(model.blocks)[::2])
        got.append(torch.autograd.grad(loss, [x, *model.parameters()]))
    assert_equal(*got)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", ["input", "output", "all"])
def test_a_block_that_detaches(name, kind):
    reference, fused = both(MODELS[name]())
    for block in fused.blocks if kind == "all" else [fused.blocks[1]]:
        if kind == "output":
            block.register_forward_hook(lambda module, inputs, output: output.detach())
        else:
            block.change = torch.Tensor.detach
    assert_equal(results(fused), results(reference))


def _kept(model, x):
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // x.element_size() / x.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = model(x)
    return out, sum(kept.values())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("frozen", ["all", "some", "blocks"])
def test_frozen(name, frozen):
    reference, fused = both(MODELS[name]())
    for model in (reference, fused):
        chosen = list((model.blocks if frozen == "blocks" else model.weights).parameters())
        for parameter in chosen[:: 1 + (frozen == "some")]:
            parameter.requires_grad_(False)
    assert_equal(results(fused), results(reference))


@pytest.mark.parametrize(("name", "depth"), [("dense", 20), ("grouped", 14)])
def test_frozen_weights_keep_no_sources(name, depth):
    model = graphs.compile(MODELS[name](), [nn.Softplus() for _ in range(depth)], dim=DIM, impl="fused")
    x = torch.randn(500, DIM, requires_grad=True)
    out, kept = _kept(model, x)
    assert 2 * depth <= kept < 2 * depth + 2.1, "the sources, partial sums of groups, what each block keeps, weights"
    model.weights.requires_grad_(False)
    out, kept = _kept(model, x)
    assert depth <= kept < depth + 1, "what each block keeps"
    out.sum().backward()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("what", ["blocks", "model"])
def test_activation_checkpointing(name, reentrant, what):
    reference, fused = both(MODELS[name]())
    expected = results(reference)
    if what == "model":
        assert_equal(results(fused, call=lambda x: checkpoint(fused, x, use_reentrant=reentrant)), expected)
        return
    for block in fused.blocks:
        inner = block.forward
        block.forward = lambda *u, inner=inner: checkpoint(inner, *u, use_reentrant=reentrant)
    assert_equal(results(fused), expected)


@pytest.mark.parametrize("name", MODELS)
def test_saved_tensors_elsewhere(name):
    """Hooks that copy what is saved: nothing is read from the forward pass's memory behind their back."""
    reference, fused = both(MODELS[name]())

    def call(x):
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor.clone(), lambda tensor: tensor.clone()):
            return fused(x)

    assert_equal(results(fused, call=call), results(reference))


@pytest.mark.parametrize("name", MODELS)
def test_gradient_accumulation(name):
    reference, fused = both(MODELS[name]())
    got = []
    for model in (fused, reference):
        model.zero_grad()
        for seed in range(3):
            model(probe(seed=seed)).pow(2).sum().backward()
        got.append([parameter.grad.clone() for parameter in model.parameters()])
    assert_equal(*got)


@pytest.mark.parametrize("name", MODELS)
def test_two_forwards_before_a_backward_and_twice_in_one_graph(name):
    reference, fused = both(MODELS[name]())
    got = []
    for model in (fused, reference):
        one, two = probe(seed=1), probe(seed=2)
        first, second = model(one), model(two)
        grads = [torch.autograd.grad(first.sum(), [one, *model.parameters()])]
        grads.append(torch.autograd.grad(second.sum(), [two, *model.parameters()]))
        grads.append(torch.autograd.grad(model(model(one)).pow(2).sum(), [one, *model.parameters()]))
        got.append(sum(grads, ()))
    assert_equal(*got)


@pytest.mark.parametrize("name", MODELS)
def test_exceptions_leave_nothing_behind(name):
    reference, fused = both(MODELS[name]())
    middle = fused.blocks[2]

    def fail(*_):
        raise ArithmeticError("on purpose")

    middle.change = fail
    with pytest.raises(ArithmeticError):
        fused(probe())
    middle.change = None
    out = fused(probe())
    handle = middle.seen.register_hook(fail)
    with pytest.raises(ArithmeticError):
        out.sum().backward(retain_graph=True)
    handle.remove()
    fused.zero_grad()
    out.sum().backward()
    assert_equal(results(fused), results(reference))


@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_alive_after_the_loss_is(name):
    _, fused = both(MODELS[name]())
    alive = []
    for block in fused.blocks:
        block.register_forward_hook(lambda module, inputs, output: alive.append(weakref.ref(output)))
        block.register_forward_hook(lambda module, inputs, output: setattr(module, "seen", None))
    gc.collect()
    gc.disable()  # freed by count, without a collector: there are no cycles
    try:
        for how in ("backward", "no backward", "error"):
            loss = fused(probe()).sum()
            assert alive
            if how == "backward":
                loss.backward()
            if how == "error":
                with pytest.raises(CompileError):
                    loss.backward(create_graph=True)
            del loss
            assert [ref for ref in alive if ref() is not None] == [], how
            alive.clear()
    finally:
        gc.enable()


@pytest.mark.parametrize("name", MODELS)
def test_copies(name):
    _, fused = both(MODELS[name]())
    expected = results(fused)
    for block in fused.blocks:
        block.seen = None
    for other in (copy.deepcopy(fused), pickle.loads(pickle.dumps(fused))):
        assert all(map(torch.equal, results(other), expected))


@pytest.mark.parametrize("name", MODELS)
def test_reruns_are_equal_to_the_bit(name):
    _, fused = both(MODELS[name](), torch.float32)
    x = probe(torch.float32, shape=(37, DIM))
    first = results(fused, x.detach().clone().requires_grad_())
    for _ in range(3):
        assert all(map(torch.equal, results(fused, x.detach().clone().requires_grad_()), first))


@pytest.mark.parametrize("name", MODELS)
def test_second_derivatives_raise(name):
    _, fused = both(MODELS[name]())
    x = probe()
    with pytest.raises(CompileError, match="first derivatives alone"):
        torch.autograd.grad(fused(x).sum(), x, create_graph=True)


@pytest.mark.parametrize("name", MODELS)
def test_autocast(name):
    reference, fused = both(MODELS[name](), torch.float32)
    got = []
    for model in (fused, reference):
        x = probe(torch.float32)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = model(x)
        assert out.dtype is torch.float32
        got.append([out, *torch.autograd.grad(out.sum(), [x, *model.parameters()])])
    norm = sum(two.double().pow(2).sum() for two in got[1]).sqrt()
    error = sum((one - two).double().pow(2).sum() for one, two in zip(*got, strict=True)).sqrt()
    assert error < 0.02 * norm, "two roundings of bf16 blocks"


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits(name, dtype):
    reference, fused = both(MODELS[name](), torch.float32)
    exact = reference(probe(torch.float32)).detach()
    fused.to(dtype)
    x = probe(torch.float32).detach().to(dtype).requires_grad_()
    out = fused(x)
    assert out.dtype is dtype
    assert (out.float() - exact).norm() < 0.05 * exact.norm()
    out.sum().backward()
    assert {parameter.grad.dtype for parameter in fused.weights.parameters()} == {torch.float32}
    assert x.grad.dtype is dtype


@pytest.mark.parametrize("name", MODELS)
def test_vmap_and_torch_func(name):
    reference, fused = both(MODELS[name]())
    parameters = dict(fused.named_parameters())

    def loss(parameters, x):
        return torch.func.functional_call(fused, parameters, (x,)).pow(2).sum()

    got = torch.func.grad(loss)(parameters, probe().detach())
    x = probe()
    expected = torch.autograd.grad(reference(x).pow(2).sum(), list(reference.parameters()))
    assert_equal(list(got.values()), expected)
    batch = torch.stack([probe(seed=seed).detach() for seed in range(3)])
    together = torch.vmap(fused)(batch)
    assert_equal(list(together), [reference(one).detach() for one in batch])


@pytest.mark.parametrize("name", MODELS)
def test_without_gradients(name):
    reference, fused = both(MODELS[name]())
    expected = reference(probe()).detach()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            out = fused(probe())
        assert not out.requires_grad
        assert_equal([out], [expected])
    fused.requires_grad_(False)
    assert not fused(probe().detach()).requires_grad


@pytest.mark.parametrize("name", MODELS)
def test_anomaly_mode_finds_none(name):
    _, fused = both(MODELS[name]())
    with pytest.warns(UserWarning, match="Anomaly Detection"), torch.autograd.detect_anomaly():
        fused(probe()).sum().backward()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("axis", [0, 1])
def test_channels_elsewhere_and_states_that_are_not_contiguous(name, axis):
    topology = MODELS[name]()
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Tanh()) for _ in range(topology.depth)]
    models = [
        graphs.compile(topology, blocks, dim=DIM, channel_axis=axis, impl=i).double() for i in ("reference", "fused")
    ]
    got = []
    for model in models:
        x = torch.randn(5, DIM, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
        state = x.movedim(1 - axis, -1) if axis else x[1:].expand(4, DIM, DIM).transpose(0, 2)
        out = model(state)
        got.append([out, *torch.autograd.grad(out.pow(2).sum(), [x, *model.parameters()])])
    assert_equal(*got)


@pytest.mark.parametrize("depth", [3, 20])
def test_blocks_that_work_in_place(depth):
    """On what a mix of one output gave them. A block that changes a source is an error of torch's, as elsewhere."""
    reference, fused = both(families.dense(depth, inner=False))
    expected = results(reference)
    for block in fused.blocks[1:]:
        block.change = lambda u: u.mul_(1)
    assert_equal(results(fused), expected)


DDP = [{}, {"find_unused_parameters": True, "gradient_as_bucket_view": True}]


@pytest.mark.parametrize("options", DDP, ids=["plain", "unused"])
def test_ddp(tmp_path, options):
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        for make in MODELS.values():
            reference, fused = both(make())
            wrapped = DistributedDataParallel(fused, **options)
            assert_equal(results(fused, call=wrapped), results(reference))
            assert_equal(results(fused, call=wrapped), results(reference))
    finally:
        dist.destroy_process_group()


TRACED = MODELS | {"dense": lambda: families.dense(6, inner=False), "ancre": lambda: families.ancre(5)}
DYNAMO = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own doing


@DYNAMO
@pytest.mark.parametrize("name", TRACED)
def test_torch_compile(name):
    _, fused = both(TRACED[name](), torch.float32)
    graph = []

    def backend(module, inputs):
        from torch._dynamo.backends.debugging import aot_eager

        graph.append(module)
        return aot_eager(module, inputs)

    for block in fused.blocks:
        block.forward = lambda *u, maps=block.maps: torch.tanh(sum(layer(x) for layer, x in zip(maps, u, strict=True)))
    torch._dynamo.reset()
    compiled = torch.compile(fused, backend=backend, fullgraph=True)
    x = probe(torch.float32)
    got = results(fused, x.detach().clone().requires_grad_(), call=compiled)
    assert len(graph) == 1
    assert_equal(got, results(fused, x.detach().clone().requires_grad_()), 2e-5)


@DYNAMO
@pytest.mark.parametrize("name", TRACED)
def test_torch_export(name):
    topology = TRACED[name]()
    torch.manual_seed(0)
    blocks = [nn.Linear(DIM, DIM) for _ in range(topology.depth)]
    if any(len(block.ports) > 1 for block in topology.blocks):
        pytest.skip("linear blocks have one port")
    model = graphs.compile(topology, blocks, dim=DIM, impl="fused")
    x = torch.randn(3, DIM)
    program = torch.export.export(model, (x,))
    names = {str(node.target) for node in program.graph.nodes}
    used = "wireloom.attend" if name == "attention" else "wireloom.mix"
    assert any(used in target for target in names)
    torch.testing.assert_close(program.module()(x), model(x))


@pytest.mark.slow
@DYNAMO
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", ["grouped", "hyper"])
def test_inductor(name):
    _, fused = both(MODELS[name](), torch.float32)
    for block in fused.blocks:
        block.forward = lambda *u, maps=block.maps: torch.tanh(sum(layer(x) for layer, x in zip(maps, u, strict=True)))
    torch._dynamo.reset()
    compiled = torch.compile(fused, fullgraph=True)
    got = results(fused, probe(torch.float32), call=compiled)
    assert_equal(got, results(fused, probe(torch.float32)), 2e-5)


def _with_weight(weight, *reads):
    """Block 2 reads a mix of these, and the output is block 2's."""
    ops = [Step(1, ("x0",), "y1"), Mix(reads, ("u2",), weight), Step(2, ("u2",), "y2")]
    return Topology(tuple(ops), "y2", 2)


@pytest.mark.parametrize("fixed", [1, -1])
@pytest.mark.parametrize("where", ["parameter", "sum", "product", "place"])
def test_entries_fixed_at_one_and_at_minus_one(fixed, where):
    learned = Parameter("w", ((1, fixed),), ((True, False),))
    weight = {
        "parameter": learned,
        "sum": Sum((Parameter("w", ((1, 0),), ((True, False),)), Constant(((0, fixed),)))),
        "product": Product(learned, Constant(((1, 0), (0, -1)))),
        "place": Place(Parameter("w", ((fixed, 2),), ((False, True),)), (1, 2), ((0, 0, 0, 1), (0, 1, 0, 0))),
    }[where]
    reference, fused = both(_with_weight(weight, "x0", "y1"))
    assert_equal(results(fused), results(reference))


@pytest.mark.parametrize("frozen", [True, False])
def test_a_block_that_changes_what_later_mixes_read_is_named(frozen):
    rows = [Parameter(f"w{i}", ((1, 2),)) for i in range(2)]
    ops = [Step(1, ("x0",), "y1"), Step(2, ("y1",), "y2"), Mix(("y1", "y2"), ("u3",), rows[0]), Step(3, ("u3",), "y3")]
    ops += [Mix(("y1", "y3"), ("out",), rows[1])]
    _, fused = both(Topology(tuple(ops), "out", 3))
    fused.weights.requires_grad_(not frozen)
    fused.blocks[1].change = lambda u: u.mul_(1)
    with pytest.raises(CompileError, match="a block has changed its input in place, and mixes that run later read it"):
        fused(probe())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", [(0, DIM), (2, 0, DIM), (1, DIM), (DIM,)])
def test_no_token_and_one(name, shape):
    reference, fused = both(MODELS[name]())
    for seed in (1, 2):
        got = [results(model, probe(seed=seed, shape=shape)) for model in (fused, reference)]
        assert_equal(*got)


def test_states_that_cannot_be_mixed_are_named():
    model = graphs.compile(families.dense(2), [nn.Identity()] * 2, dim=DIM, impl="fused")
    with pytest.raises(CompileError, match=r"a hidden state is on meta and the weights of its mix on cpu; .*model\.to"):
        model(torch.ones(3, DIM, device="meta"))
    with pytest.raises(CompileError, match=r"hidden state x0 has dtype torch\.int64; floating point was expected"):
        model(torch.ones(3, DIM, dtype=torch.int64))


def test_two_threads_on_one_model():
    """Nothing puts other tensors into the module for a moment: its parameters stay its parameters."""
    _, fused = both(families.hyper(3, streams=2, dynamic=True))
    before = dict(fused.weights.named_parameters())
    expected = [grad.clone() for grad in torch.autograd.grad(fused(probe()).sum(), list(fused.parameters()))]
    interval = sys.getswitchinterval()
    found = []

    def work():
        found.extend(torch.autograd.grad(fused(probe()).sum(), list(fused.parameters())) for _ in range(15))

    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(found) == 45
    assert all(one is before[name] for name, one in fused.weights.named_parameters())
    for grads in found:
        assert_equal(grads, expected)
