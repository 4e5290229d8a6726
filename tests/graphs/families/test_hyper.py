import itertools

import numpy as np
import pytest
import torch
from papers import assert_is_the_paper, layer_norm, rms_norm, sizes

from graphs import TopologyError, families
from graphs.facts import start_up
from graphs.matrix import connection_rows
from graphs.weights import generators, parameters


def _published(depth, n, width, write):
    """u = A_m^T X, X' = A_r^T X, X_next = B^T y + X' with the paper's source-first matrices, X_1 = n copies."""
    unit = np.eye(depth + 1)
    state, reads = np.stack([unit[0]] * n), []
    for k in range(1, depth + 1):
        a_m, a_r = width[k][0][:, None], width[k][1:].T  # stored destination first
        reads.append((a_m.T @ state)[0])
        state = write[k][None, :].T @ unit[k][None, :] + a_r.T @ state
    return np.stack([*reads, state.sum(0)])


@pytest.mark.parametrize(("depth", "n"), [(1, 1), (1, 3), (3, 2), (4, 4), (5, 3)])
def test_the_published_recursion_at_random_weights(depth, n):
    topology = families.hyper(depth, streams=n)
    rng = np.random.default_rng(n)
    width = {k: rng.standard_normal((n + 1, n)) for k in range(1, depth + 1)}
    write = {k: rng.standard_normal(n) for k in range(1, depth + 1)}
    values = {}
    for k in range(1, depth + 1):
        values[f"width{k}"] = tuple(map(tuple, width[k].tolist()))
        values[f"depth{k}"] = tuple((b, *row) for b, row in zip(write[k].tolist(), np.eye(n).tolist(), strict=True))
    rows = connection_rows(topology, values)
    got = np.array([[float(row.get(j, 0)) for j in range(depth + 1)] for row in rows])
    np.testing.assert_allclose(got, _published(depth, n, width, write), rtol=1e-12, atol=1e-13)


def paper(n, *, dynamic=False, tanh=True, norm=layer_norm, expand="copy", collapse="sum"):
    """Equations 2 to 6 and the dynamic form: one (n + 1) x (n + 1) matrix [[0, B], [A_m, A_r]] per token, the source
    first, its static part read from the model's destination-first one."""

    def forward(blocks, w, x0):
        first = {"copy": torch.ones(n).double(), "first": torch.eye(n).double()[0]}
        gains = w["expand"][:, 0] if expand == "learned" else first[expand]
        state = torch.einsum("s,...d->...sd", gains, x0)  # (..., n, d)
        for k, block in enumerate(blocks, start=1):
            alpha = w[f"width{k}"].T  # (n sources, 1 + n): A_m first
            beta = w[f"depth{k}"]  # (n,)
            if dynamic:
                bend = torch.tanh if tanh else (lambda x: x)
                seen = norm(state)
                alpha = alpha + w[f"width_scale{k}"][0, 0] * bend(seen @ w[f"dynamic_width{k}_map"].T)
                beta = beta + w[f"depth_scale{k}"][0, 0] * bend(seen @ w[f"dynamic_depth{k}_map"][0])
            mixed = alpha.transpose(-1, -2) @ state  # (..., 1 + n, d)
            y = block(mixed[..., 0, :])
            state = torch.einsum("...s,...d->...sd", beta.expand(*y.shape[:-1], n), y) + mixed[..., 1:, :]
        ends = {"sum": torch.ones(n).double(), "mean": torch.full((n,), 1 / n, dtype=torch.float64)}
        weights = w["collapse"][0] if collapse == "learned" else ends[collapse]
        return torch.einsum("s,...sd->...d", weights, state)

    return forward


@pytest.mark.parametrize("norm", ["layer", "rms"])
@pytest.mark.parametrize("tanh", [True, False])
@pytest.mark.parametrize(("depth", "n"), [(1, 2), (4, 3), (3, 4)])
def test_dynamic_weights_are_the_paper_s(depth, n, tanh, norm):
    topology = families.hyper(depth, streams=n, dynamic=True, tanh=tanh, norm=norm)
    norms = {"layer": layer_norm, "rms": rms_norm}
    assert_is_the_paper(topology, paper(n, dynamic=True, tanh=tanh, norm=norms[norm]))


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize(
    ("expand", "collapse"), list(itertools.product(["copy", "first", "learned"], ["sum", "mean", "learned"]))
)
def test_both_ends(expand, collapse, dynamic):
    topology = families.hyper(3, streams=3, dynamic=dynamic, expand=expand, collapse=collapse)
    assert_is_the_paper(topology, paper(3, dynamic=dynamic, expand=expand, collapse=collapse))


@pytest.mark.parametrize(("depth", "n"), [(1, 1), (3, 2), (2, 4), (6, 4)])
def test_count_of_weights(depth, n):
    d = 10
    assert sizes(families.hyper(depth, streams=n), d) == depth * n * (n + 2)
    assert sizes(families.hyper(depth, streams=n, dynamic=True), d) == depth * (d * (n + 2) + n * (n + 2) + 2)
    assert (
        sizes(families.hyper(depth, streams=n, expand="learned", collapse="learned"), d) == depth * n * (n + 2) + 2 * n
    )


def test_the_published_counts():
    """16 layers of two sub-layers, 2048 channels."""
    assert sizes(families.hyper(32), 2048) == 768
    assert sizes(families.hyper(32, dynamic=True), 2048) == 394_048


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize(("depth", "n"), [(1, 1), (3, 2), (5, 4), (2, 4)])
def test_it_starts_as_the_residual_network_and_n_times_at_the_end(depth, n, dynamic):
    expected = np.tri(depth + 1)
    expected[-1] *= n
    assert families.hyper(depth, streams=n, dynamic=dynamic).matrix().tolist() == expected.tolist()
    assert families.hyper(depth, streams=n, dynamic=dynamic, expand="learned").matrix().tolist() == expected.tolist()
    mean = families.hyper(depth, streams=n, dynamic=dynamic, collapse="mean")
    assert [dict(row) for row in connection_rows(mean)] == [dict.fromkeys(range(r + 1), 1) for r in range(depth + 1)]


@pytest.mark.parametrize("dynamic", [True, False])
def test_start_up_facts(dynamic):
    facts = {
        how: start_up(families.hyper(5, streams=3, dynamic=dynamic, **{end: how}))
        for end, how in (
            ("collapse", "sum"),
            ("collapse", "mean"),
            ("collapse", "learned"),
            ("expand", "learned"),
            ("expand", "first"),
        )
    }
    answers = {"sum": "scaled", "mean": "yes", "learned": "scaled", "first": "no"}
    assert {how: fact.residual for how, fact in facts.items()} == answers
    assert {fact.dead for fact in facts.values()} == {0}


@pytest.mark.parametrize("dynamic", [True, False])
def test_with_fewer_blocks_than_streams_some_streams_are_one_for_ever(dynamic):
    dead = [start_up(families.hyper(depth, streams=4, dynamic=dynamic)).dead > 0 for depth in range(1, 7)]
    assert dead == [True, True, True, False, False, False]


def test_a_stem_in_the_first_stream_alone():
    assert families.hyper(3, streams=2, expand="first").matrix().tolist() == [
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [1, 1, 1, 0],
        [1, 2, 2, 2],
    ]


def test_initial_values():
    rules = {p.name: p for mix in families.hyper(4, streams=3).mixes for p in parameters(mix.weight)}
    for k, read in ((1, (1, 0, 0)), (2, (0, 1, 0)), (3, (0, 0, 1)), (4, (1, 0, 0))):
        assert rules[f"width{k}"].initial == (read, (1, 0, 0), (0, 1, 0), (0, 0, 1))
        assert rules[f"width{k}"].learned is None
        assert rules[f"depth{k}"].initial == ((1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 0, 1))
        assert rules[f"depth{k}"].learned == ((True, False, False, False),) * 3
    assert families.hyper(4).settings == (("streams", 4),)


def test_dynamic_parts_start_at_zero_decay_and_leave_the_static_ones_alone():
    topology = families.hyper(2, streams=3, dynamic=True, scale=0.03)
    seen = {g.name: g for mix in topology.mixes for g in generators(mix.weight)}
    assert sorted(seen) == ["dynamic_depth1", "dynamic_depth2", "dynamic_width1", "dynamic_width2"]
    for generated in seen.values():
        assert (generated.start, generated.group, generated.norm, generated.gain) == (
            "zeros",
            "decayed",
            "layer",
            False,
        )
    rules = {p.name: p for mix in topology.mixes for p in parameters(mix.weight)}
    assert {p.group for p in rules.values()} == {"mix"}
    assert {rules[f"{what}_scale{k}"].initial for what in ("width", "depth") for k in (1, 2)} == {((0.03,),)}
    assert dict(topology.settings) == {"streams": 3, "dynamic": True, "tanh": True, "scale": 0.03, "norm": "layer"}
    static = families.hyper(2, streams=3)
    assert {p for mix in static.mixes for p in parameters(mix.weight)} < set(rules.values())


def test_write_weights_come_from_the_state_before_the_block():
    topology = families.hyper(2, streams=2, dynamic=True)
    reads, writes = (topology.producers[value] for value in ("u2", "h2_0"))
    assert reads.keys == writes.keys == reads.reads == ("h1_0", "h1_1")


@pytest.mark.parametrize(("rescale", "factor"), [("none", None), ("divide", 0.5), ("multiply", 2.0)])
def test_the_output_projections_are_rescaled_by_a_hint(rescale, factor):
    topology = families.hyper(3, streams=4, rescale=rescale)
    expected = {} if factor is None else {k: {"output_init_scale": factor} for k in (1, 2, 3)}
    assert topology.block_hints == expected
    assert (topology == families.hyper(3, streams=4)) is (factor is None)


@pytest.mark.parametrize(
    "one", [{"dynamic": True}, {"expand": "first"}, {"expand": "learned"}, {"collapse": "mean"}, {"rescale": "divide"}]
)
def test_settings_build_it_again(one):
    topology = families.hyper(3, streams=2, **one)
    assert families.hyper(3, **dict(topology.settings)) == topology
    assert topology != families.hyper(3, streams=2)


@pytest.mark.parametrize("streams", [0, -1, True, 2.0, "4", 17])
def test_bad_streams(streams):
    with pytest.raises(TopologyError, match=f"streams is {streams!r}; "):
        families.hyper(3, streams=streams)


@pytest.mark.parametrize(
    "bad",
    [
        {"norm": "batch"},
        {"expand": "zero"},
        {"collapse": "max"},
        {"rescale": "sqrt"},
        {"scale": 0},
        {"scale": float("nan")},
        {"scale": "0.01"},
        {"scale": True},
    ],
)
def test_bad_arguments(bad):
    ((name, value),) = bad.items()
    with pytest.raises(TopologyError, match=f"{name} is {value!r}; .* expected"):
        families.hyper(3, dynamic=True, **bad)


@pytest.mark.parametrize("depth", [0, True])
def test_bad_depth(depth):
    with pytest.raises(TopologyError, match="depth is"):
        families.hyper(depth)
