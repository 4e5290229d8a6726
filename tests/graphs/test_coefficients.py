from contextlib import nullcontext
from copy import deepcopy
from fractions import Fraction as F

import pytest
import torch
from graph_oracles import full_tensors, torch_matrix
from graph_samples import FAMILIES, sample
from torch import nn

import graphs
from graphs import Block, CompileError, Constant, Mix, Parameter, Plan, Topology, UserError, families, rule_tensors
from graphs.coefficients import Coefficients
from graphs.cost import wiring_sizes
from graphs.plan import steps_of
from graphs.rule_tensors import lift
from graphs.topology import Norm
from graphs.weights import (
    CHANNEL,
    MATRIX,
    SCALAR,
    Bernoulli,
    Generated,
    Grain,
    Product,
    Softmax,
    Sum,
    Times,
    evaluate,
    ones,
    parameters,
)

MASKED = Parameter("m", ((1, 0), (F(1, 3), 2)), ((True, False), (False, True)))
PAIR = Topology(
    (
        Block(1, ("x0",), "y1"),
        Mix(("x0", "y1"), ("a", "b"), MASKED),
        Mix(("a", "b"), ("o",), Product(Softmax(Parameter("s", ((0, 1),)), 0.5), Constant(((1, 0.25), (0, F(1, 3)))))),
    ),
    "o",
    1,
)


def _plan(topology):
    """As it is, without a pass: the plan's mixes are the topology's."""
    return Plan(topology, steps_of(topology), topology)


def _weights(topology, dim=1):
    return Coefficients(_plan(topology), dim)


@pytest.mark.parametrize("seed", range(20))
def test_matrices_are_the_rules(seed):
    topology = sample(seed, uniform=False)
    plan = _plan(topology)
    weights = Coefficients(plan, 1).double().eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in weights.parameters():
            parameter.normal_()
    full = full_tensors(topology, {name: p.detach().double() for name, p in weights.named_parameters()}, 1)
    for name, rows in weights.values().items():
        torch.testing.assert_close(full[name].float(), torch.tensor(rows), rtol=1e-6, atol=0)
    for number, mix in enumerate(plan.mixes):
        got = weights(number, [], {})
        if isinstance(mix.weight, Constant):
            assert got is mix.weight.entries
            continue
        # Fixed matrices are buffers made at torch's default dtype, fp32: 1/3 is 1/3 to fp32.
        torch.testing.assert_close(got, torch_matrix(mix.weight, full, 1)[..., 0, 0], rtol=3e-7, atol=3e-7)
        exact = torch.tensor([[float(e) for e in row] for row in evaluate(mix.weight, weights.values())])
        torch.testing.assert_close(got.float(), exact, rtol=1e-6, atol=1e-6)


def _options(seed):
    """Which features a sample has, so that all of them meet."""
    return {"uniform": False, "per_token": seed % 2 == 0, "fine": seed % 3 > 0, "normed": seed % 5 == 1}


def test_matrices_of_every_rule():
    """At four channels and for each token, every entry a matrix on the channels; shapes are (*tokens, m, k, *entry)."""
    torch.set_default_dtype(torch.float64)
    try:
        for seed in range(40):
            topology = sample(seed, **_options(seed))
            plan = _plan(topology)
            weights = Coefficients(plan, 4, torch.Generator().manual_seed(seed)).eval()
            torch.manual_seed(seed)
            with torch.no_grad():
                for parameter in weights.parameters():
                    parameter.add_(torch.randn_like(parameter))
            full = full_tensors(topology, dict(weights.named_parameters()), 4)
            for number, mix in enumerate(plan.mixes):
                keys = [torch.randn(3, 4) for _ in mix.keys]
                got = weights(number, keys, {})
                if isinstance(mix.weight, Constant):
                    assert got is mix.weight.entries
                    continue
                grain = mix.weight.grain
                entry = () if grain == SCALAR else (grain.width(4),) * (2 if grain.full else 1)
                assert got.shape == (*((3,) if mix.weight.per_token else ()), *mix.weight.shape, *entry)
                expected = torch_matrix(mix.weight, full, 4, keys)
                torch.testing.assert_close(lift(got, grain, MATRIX, 4), expected, rtol=1e-11, atol=1e-11)
    finally:
        torch.set_default_dtype(torch.float32)


def test_what_is_stored_is_what_is_counted():
    for seed in range(30):
        topology = sample(seed, **_options(seed))
        plan = _plan(topology)
        stored = {name: parameter.numel() for name, parameter in Coefficients(plan, 4).named_parameters()}
        assert sum(stored.values()) == sum(wiring_sizes(plan, 4).values())
        for name, size in wiring_sizes(plan, 4).items():
            assert size == sum(stored.get(name + end, 0) for end in ("", "_map", "_gain", "_hidden", "_bias"))


def _generated(**kw):
    rule = Generated(**{"name": "g", "outputs": (2, 3), "keys": (0, 1, 2), **kw})
    ops = (
        Block(1, ("x0",), "y1"),
        Block(2, ("y1",), "y2"),
        Mix(("x0", "y1", "y2"), ("a", "b"), rule, ("x0", "y1", "y2")),
        Mix(("a", "b"), ("o",), Constant(((1, 2),))),
    )
    return Topology(ops, "o", 2)


def test_first_values_of_what_is_computed():
    weights = _weights(_generated(hidden=500, gain=True, start="normal", group="tenth"), 64)
    assert weights.g_gain.tolist() == [1.0] * 192
    assert weights.g_hidden.shape == (500, 192)
    assert weights.g_map.shape == (6, 500)
    for tensor, fan_in in ((weights.g_hidden, 192), (weights.g_map, 500)):
        assert abs(tensor.mean()) < 4 / (tensor.numel() * fan_in) ** 0.5
        assert abs(tensor.var() * fan_in - 1) < 6 / tensor.numel() ** 0.5
    assert [(p.lr_scale, p.no_weight_decay) for p in weights.parameters()] == [(1.0, True), (0.1, True), (0.1, True)]
    zero = _weights(_generated(), 64)
    assert not zero.g_map.any()
    assert [(p.lr_scale, p.no_weight_decay) for p in zero.parameters()] == [(1.0, False)], "maps decay by default"
    each = _weights(_generated(each=True, gain=True, grain=Grain(4, True)), 64)
    assert {name: tuple(p.shape) for name, p in each.named_parameters()} == {"g_gain": (16,), "g_map": (8, 16)}


def test_random_first_values_come_from_the_generator():
    def drawn(seed):
        plan = _plan(_generated(hidden=3, start="normal"))
        return torch.cat([p.flatten() for p in Coefficients(plan, 4, torch.Generator().manual_seed(seed)).parameters()])

    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert torch.equal(drawn(5), drawn(5))
    assert not torch.equal(drawn(5), drawn(6))
    assert torch.equal(torch.get_rng_state(), before), "torch's own generator is left alone"
    plan = _plan(_generated(hidden=3, start="normal"))
    torch.manual_seed(1)
    one = Coefficients(plan, 4).g_map
    torch.manual_seed(1)
    assert torch.equal(Coefficients(plan, 4).g_map, one)
    assert not torch.equal(Coefficients(plan, 4).g_map, one)


def test_finer_parameters_start_as_multiples_of_the_identity():
    eye = torch.eye(4)
    for grain, one in (
        (CHANNEL, torch.ones(4)),
        (MATRIX, eye),
        (Grain(2), torch.ones(2)),
        (Grain(2, True), eye[:2, :2]),
    ):
        rule = Parameter("p", ((2, -0.5), (0, 3)), ((True, False), (True, True)), grain=grain)
        ops = (Block(1, ("x0",), "y1"), Mix(("x0", "y1"), ("a", "b"), rule), Mix(("a", "b"), ("o",), ones(1, 2)))
        weights = _weights(Topology(ops, "o", 1), 4)
        assert weights.p.shape == (3, *one.shape)
        assert torch.equal(weights.p, torch.stack([2 * one, 0 * one, 3 * one]))
        now = weights(0, [], {})
        assert torch.equal(now, torch.stack([torch.stack([2 * one, -0.5 * one]), torch.stack([0 * one, 3 * one])]))
        now.sum().backward()
        assert torch.equal(weights.p.grad, torch.ones_like(weights.p)), "off the diagonal too, but not what is fixed"
        assert weights.values()["p"] == ((2.0, -0.5), (0.0, 3.0))
        with torch.no_grad():
            weights.p[0] += torch.arange(one.numel()).reshape(one.shape)
        mean = (torch.arange(one.numel()).reshape(one.shape) * one).sum() / one.shape[0]
        assert weights.values()["p"][0][0] == 2 + mean.item(), "the mean gain"
        assert weights.values()["p"][0][1] == -0.5


def _dropped(first, second):
    ops = (
        Block(1, ("x0",), "y1"),
        Mix(("x0", "y1"), ("a",), first),
        Mix(("a", "y1"), ("b",), Times(Parameter("p", ((1, 1),)), second)),
    )
    return Topology(ops, "b", 1)


def test_draws_are_ones_and_zeros_anew_each_step():
    half = Bernoulli("b", ((F(1, 2), 1),))
    weights = _weights(_dropped(half, half)).train()
    torch.manual_seed(0)
    seen = []
    for _ in range(400):
        memo = {}
        one, other = weights(0, [], memo), weights(1, [], memo)
        assert torch.equal(one, other), "one name is one draw a step, for all mixes"
        assert one[0, 1] == 1
        seen.append(one[0, 0].item())
    assert set(seen) == {0.0, 1.0}
    assert 160 < sum(seen) < 240
    other.sum().backward()
    assert torch.equal(weights.p.grad, one), "what is dropped gets no gradient"
    weights.eval()
    assert weights(0, [], {}).tolist() == weights(0, [], {}).tolist() == [[0.5, 1]]
    apart = _weights(_dropped(half, Bernoulli("c", half.keep))).train()
    pairs = set()
    for _ in range(60):
        memo = {}
        pairs.add((apart(0, [], memo)[0, 0].item(), apart(1, [], memo)[0, 0].item()))
    assert len(pairs) == 4, "two names are two draws"


def test_what_several_mixes_share_is_worked_out_once_a_step(monkeypatch):
    p = Parameter("p", ((0, 1),))
    shared, seen = Softmax(p), Generated("g", (1, 2), (0,), start="normal")
    ops = (
        Block(1, ("x0",), "y1"),
        Mix(("x0", "y1"), ("a",), Sum((shared, seen)), ("x0",)),
        Mix(("x0", "y1"), ("b",), Sum((shared, seen)), ("y1",)),
        Mix(("a", "b"), ("o",), Sum((Softmax(p), ones(1, 2)))),
    )
    weights = _weights(Topology(ops, "o", 1), 4)
    calls = []
    combine = rule_tensors.combine
    monkeypatch.setattr(rule_tensors, "combine", lambda rule, *args: calls.append(type(rule)) or combine(rule, *args))
    memo = {}
    x, y = torch.randn(3, 4), torch.randn(3, 4)
    one, other = weights(0, [x], memo), weights(1, [y], memo)
    weights(2, [], memo)
    assert calls.count(Softmax) == 1
    assert calls.count(Sum) == 3, "what looks at keys is each mix's own"
    assert not torch.equal(one, other)
    assert torch.equal(weights(1, [y], {}), other)
    assert torch.equal(weights(0, [y], memo), other)


def _normed(kind, *, second="n", name="p"):
    ops = (
        Block(1, ("x0",), "y1"),
        Mix(("x0", "y1"), ("a",), Parameter(name, ((1, 1),)), norm=Norm("n", kind)),
        Mix(("a", "y1"), ("b",), ones(1, 2), norm=Norm(second, kind)),
    )
    return Topology(ops, "b", 1)


def test_norms_and_their_ties():
    tied, apart = _weights(_normed("layer"), 4), _weights(_normed("layer", second="m"), 4)
    assert set(tied.state_dict()) == {"p", "n_gain", "n_bias"}
    assert set(apart.state_dict()) == {"p", "n_gain", "n_bias", "m_gain", "m_bias"}
    assert set(_weights(_normed("rms"), 4).state_dict()) == {"p", "n_gain"}
    assert all(p.no_weight_decay for p in apart.parameters())
    x = torch.tensor([[1.0, 2.0, 3.0, 6.0]])
    with torch.no_grad():
        apart.n_gain.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        apart.n_bias.fill_(0.5)
    scale = (torch.tensor([-2.0, -1, 0, 3]).square().mean() + 1e-5).sqrt()
    expected = torch.tensor([[-2.0, -1, 0, 3]]) / scale
    torch.testing.assert_close(apart.norm(0, x), expected * torch.tensor([1.0, 2, 3, 4]) + 0.5)
    torch.testing.assert_close(apart.norm(1, x), expected)
    plain = _weights(_edge_topology(), 4)
    assert plain.norm(0, x) is x, "a mix without a norm"


def _edge_topology():
    return Topology((Block(1, ("x0",), "y1"), Mix(("x0", "y1"), ("o",), Parameter("p", ((1, 1),)))), "o", 1)


@pytest.mark.parametrize("kind", ["rms", "layer"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_norms_of_sixteen_bits_are_taken_in_fp32(kind, dtype):
    """The gain stays fp32, and only the result is rounded."""
    weights = _weights(_normed(kind), 4).to(dtype)
    with torch.no_grad():
        weights.n_gain.fill_(1 + 2**-11)
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    exact = deepcopy(weights).double().norm(0, x.double())
    for context in (nullcontext(), torch.autocast("cpu", dtype=torch.bfloat16)):
        with context:
            got = weights.norm(0, x)
        assert got.dtype is dtype
        torch.testing.assert_close(got, exact.to(dtype), rtol=torch.finfo(dtype).eps, atol=0)
        assert (got == exact.to(dtype)).float().mean() > 0.95


@pytest.mark.parametrize("name", ["n_gain", "n_bias"])
def test_a_norm_does_not_take_over_a_parameter(name):
    with pytest.raises(CompileError, match=f"parameter name '{name}' is taken"):
        _weights(_normed("layer", name=name), 2)


@pytest.mark.parametrize(
    "weight",
    [
        Parameter("p", ((1, 1),), grain=Grain(3)),
        Parameter("p", ((1, 1),), grain=Grain(8, True)),
        Sum((ones(1, 2), Softmax(Parameter("p", ((1, 1),), grain=Grain(3))))),
        Generated("p", (1, 2), (0, 1), each=True, grain=Grain(3)),
    ],
)
def test_channels_that_cannot_be_cut_name_the_parameter(weight):
    keys = ("x0", "y1") if weight.per_token else ()
    topology = Topology((Block(1, ("x0",), "y1"), Mix(("x0", "y1"), ("o",), weight, keys)), "o", 1)
    with pytest.raises(UserError, match=r"parameter p: 4 channels cannot be cut into . equal parts"):
        graphs.compile(topology, [nn.Identity()], dim=4)


def test_only_learned_entries_are_parameters():
    weights = _weights(PAIR)
    assert {name: p.tolist() for name, p in weights.named_parameters()} == {"m": [1, 2], "s": [[0, 1]]}
    assert list(weights.state_dict()) == ["m", "s"]
    assert all(p.no_weight_decay and p.lr_scale == 1 for p in weights.parameters())
    weights(0, [], {}).sum().backward()
    assert weights.m.grad.tolist() == [1, 1]
    torch.testing.assert_close(weights(0, [], {}), torch.tensor([[1, 0], [1 / 3, 2]]))
    with torch.no_grad():
        weights.m.copy_(torch.tensor([5.0, 7.0]))
    torch.testing.assert_close(weights(0, [], {}), torch.tensor([[5, 0], [1 / 3, 7]]))
    assert weights.values()["m"][0] == (5.0, 0.0)


def test_tied_parameters_are_one():
    p = Parameter("p", ((1, 1),))
    ops = (Block(1, ("x0",), "y1"), Mix(("x0", "y1"), ("a",), p), Mix(("a", "y1"), ("o",), p))
    weights = _weights(Topology(ops, "o", 1))
    assert [name for name, _ in weights.named_parameters()] == ["p"]
    (weights(0, [], {}) + weights(1, [], {})).sum().backward()
    assert weights.p.grad.tolist() == [[2, 2]]


@pytest.mark.parametrize("convert", [lambda m: m.half(), lambda m: m.to(torch.bfloat16), lambda m: m.bfloat16()])
def test_sixteen_bits_leave_coefficients_alone(convert):
    weights = convert(_weights(PAIR))
    assert {tensor.dtype for tensor in [*weights.parameters(), *weights.buffers()]} == {torch.float32, torch.bool}
    assert weights(1, [], {}).dtype is torch.float32
    double = convert(_weights(PAIR).double())
    assert double(0, [], {}).dtype is double(1, [], {}).dtype is torch.float64
    inside = convert(nn.Sequential(nn.Linear(2, 2), _weights(PAIR)))
    assert inside[0].weight.dtype is not torch.float32
    assert inside[1].m.dtype is torch.float32


def test_double_and_back():
    weights = _weights(PAIR).double()
    assert weights(0, [], {}).dtype is weights(1, [], {}).dtype is torch.float64
    assert weights.float()(1, [], {}).dtype is torch.float32
    assert weights.to(torch.float64).m.dtype is torch.float64


def test_other_moves_reach_the_coefficients():
    weights = _weights(PAIR).to(device="meta", dtype=torch.bfloat16)
    assert {(t.device.type, t.dtype) for t in weights.parameters()} == {("meta", torch.float32)}
    assert {t.device.type for t in weights.buffers()} == {"meta"}
    shared = _weights(PAIR).share_memory()
    assert all(parameter.is_shared() for parameter in shared.parameters())


@pytest.mark.parametrize(
    ("default", "made"),
    [(torch.float64, torch.float64), (torch.float32, torch.float32), (torch.bfloat16, torch.float32)],
)
def test_new_parameters_have_the_default_dtype_and_at_least_fp32(default, made):
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        weights = _weights(PAIR)
        assert {t.dtype for t in [*weights.parameters(), *weights.buffers()]} == {made, torch.bool}
    finally:
        torch.set_default_dtype(before)


def test_autocast_does_not_lower_the_precision():
    weights = _weights(PAIR)
    expected = weights(1, [], {})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(weights(1, [], {}), expected)


@pytest.mark.parametrize("name", ["values", "forward", "train", "half", "training", "norm", "dim"])
def test_names_that_torch_has_taken_are_refused(name):
    topology = Topology((Block(1, ("x0",), "y1"), Mix(("x0", "y1"), ("o",), Parameter(name, ((1, 1),)))), "o", 1)
    with pytest.raises(CompileError, match=f"parameter name '{name}' is taken"):
        graphs.compile(topology, [nn.Identity()], dim=2)


@pytest.mark.parametrize("name", FAMILIES)
def test_names_of_families_are_free(name):
    topology = FAMILIES[name]()
    names = {key for key, _ in _weights(topology, 12).named_parameters()}
    assert names >= {rule.name for mix in topology.mixes for rule in parameters(mix.weight)}


def test_softmax_over_destinations_and_sums():
    logits = Parameter("l", ((0, 1), (2, -1)))
    rule = Sum((Constant(((1, 0), (0, 1))), Softmax(logits, 2.0, "destinations")))
    topology = Topology(
        (Block(1, ("x0",), "y1"), Mix(("x0", "y1"), ("a", "b"), rule), Mix(("a", "b"), ("o",), Constant(((1, 2),)))),
        "o",
        1,
    )
    weights = _weights(topology).double()
    gates = torch.exp(torch.tensor([[0, 1], [2, -1]], dtype=torch.float64) / 2)
    torch.testing.assert_close(
        weights(0, [], {}), torch.eye(2, dtype=torch.float64) + gates / gates.sum(0), rtol=1e-12, atol=0
    )


def test_hyper_keeps_the_carried_streams_fixed():
    weights = _weights(families.hyper(2, streams=2))
    assert {name: p.shape for name, p in weights.named_parameters()} == {
        "width1": (3, 2),
        "depth1": (2,),
        "width2": (3, 2),
        "depth2": (2,),
    }
