from fractions import Fraction as F

import pytest
import torch
from graph_oracles import full_tensors, torch_matrix
from graph_samples import FAMILIES, sample
from torch import nn

import graphs
from graphs import Block, CompileError, Constant, Mix, Parameter, Plan, Topology, families
from graphs.coefficients import Coefficients
from graphs.plan import steps_of
from graphs.weights import Product, Softmax, Sum, evaluate, parameters

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


@pytest.mark.parametrize("name", ["values", "forward", "train", "half", "training"])
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
