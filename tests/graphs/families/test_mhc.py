import itertools
import math

import numpy as np
import pytest
import torch
from papers import assert_is_the_paper, compiled, rms_norm, sizes

import graphs
from graphs import TopologyError, families
from graphs.facts import start_up
from graphs.weights import generators, parameters

MIXINGS = ["sinkhorn", "permutations", "identity"]


def paper(n, mixing, *, dynamic=True, iterations=20, copies=False):
    """X_next = H_res X + H_post^T y, y = T(H_pre X), every mapping from one RMS-normed vector of all streams."""

    def forward(blocks, w, x0):
        state = torch.stack([x0] * n, dim=-2) if copies else w["expand"] * x0[..., None, :]
        for k, block in enumerate(blocks, start=1):
            flat = rms_norm(state.flatten(-2))

            def logits(what, k=k, flat=flat):
                b = w[f"{what}{k}"]
                if not dynamic:
                    return b.expand(*flat.shape[:-1], *b.shape)
                phi = w[f"dynamic_{what}{k}_map"].T  # (n d, outputs)
                return w[f"{what}_scale{k}"][0, 0] * (flat @ phi).reshape(*flat.shape[:-1], *b.shape) + b

            pre = 1 / (1 + torch.exp(-logits("read")))  # (..., 1, n)
            post = 2 / (1 + torch.exp(-logits("write")))  # (..., n, 1)
            if mixing == "sinkhorn":
                res = torch.exp(logits("residual"))
                for _ in range(iterations):
                    res = res / res.sum(-2, keepdim=True)  # T_col
                    res = res / res.sum(-1, keepdim=True)  # T_row
            elif mixing == "permutations":
                orders = torch.tensor(list(itertools.permutations(range(n))))
                matrices = torch.eye(n, dtype=torch.float64)[orders]  # (n!, n, n)
                shares = torch.softmax(logits("residual")[..., 0, :], -1)
                res = torch.einsum("...s,sij->...ij", shares, matrices)
            else:
                res = torch.eye(n, dtype=torch.float64)
            y = block((pre @ state)[..., 0, :])
            state = res @ state + post * y[..., None, :]
        return torch.einsum("s,...sd->...d", w["collapse"][0], state)

    return forward


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("mixing", MIXINGS)
@pytest.mark.parametrize(("depth", "n"), [(1, 2), (3, 2), (4, 3), (2, 4)])
def test_it_is_the_paper_s(depth, n, mixing, dynamic):
    topology = families.mhc(depth, streams=n, mixing=mixing, dynamic=dynamic, expand="learned", collapse="learned")
    assert_is_the_paper(topology, paper(n, mixing, dynamic=dynamic))


@pytest.mark.parametrize("mixing", MIXINGS)
def test_mixing_copies_changes_nothing(mixing):
    topology = families.mhc(2, streams=3, mixing=mixing, collapse="learned")
    idle = () if mixing == "identity" else ("residual1", "residual_scale1", "dynamic_residual1")
    assert_is_the_paper(topology, paper(3, mixing, copies=True), idle=idle)


def test_the_sum_of_streams_mixed_by_permutations_is_their_sum():
    """With the usual collapse the mixing of the last block is idle: its columns sum to one."""
    model = compiled(families.mhc(2, streams=3, mixing="permutations", expand="learned"), 8)
    model(torch.randn(3, 8, dtype=torch.float64)).square().sum().backward()
    grads = {name: weight.grad.abs().max().item() for name, weight in model.weights.named_parameters()}
    assert max(grads[f"{name}2"] for name in ("residual", "residual_scale")) < 1e-12 * max(grads.values())
    assert min(grads[f"{name}1"] for name in ("residual", "residual_scale")) > 1e-6 * max(grads.values())


def test_iterations():
    topology = families.mhc(3, streams=3, iterations=2, expand="learned", collapse="learned")
    assert_is_the_paper(topology, paper(3, "sinkhorn", iterations=2))


@pytest.mark.parametrize("mixing", MIXINGS)
@pytest.mark.parametrize(("depth", "n"), [(1, 1), (3, 2), (2, 4)])
def test_count_of_weights(depth, n, mixing):
    d = 10
    square = {"sinkhorn": n * n, "permutations": math.factorial(n), "identity": 0}[mixing]
    maps = square + 2 * n
    scales = 2 if mixing == "identity" else 3
    assert sizes(families.mhc(depth, streams=n, mixing=mixing), d) == depth * (maps * (n * d + 1) + scales)
    assert sizes(families.mhc(depth, streams=n, mixing=mixing, dynamic=False), d) == depth * maps


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("mixing", MIXINGS)
@pytest.mark.parametrize(("depth", "n"), [(1, 2), (5, 4), (3, 1)])
def test_it_starts_as_the_residual_network_up_to_a_factor_per_reader(depth, n, mixing, dynamic):
    matrix = families.mhc(depth, streams=n, mixing=mixing, dynamic=dynamic).matrix()
    factor = 1 / (1 + math.exp(-1)) + (n - 1) / (1 + math.exp(1))
    expected = np.tri(depth + 1) * factor
    expected[-1] = n
    np.testing.assert_allclose(matrix, expected, rtol=1e-14)


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("mixing", MIXINGS)
def test_start_up_facts(mixing, dynamic):
    facts = start_up(families.mhc(5, streams=3, mixing=mixing, dynamic=dynamic))
    assert (facts.residual, facts.dead) == ("scaled", 0)
    assert start_up(families.mhc(2, streams=3, mixing=mixing, dynamic=dynamic)).dead > 0, "fewer blocks than streams"


def test_no_two_streams_start_alike():
    """The gradients of the write weights differ between streams: there is no dead symmetry to break."""
    for mixing in MIXINGS:
        model = compiled(families.mhc(5, streams=4, mixing=mixing), 8, noise=0.0)
        model(torch.randn(3, 8, dtype=torch.float64)).square().sum().backward()
        grad = model.weights.write1.grad.flatten()
        assert (grad[:, None] - grad[None, :]).abs().fill_diagonal_(1).min() > 1e-6 * grad.abs().max()


def test_initial_values():
    rules = {p.name: p for mix in families.mhc(4, streams=3, scale=0.02).mixes for p in parameters(mix.weight)}
    for k, read in ((1, (1, -1, -1)), (2, (-1, 1, -1)), (3, (-1, -1, 1)), (4, (1, -1, -1))):
        assert rules[f"read{k}"].initial == (read,)
        assert rules[f"write{k}"].initial == ((0,),) * 3
        assert rules[f"residual{k}"].initial == ((0, -8, -8), (-8, 0, -8), (-8, -8, 0))
        assert {rules[f"{what}_scale{k}"].initial for what in ("read", "write", "residual")} == {((0.02,),)}
    lite = {p.name: p for m in families.mhc(1, streams=3, mixing="permutations").mixes for p in parameters(m.weight)}
    assert lite["residual1"].initial == ((0, -8, -8, -8, -8, -8),)
    for mixing in MIXINGS:
        for generated in (g for m in families.mhc(2, mixing=mixing).mixes for g in generators(m.weight)):
            assert (generated.norm, generated.gain, generated.start, generated.each) == ("rms", False, "zeros", False)
            assert generated.keys == (0, 1, 2, 3)


def test_mixtures_of_permutations_are_doubly_stochastic_exactly_and_sinkhorn_nearly():
    for mixing, columns in (("permutations", 1e-14), ("sinkhorn", 0.05)):
        model = compiled(families.mhc(2, streams=4, mixing=mixing), 8, noise=2.0)
        op = next(mix for mix in model.plan.mixes if len(mix.writes) == 5 and len(mix.reads) == 4)
        keys = [torch.randn(7, 8, dtype=torch.float64) for _ in range(4)]
        matrix = model.weights(model.plan.mixes.index(op), keys, {})[:, 1:]
        torch.testing.assert_close(matrix.sum(-1), torch.ones(7, 4).double(), rtol=1e-12, atol=0)
        torch.testing.assert_close(matrix.sum(-2), torch.ones(7, 4).double(), rtol=columns, atol=0)


def test_settings_build_it_again():
    assert dict(families.mhc(2).settings) == {"streams": 4, "mixing": "sinkhorn", "iterations": 20, "scale": 0.01}
    for settings in (
        {"mixing": "permutations", "streams": 3},
        {"mixing": "identity", "dynamic": False, "expand": "first"},
        {"iterations": 3, "scale": 0.1, "collapse": "learned"},
    ):
        topology = families.mhc(2, **settings)
        assert dict(topology.settings).items() >= settings.items()
        assert families.mhc(2, **dict(topology.settings)) == topology != families.mhc(2)
    one, other = (families.mhc(2, iterations=count) for count in (19, 20))
    assert one != other


@pytest.mark.parametrize(
    "bad",
    [
        {"streams": 0},
        {"streams": 17},
        {"streams": True},
        {"streams": 6, "mixing": "permutations"},
        {"mixing": "cayley"},
        {"scale": 0},
        {"expand": "twice"},
        {"collapse": "max"},
    ],
)
def test_bad_arguments(bad):
    name, value = next(iter(bad.items()))
    with pytest.raises(TopologyError, match=f"{name} is {value!r}; (.* expected|at most 5)"):
        families.mhc(2, **bad)
    with pytest.raises(TopologyError, match="0 Sinkhorn iterations; at least 1 was expected"):
        families.mhc(2, iterations=0)


def test_it_runs_in_single_precision_with_extreme_logits():
    model = graphs.compile(families.mhc(2), [torch.nn.Identity()] * 2, dim=8)
    with torch.no_grad():
        model.weights.residual1 += 200 * torch.randn(4, 4)
    assert torch.isfinite(model(torch.randn(3, 8))).all()
