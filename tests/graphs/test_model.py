import io
import pickle
from copy import deepcopy

import pytest
import torch
from graph_oracles import forward, full_tensors
from graph_samples import FAMILIES, sample
from torch import nn

import graphs
from graphs import Block, CompileError, Constant, Mix, Parameter, Topology, TopologyError, families
from graphs.weights import ones

DIM = 4


class Smooth(nn.Module):
    """A block of any number of inputs; ``scale`` shows that keywords arrive."""

    def __init__(self, dim=DIM, *, ports=1, as_tuple=False):
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(dim, dim) for _ in range(ports))
        self.as_tuple = as_tuple

    def forward(self, *inputs, scale=1.0):
        total = sum((i + 1) * layer(u) for i, (layer, u) in enumerate(zip(self.maps, inputs, strict=True)))
        result = torch.tanh(total) * scale
        return (result, "state") if self.as_tuple else result


class Moved(nn.Module):
    """A block of ``inner`` whose channels are at another axis."""

    def __init__(self, inner, axis):
        super().__init__()
        self.inner, self.axis = inner, axis

    def forward(self, *inputs, **kw):
        result = self.inner(*(u.movedim(self.axis, -1) for u in inputs), **kw)
        value = result[0] if isinstance(result, tuple) else result
        return value.movedim(-1, self.axis)


def _options(seed):
    """Which features a sample has, so that all of them meet."""
    return {"uniform": False, "per_token": seed % 2 == 0, "fine": seed % 3 > 0, "normed": seed % 5 == 1}


def _blocks(topology, dim=DIM):
    ports = {block.number: len(block.ports) for block in topology.blocks}
    numbers = range(1, topology.depth + 1)
    return [Smooth(dim, ports=ports.get(n, 1), as_tuple=n % 2 == 0).double() for n in numbers]


def _state(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def _assert_equals_the_oracle(topology, *, start=False, seed=0, shape=(2, 3, DIM), channel_axis=-1):
    """Outputs and every gradient: of the input, the blocks and each learned weight; at the start or elsewhere.

    ``shape`` has the channels last; they are moved to ``channel_axis`` for the model alone.
    """
    torch.manual_seed(seed)
    torch.set_default_dtype(torch.float64)
    try:
        blocks = _blocks(topology)
        given = blocks if channel_axis == -1 else [Moved(block, channel_axis) for block in blocks]
        model = graphs.compile(topology, given, dim=DIM, channel_axis=channel_axis).eval()
    finally:
        torch.set_default_dtype(torch.float32)
    learned = dict(model.weights.named_parameters())
    with torch.no_grad():
        for parameter in learned.values():
            parameter.add_(0.0 if start else 0.5 * torch.randn_like(parameter))

    x0 = _state(*shape, seed=seed)
    out = model(x0.movedim(-1, channel_axis), scale=0.7).movedim(channel_axis, -1)
    probe = _state(*shape, seed=99).detach()
    own = [x0, *model.blocks.parameters(), *learned.values()]
    # An output that is zero for ever depends on nothing; adding 0 x0 gives it gradients, zero ones.
    got = torch.autograd.grad((out * probe + 0 * x0).sum(), own, allow_unused=True, materialize_grads=True)

    other = _state(*shape, seed=seed)
    theirs = {name: parameter.detach().clone().requires_grad_() for name, parameter in learned.items()}
    expected_out = forward(topology, blocks, full_tensors(topology, theirs, DIM), other, scale=0.7)
    leaves = [other, *model.blocks.parameters(), *theirs.values()]
    objective = (expected_out * probe + 0 * other).sum()
    expected = torch.autograd.grad(objective, leaves, allow_unused=True, materialize_grads=True)
    assert out.shape == expected_out.shape
    # A softmax that saturates has gradients that cancel: their rounding is relative to the largest gradient.
    largest = max(two.detach().abs().max().item() for two in expected)
    torch.testing.assert_close(out, expected_out, rtol=1e-12, atol=1e-12 * expected_out.detach().abs().max().item())
    for one, two in zip(got, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12 * largest)


@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_families_equal_the_oracle(name, start):
    _assert_equals_the_oracle(FAMILIES[name](), start=start)


@pytest.mark.parametrize("first", range(0, 140, 10))
def test_samples_equal_the_oracle(first):
    for seed in range(first, first + 10):
        _assert_equals_the_oracle(sample(seed, **_options(seed)), seed=seed, shape=(3, DIM))


@pytest.mark.parametrize("seed", range(200, 218))
def test_samples_with_channels_anywhere(seed):
    axis = (0, 1, -2)[seed % 3]
    _assert_equals_the_oracle(sample(seed, **_options(seed)), seed=seed, shape=(2, 1, DIM), channel_axis=axis)


@pytest.mark.parametrize("depth", [1, 4])
def test_residual_is_x_plus_f_of_x(depth):
    torch.manual_seed(0)
    blocks = [Smooth().double() for _ in range(depth)]
    model = graphs.compile(families.residual(depth), blocks, dim=DIM)
    x0 = _state(5, DIM)
    out = model(x0)
    x = x0
    for block in blocks:
        x = x + block(x)
    assert torch.equal(out, x), "the same operations in the same order"
    got = torch.autograd.grad(out.pow(2).sum(), [x0, *model.parameters()])
    expected = torch.autograd.grad(x.pow(2).sum(), [x0, *model.parameters()])
    for one, two in zip(got, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", ["dense", "hyper"])
def test_these_start_as_the_residual_network(name):
    depth, n = (4, 1) if name == "dense" else (3, 2)
    torch.manual_seed(0)
    blocks = [Smooth().double() for _ in range(depth)]
    x0 = _state(5, DIM)
    model = graphs.compile(FAMILIES[name](), blocks, dim=DIM).double()
    expected = graphs.compile(families.residual(depth), blocks, dim=DIM)(x0)
    torch.testing.assert_close(model(x0), n * expected, rtol=1e-12, atol=1e-14)


class Recorder(nn.Module):
    def __init__(self, result=None):
        super().__init__()
        self.calls, self.result = [], result

    def forward(self, *inputs, **kw):
        self.calls.append((inputs, kw))
        return inputs[0] if self.result is None else self.result


def test_keywords_reach_every_block_and_ports_are_positional():
    topology = Topology(
        (
            Block(1, ("x0",), "y1"),
            Mix(("x0", "y1"), ("h",), Constant(((1, 2),))),
            Block(2, ("h", "y1", "x0"), "y2", ("q", "k", "v")),
        ),
        "y2",
        3,
    )
    blocks = [Recorder() for _ in range(3)]
    x = torch.ones(2, DIM)
    mask = object()
    graphs.compile(topology, blocks, dim=DIM)(x, mask=mask, flag=False)
    ((first, kw),) = blocks[0].calls
    assert (len(first), kw) == (1, {"mask": mask, "flag": False})
    ((second, kw),) = blocks[1].calls
    assert [u.unique().tolist() for u in second] == [[3.0], [1.0], [1.0]]
    assert second[2] is x
    assert kw == {"mask": mask, "flag": False}
    assert blocks[2].calls == [], "a pruned block does not run"


def test_of_a_tuple_the_first_item_is_the_value():
    x = torch.ones(2, DIM)
    blocks = [Recorder((5 * x, 7 * x)), Recorder()]
    assert graphs.compile(families.residual(2), blocks, dim=DIM)(x).unique().tolist() == [12.0]


def test_channels_anywhere():
    x = torch.ones(2, DIM, 5, 4)
    conv = [nn.Conv2d(DIM, DIM, 1) for _ in range(2)]
    model = graphs.compile(families.hyper(2, streams=2), conv, dim=DIM, channel_axis=1)
    assert model(x).shape == x.shape
    plain = x
    for block in conv:
        plain = plain + block(plain)
    torch.testing.assert_close(model(x), 2 * plain)
    for axis, shape in ((0, (DIM, 2)), (1, (2, DIM)), (2, (2, 4, DIM)), (-3, (DIM, 4, 2))):
        graphs.compile(families.wiring(1), [nn.Identity()], dim=DIM, channel_axis=axis)(torch.ones(shape))


@pytest.mark.parametrize(
    ("axis", "shape"), [(-1, (2, 5)), (1, (DIM, 5, DIM)), (2, (2, DIM)), (-3, (2, DIM)), (-1, ()), (0, (5,))]
)
def test_the_wrong_number_of_channels(axis, shape):
    model = graphs.compile(families.residual(1), [nn.Identity()], dim=DIM, channel_axis=axis)
    with pytest.raises(CompileError, match=rf"axis {axis} was expected to have {DIM} channels"):
        model(torch.ones(shape))


def test_a_block_that_changes_the_shape_is_an_error():
    model = graphs.compile(families.residual(1), [nn.Linear(DIM, 5)], dim=DIM)
    with pytest.raises(CompileError, match=r"block 1 \(block1\) gave a hidden state of shape \(2, 5\)"):
        model(torch.ones(2, DIM))


def test_values_are_freed_at_their_last_use():
    """The interpreter drops what the plan frees: with no autograd the stem is collected before the end."""
    import weakref

    alive = []

    class Watch(nn.Module):
        def forward(self, u):
            alive.append(sum(ref() is not None for ref in refs))
            y = u + 1
            refs.append(weakref.ref(y))
            return y

    refs = []
    with torch.no_grad():
        graphs.compile(families.wiring(6), [Watch() for _ in range(6)], dim=DIM)(torch.ones(2, DIM))
    assert max(alive) == 1, "in a chain a block sees its input and nothing older"


@pytest.mark.parametrize("name", FAMILIES)
def test_matrix_is_the_topology_s_at_the_start(name):
    topology = FAMILIES[name]()
    model = graphs.compile(topology, [nn.Identity()] * topology.depth, dim=DIM).double()
    if any(mix.norm or mix.weight.per_token for mix in topology.mixes):
        with pytest.raises(TopologyError, match=r"(there is|they are) no one matrix"):
            model.matrix()
        return
    for port in sorted({port for block in topology.blocks for port in block.ports}):
        assert model.matrix(port).shape == (topology.depth + 1,) * 2
        torch.testing.assert_close(torch.from_numpy(model.matrix(port)), torch.from_numpy(topology.matrix(port)))


@pytest.mark.parametrize("seed", range(15))
def test_matrix_of_samples(seed):
    """Blocks that are pruned have an empty row in the model; all others read what the topology says."""
    topology = sample(seed)
    torch.set_default_dtype(torch.float64)
    try:
        model = graphs.compile(topology, _blocks(topology), dim=DIM)
    finally:
        torch.set_default_dtype(torch.float32)
    got, expected = model.matrix(), topology.matrix()
    runs = {block.number for block in model.plan.topology.blocks}
    for row in range(topology.depth + 1):
        if row == topology.depth or row + 1 in runs:
            torch.testing.assert_close(torch.from_numpy(got[row]), torch.from_numpy(expected[row]))
        else:
            assert not got[row].any()


def test_matrix_follows_the_parameters():
    model = graphs.compile(families.dense(2, inner=False), [nn.Identity()] * 2, dim=DIM)
    with torch.no_grad():
        model.weights.average1.copy_(torch.tensor([[2.0, 3.0]]))
        model.weights.average2.copy_(torch.tensor([[5.0, 0.0, -1.0]]))
    assert model.matrix().tolist() == [[1, 0, 0], [2, 3, 0], [5, 0, -1]]


def test_matrix_where_every_block_is_pruned():
    topology = Topology((Block(1, ("x0",), "y1"), Mix(("x0",), ("o",), Parameter("p", ((2,),)))), "o", 1)
    model = graphs.compile(topology, [nn.Identity()], dim=DIM)
    assert model.matrix().tolist() == [[0, 0], [2, 0]]
    assert model(torch.ones(1, DIM)).tolist() == [[2.0] * DIM]


def test_matrix_of_a_port():
    topology = Topology((Block(1, ("x0",), "y1"), Block(2, ("y1", "x0"), "y2", ("in", "memory"))), "y2", 2)
    model = graphs.compile(topology, [Recorder(), Recorder()], dim=DIM)
    assert model.matrix("memory").tolist() == topology.matrix("memory").tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 1]]


def test_pruned_blocks_stay_in_the_model():
    topology = Topology((Block(1, ("x0",), "a"), Block(2, ("x0",), "b"), Mix(("x0", "b"), ("o",), ones(1, 2))), "o", 2)
    blocks = [Smooth(), Smooth()]
    model = graphs.compile(topology, blocks, dim=DIM)
    assert len(model.blocks) == 2
    assert {key.split(".")[1] for key in model.state_dict()} == {"0", "1"}
    x = torch.ones(2, DIM)
    torch.testing.assert_close(model(x), x + blocks[1](x))


@pytest.mark.parametrize("convert", [lambda m: m.half(), lambda m: m.to(torch.bfloat16)])
def test_sixteen_bits(convert):
    torch.manual_seed(0)
    exact = graphs.compile(families.hyper(2, streams=2), [Smooth(), Smooth()], dim=DIM)
    model = convert(deepcopy(exact))
    assert {p.dtype for p in model.weights.parameters()} == {torch.float32}
    low = next(model.blocks.parameters()).dtype
    assert low in (torch.float16, torch.bfloat16)
    x = torch.linspace(-1, 1, 4 * DIM).reshape(4, DIM)
    out = model(x.to(low))
    assert out.dtype is low
    torch.testing.assert_close(out.float(), exact(x), rtol=0.02, atol=0.02)
    out.sum().backward()
    assert {p.grad.dtype for p in model.weights.parameters()} == {torch.float32}
    assert model.double().weights.width1.dtype is torch.float64


def test_autocast_equals_x_plus_f():
    torch.manual_seed(0)
    blocks = [Smooth(), Smooth()]
    x = torch.full((4, DIM), 100.3)
    plain = x
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for block in blocks:
            plain = plain + block(plain)
        for topology, n in ((families.residual(2), 1), (families.dense(2), 1), (families.hyper(2, streams=2), 2)):
            out = graphs.compile(topology, blocks, dim=DIM)(x)
            assert out.dtype is torch.float32
            torch.testing.assert_close(out, n * plain, rtol=1e-5, atol=1e-5)


class Bend(nn.Module):
    """A block without a matrix product, which autocast leaves as it is; it gives the dtype it gets."""

    def forward(self, *inputs, **kw):
        return torch.tanh(sum((i + 1) * u for i, u in enumerate(inputs)))


def _bent(seed, dtype=torch.float32):
    """A sample with blocks that bend, its weights moved off their start."""
    torch.manual_seed(seed)
    topology = sample(seed, **_options(seed))
    model = graphs.compile(topology, [Bend() for _ in range(topology.depth)], dim=DIM).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.to(dtype), torch.randn(2, 3, DIM, dtype=dtype)


@pytest.mark.parametrize("seed", range(0, 30, 2))
def test_autocast_leaves_samples_as_they_are(seed):
    """Nothing that computes or applies a weight is taken to 16 bits: the result is that without autocast."""
    model, x = _bent(seed)
    with torch.no_grad():
        expected = model(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = model(x)
    assert out.dtype is torch.float32
    assert torch.equal(out, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_samples_in_other_precisions(dtype):
    """Close to fp64, as far as the dtype goes: each value is rounded, and the weights are not."""
    low = 2 * torch.finfo(dtype).eps
    close = 0
    for seed in range(20):
        model, x = _bent(seed, torch.float64)
        other = deepcopy(model).float().to(dtype)
        assert {p.dtype for p in other.parameters()} <= {torch.float32}, "weights stay at least fp32"
        with torch.no_grad():
            expected, out = model(x.to(dtype).double()), other(x.to(dtype))
        assert out.dtype is dtype
        error = (out.double() - expected).abs().max() / (1 + expected.abs().max())
        assert error < 100 * low, f"sample {seed}"
        close += bool(error < 4 * low)
    assert close > 13, "rounding piles up in a few alone"


@pytest.mark.parametrize("seed", [0, 6, 16, 26, 36, 46, 56])
def test_copies_of_samples(seed):
    model, x = _bent(seed)
    expected = model(x)
    for copy in (deepcopy(model), pickle.loads(pickle.dumps(model)), deepcopy(pickle.loads(pickle.dumps(model)))):
        assert torch.equal(copy(x), expected)
        assert copy.plan.topology == model.plan.topology
        assert copy.plan.topology.ops == model.plan.topology.ops
        with torch.no_grad():
            for parameter in copy.parameters():
                parameter.add_(1.0)
    assert torch.equal(model(x), expected)


def test_copies_are_independent():
    torch.manual_seed(0)
    model = graphs.compile(families.ancre(3), [Smooth() for _ in range(3)], dim=DIM)
    x = torch.randn(2, DIM)
    expected = model(x)
    for copy in (deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(copy(x), expected)
        assert copy.plan.topology == model.plan.topology
        with torch.no_grad():
            copy.weights.gates3.add_(torch.tensor([[0.01, 0.0, -0.02]]))
        assert not torch.equal(copy(x), expected)
    assert torch.equal(model(x), expected)


@pytest.mark.parametrize("name", ["hyper", "ancre", "dense-period"])
def test_state_dict_round_trip(name):
    topology = FAMILIES[name]()
    torch.manual_seed(0)
    model = graphs.compile(topology, [Smooth() for _ in range(topology.depth)], dim=DIM)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    other = graphs.compile(topology, [Smooth() for _ in range(topology.depth)], dim=DIM)
    x = torch.randn(2, DIM)
    assert not torch.equal(other(x), model(x))
    other.load_state_dict(torch.load(buffer, weights_only=True), strict=True)
    assert torch.equal(other(x), model(x))
    assert all(key.startswith(("blocks.", "weights.")) for key in model.state_dict())
    assert not any("constant" in key or "fixed" in key or "mask" in key for key in model.state_dict())


def test_it_prints_what_it_is():
    model = graphs.compile(families.hyper(2, streams=2), [nn.Identity()] * 2, dim=DIM)
    assert "hyper(depth=2, streams=2), dim=4, impl='reference'" in repr(model)


def test_backward_twice_and_second_derivatives():
    model = graphs.compile(families.hyper(2, streams=2), [Smooth().double() for _ in range(2)], dim=DIM).double()
    x = _state(2, DIM)
    assert torch.autograd.gradgradcheck(model, (x,))


@pytest.mark.parametrize("name", ["residual", "hyper", "ancre"])
def test_torch_compile_equals_eager(name):
    topology = FAMILIES[name]()
    torch.manual_seed(0)
    model = graphs.compile(topology, [Smooth() for _ in range(topology.depth)], dim=DIM)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    x = torch.randn(2, DIM)
    results = []
    for call in (model, compiled):
        model.zero_grad()
        out = call(x, scale=0.5)
        out.pow(2).sum().backward()
        results.append([out.detach(), *(p.grad.clone() for p in model.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)
