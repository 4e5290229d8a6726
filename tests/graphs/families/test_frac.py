import pytest
import torch
from papers import assert_is_the_paper, layer_norm, rms_norm, sizes

import graphs
from graphs import TopologyError, families
from graphs.facts import start_up
from graphs.matrix import connection_rows
from graphs.weights import generators


def paper(m, *, dynamic=False, tanh=True, norm=rms_norm):
    """u = reshape(Y^T X), X_next = diag(B) reshape(y) + A^T X with source-first matrices over the m fractions."""

    def forward(blocks, w, x0):
        state = x0.unflatten(-1, (m, -1))  # X: (..., m, d / m)
        for k, block in enumerate(blocks, start=1):
            width = w[f"width{k}"].reshape(2, m, m)  # [Y, A], destination first
            y_a = torch.cat([width[0].T, width[1].T], dim=-1)  # (m, 2 m), source first
            beta = w[f"depth{k}"].reshape(m)
            if dynamic:
                bend = torch.tanh if tanh else (lambda x: x)
                seen = norm(state)
                maps = w[f"dynamic_width{k}_map"]  # (2 m, d / m): what a fraction gives to Y's and to A's columns
                y_a = y_a + w[f"width_scale{k}"][0, 0] * bend(seen @ maps.T)
                beta = beta + w[f"depth_scale{k}"][0, 0] * bend(seen @ w[f"dynamic_depth{k}_map"][0])
            mixed = y_a.transpose(-1, -2) @ state
            y = block(mixed[..., :m, :].flatten(-2))
            state = beta[..., None] * y.unflatten(-1, (m, -1)) + mixed[..., m:, :]
        return state.flatten(-2)

    return forward


@pytest.mark.parametrize("m", [1, 2, 4, 8])
def test_static_weights_are_the_paper_s(m):
    assert_is_the_paper(families.frac(3, fractions=m), paper(m))


@pytest.mark.parametrize("norm", ["layer", "rms"])
@pytest.mark.parametrize("tanh", [True, False])
@pytest.mark.parametrize("m", [1, 2, 3])
def test_dynamic_weights_are_the_paper_s(m, tanh, norm):
    topology = families.frac(3, fractions=m, dynamic=True, tanh=tanh, norm=norm)
    norms = {"layer": layer_norm, "rms": rms_norm}
    assert_is_the_paper(topology, paper(m, dynamic=True, tanh=tanh, norm=norms[norm]), dim=12)


@pytest.mark.parametrize(("depth", "m"), [(1, 1), (3, 2), (2, 4), (3, 6)])
def test_count_of_weights(depth, m):
    d = 24
    assert sizes(families.frac(depth, fractions=m), d) == depth * m * (2 * m + 1)
    more = (d // m) * (2 * m + 1) + 2
    assert sizes(families.frac(depth, fractions=m, dynamic=True), d) == depth * (m * (2 * m + 1) + more)


def test_the_published_counts():
    """16 layers of two sub-layers, 2048 channels, m = 4: 1,152 static and 165,056 dynamic, the latter with the gains
    of the norms, 512 a sub-layer, which we leave to the maps."""
    assert sizes(families.frac(32), 2048) == 1152
    assert sizes(families.frac(32, dynamic=True), 2048) == 148_672
    assert 148_672 + 32 * 512 == 165_056


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize(("depth", "m"), [(1, 1), (3, 2), (4, 4)])
def test_it_starts_as_the_residual_network(depth, m, dynamic):
    topology = families.frac(depth, fractions=m, dynamic=dynamic)
    expected = [dict.fromkeys(range(r + 1), 1) for r in range(depth + 1)]
    assert [dict(row) for row in connection_rows(topology)] == expected
    torch.manual_seed(0)
    blocks = [torch.nn.Linear(8, 8) for _ in range(depth)]
    x = torch.randn(2, 8)
    plain = graphs.compile(families.residual(depth), blocks, dim=8)(x)
    torch.testing.assert_close(graphs.compile(topology, blocks, dim=8)(x), plain)


@pytest.mark.parametrize("dynamic", [True, False])
def test_start_up_facts(dynamic):
    facts = start_up(families.frac(4, dynamic=dynamic))
    assert (facts.residual, facts.dead, facts.redundant) == ("yes", 0, 0)


def test_one_fraction_is_one_stream():
    assert families.frac(3, fractions=1) == families.hyper(3, streams=1)
    assert families.frac(3, fractions=1, dynamic=True) == families.hyper(3, streams=1, dynamic=True, norm="rms")
    assert families.frac(3, fractions=2) != families.frac(3, fractions=4)


def test_initial_values_and_settings():
    topology = families.frac(2, fractions=2, dynamic=True)
    for generated in (g for mix in topology.mixes for g in generators(mix.weight)):
        assert (generated.start, generated.group, generated.norm, generated.gain) == ("zeros", "decayed", "rms", False)
    model = graphs.compile(topology, [torch.nn.Identity()] * 2, dim=8)
    assert model.weights.width1.tolist() == [[[[1, 0], [0, 1]]]] * 2
    assert model.weights.depth1.tolist() == [[[1, 1]]]
    assert model.weights.width_scale2.item() == pytest.approx(0.01)
    assert families.frac(2).settings == (("fractions", 4),)
    expected = {"fractions": 2, "dynamic": True, "tanh": True, "scale": 0.01, "norm": "rms"}
    assert dict(topology.settings) == expected
    assert families.frac(2, **expected) == topology


@pytest.mark.parametrize(
    "bad",
    [{"fractions": 0}, {"fractions": 17}, {"fractions": True}, {"fractions": 2.0}, {"norm": "no"}, {"scale": -1}],
)
def test_bad_arguments(bad):
    ((name, value),) = bad.items()
    with pytest.raises(TopologyError, match=f"{name} is {value!r}; .* expected"):
        families.frac(3, **bad)


def test_channels_that_cannot_be_cut():
    with pytest.raises(TopologyError, match="6 channels cannot be cut into 4 equal parts"):
        graphs.compile(families.frac(1), [torch.nn.Identity()], dim=6)
