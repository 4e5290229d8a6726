import math
from fractions import Fraction

import pytest
import torch
from papers import assert_is_the_paper, sizes

from graphs import Parameter, TopologyError, families, start_up
from graphs.matrix import connection_rows
from graphs.weights import CHANNEL, GROUPS, SCALAR, parameters


def scaled_rows(scales):
    """Row r of ``h_l = h_{l-1} + s_l y_l``: the stem and the first r outputs times their scales."""
    return tuple({0: 1, **{k: s for k, s in enumerate(scales[:r], start=1) if s}} for r in range(len(scales) + 1))


def paper(scale):
    """``x + scale(weights, k) f_k(x)``, k from 1."""

    def forward(blocks, w, x):
        for k, block in enumerate(blocks, start=1):
            x = x + scale(w, k) * block(x)
        return x

    return forward


def each_block(depth, **hints):
    return dict.fromkeys(range(1, depth + 1), hints)


def rules(topology):
    return [p for mix in topology.mixes for p in parameters(mix.weight)]


# ---- scaled ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 3, 4, 7])
def test_scaled_by_one_over_the_depth_is_exact(depth):
    assert connection_rows(families.scaled(depth)) == scaled_rows([Fraction(1, depth)] * depth)


def test_scaled_by_the_root_and_by_a_number():
    root = families.scaled(4, scale="1/sqrt(L)")
    assert connection_rows(root) == scaled_rows([Fraction(1, 2)] * 4)
    half = families.scaled(4, scale="constant", value=0.5)
    assert root == half != families.scaled(4)
    assert families.scaled(5, scale="constant") == families.residual(5)
    assert families.scaled(2, scale="constant", value=0) == families.scaled(2, scale="constant", value=-0.0)


@pytest.mark.parametrize(("depth", "whole", "root"), [(12, 0.083, 0.289), (16, 0.0625, 0.25), (24, 0.042, 0.204)])
def test_scales_that_the_reference_lists(depth, whole, root):
    for scale, expected in (("1/L", whole), ("1/sqrt(L)", root)):
        assert float(connection_rows(families.scaled(depth, scale=scale))[-1][depth]) == pytest.approx(
            expected, abs=6e-4
        )


def test_scaled_has_no_weights_hints_and_is_the_paper_s():
    topology = families.scaled(3)
    assert sizes(topology, 8) == 0
    assert topology.block_hints == {}
    assert topology.settings == (("scale", "1/L"), ("value", 1.0))
    assert start_up(topology).residual == "no"
    assert_is_the_paper(topology, paper(lambda w, k: 1 / 3))


# ---- depth_mup -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "base", "exponent", "scale", "lr", "eps"),
    [
        (8, 2, 0.5, Fraction(1, 2), Fraction(1, 2), Fraction(1, 2)),
        (8, 2, 1.0, Fraction(1, 4), 1, Fraction(1, 4)),
        (6, 2, 1, Fraction(1, 3), 1, Fraction(1, 3)),
        (4, 1, 0.5, Fraction(1, 2), Fraction(1, 2), Fraction(1, 2)),
        (2, 8, 0.5, 2, 2, 2),
        (3, 3, 0.5, 1, 1, 1),
        (3, 3, 1.0, 1, 1, 1),
        (2, 4, 0.0, 1, 2, 1),
    ],
)
def test_depth_mup_by_hand(depth, base, exponent, scale, lr, eps):
    topology = families.depth_mup(depth, exponent=exponent, base=base)
    assert connection_rows(topology) == scaled_rows([scale] * depth)
    assert topology.block_hints == each_block(depth, lr_scale=float(lr), eps_scale=float(eps))
    assert sizes(topology, 8) == 0
    assert start_up(topology).residual == ("yes" if scale == 1 else "no")


def test_depth_mup_and_complete_p_differ():
    assert families.depth_mup(6).settings == (("exponent", 0.5), ("base", 2))
    assert families.depth_mup(6) == families.depth_mup(6, exponent=0.5, base=2) != families.depth_mup(6, exponent=1.0)
    assert families.depth_mup(1, exponent=1.0, base=1) != families.residual(1), "the hints are part of the program"


# ---- skipinit, rezero ------------------------------------------------------------------------------------------------


def test_skipinit_by_hand():
    topology = families.skipinit(3)
    assert connection_rows(topology) == ({0: 1},) * 4
    assert connection_rows(families.skipinit(3, start=0.25)) == scaled_rows([Fraction(1, 4)] * 3)
    assert topology.block_hints == each_block(3, pre_norm=0)
    assert [(p.name, p.initial, p.learned, p.group, p.grain) for p in rules(topology)] == [
        (f"scale{k}", ((1, 0),), ((False, True),), "mix", SCALAR) for k in (1, 2, 3)
    ]
    assert sizes(topology, 8) == 3
    assert topology.settings == (("start", 0.0),)
    assert_is_the_paper(topology, paper(lambda w, k: w[f"scale{k}"]))


@pytest.mark.parametrize(
    ("depth", "period", "shared"), [(3, 1, [1, 2, 3]), (4, 2, [1, 1, 2, 2]), (5, 3, [1, 1, 1, 2, 2])]
)
def test_rezero_ties_the_sub_layers_of_a_site(depth, period, shared):
    topology = families.rezero(depth, period=period)
    assert connection_rows(topology) == ({0: 1},) * (depth + 1)
    assert [p.name for p in rules(topology)] == [f"scale{site}" for site in shared]
    assert sizes(topology, 8) == shared[-1]
    assert topology.block_hints == each_block(depth, pre_norm=0)
    assert_is_the_paper(topology, paper(lambda w, k: w[f"scale{shared[k - 1]}"]))


def test_rezero_untied_is_skipinit_and_at_one_the_residual_network():
    assert families.rezero(3) == families.skipinit(3)
    assert families.rezero(4, period=2) != families.rezero(4)
    assert families.rezero(2).settings == (("period", 1),)
    rows = connection_rows(families.rezero(3), {f"scale{k}": ((1, 1),) for k in (1, 2, 3)})
    assert rows == connection_rows(families.residual(3))


# ---- layerscale ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "period", "gain"),
    [
        (1, 1, 0.1),
        (18, 1, 0.1),
        (19, 1, 1e-5),
        (24, 1, 1e-5),
        (25, 1, 1e-6),
        (36, 2, 0.1),
        (37, 2, 1e-5),
        (49, 2, 1e-6),
    ],
)
def test_layerscale_starts_by_depth_in_sites(depth, period, gain):
    topology = families.layerscale(depth, period=period)
    assert connection_rows(topology) == scaled_rows([gain] * depth)


def test_layerscale_by_hand():
    topology = families.layerscale(3, start="constant", value=0.5)
    assert connection_rows(topology) == scaled_rows([Fraction(1, 2)] * 3)
    assert [(p.name, p.initial, p.learned, p.group, p.grain) for p in rules(topology)] == [
        (f"scale{k}", ((1, 0.5),), ((False, True),), "mix", CHANNEL) for k in (1, 2, 3)
    ]
    assert sizes(topology, 8) == 3 * 8
    assert topology.block_hints == {}, "the pre-norm is kept"
    assert families.layerscale(2).settings == (("start", "depth"), ("value", 1e-4), ("period", 1))
    assert families.layerscale(3) == families.layerscale(3, period=2), "gains are not tied"
    assert_is_the_paper(topology, paper(lambda w, k: w[f"scale{k}"][0]))


# ---- fixup -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "layers", "inner"), [(16, 2, 0.25), (16, 3, 0.5), (4, 2, 0.5), (1, 2, 1.0)])
def test_fixup_by_hand(depth, layers, inner):
    topology = families.fixup(depth, layers=layers)
    assert connection_rows(topology) == scaled_rows([1] * depth)
    assert topology.block_hints == each_block(depth, inner_init_scale=inner, output_init_scale=0, pre_norm=0)
    assert sizes(topology, 8) == depth
    assert {(p.initial, p.learned, p.group) for p in rules(topology)} == {(((1, 1),), ((False, True),), "tenth")}
    assert GROUPS["tenth"].lr == 0.1


def test_fixup_is_the_paper_s():
    topology = families.fixup(3)
    assert topology.settings == (("layers", 2),)
    assert start_up(topology).residual == "no", "its blocks start at zero and have no norm"
    assert_is_the_paper(topology, paper(lambda w, k: w[f"scale{k}"]))


# ---- lns -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "period", "layers"), [(4, 1, [1, 2, 3, 4]), (5, 2, [1, 1, 2, 2, 3])])
def test_lns_is_the_residual_network_with_scaled_norms(depth, period, layers):
    topology = families.lns(depth, period=period)
    assert connection_rows(topology) == connection_rows(families.residual(depth))
    assert topology != families.residual(depth)
    hints = topology.block_hints
    assert list(hints) == list(range(1, depth + 1))
    assert [set(hint) for hint in hints.values()] == [{"norm_scale"}] * depth
    assert [1 / hint["norm_scale"] ** 2 for hint in hints.values()] == pytest.approx(layers, rel=1e-12)
    assert sizes(topology, 8) == 0
    assert families.lns(2).settings == (("period", 1),)


# ---- deepnorm --------------------------------------------------------------------------------------------------------


def post_norm(alpha):
    """``LayerNorm(alpha x + f(x))`` with the weights of the norm after block k."""

    def forward(blocks, w, x):
        for k, block in enumerate(blocks, start=1):
            x = alpha * x + block(x)
            centred = x - x.mean(-1, keepdim=True)
            x = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + 1e-5)
            x = x * w[f"norm{k}_gain"] + w[f"norm{k}_bias"]
        return x

    return forward


@pytest.mark.parametrize(
    ("depth", "period", "alpha", "init"),
    [
        (16, 2, 2, 8**-0.5),
        (15, 2, 2, 8**-0.5),
        (8, 1, 2, 8**-0.5),
        (4, 2, math.sqrt(2), 0.5),
        (2, 1, math.sqrt(2), 0.5),
    ],
)
def test_deepnorm_by_hand(depth, period, alpha, init):
    topology = families.deepnorm(depth, period=period)
    assert [float(mix.weight.entries[0][0]) for mix in topology.mixes] == pytest.approx([alpha] * depth, rel=1e-15)
    assert {mix.weight.entries[0][1] for mix in topology.mixes} == {1}
    assert {mix.norm.kind for mix in topology.mixes} == {"layer"}
    assert set(topology.block_hints) == set(range(1, depth + 1))
    for hints in topology.block_hints.values():
        assert hints == {"init_scale": pytest.approx(init, rel=1e-15), "pre_norm": 0}
    assert sizes(topology, 8) == 2 * depth * 8


@pytest.mark.parametrize(("layers", "alpha", "beta"), [(12, 2.213, 0.320), (16, 2.378, 0.297), (24, 2.632, 0.269)])
def test_deepnorm_constants_that_the_reference_lists(layers, alpha, beta):
    topology = families.deepnorm(2 * layers)
    assert float(topology.mixes[0].weight.entries[0][0]) == pytest.approx(alpha, abs=6e-4)
    assert topology.block_hints[1]["init_scale"] == pytest.approx(beta, abs=6e-4)


def test_deepnorm_is_the_paper_s_and_has_no_one_matrix():
    topology = families.deepnorm(4)
    assert topology.settings == (("period", 2),)
    assert_is_the_paper(topology, post_norm(math.sqrt(2)))
    with pytest.raises(TopologyError, match="normalised token by token"):
        topology.matrix()
    assert start_up(topology).residual == "no"


# ---- what they refuse ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "settings", "says"),
    [
        ("scaled", {"scale": "1/l"}, r"scale is '1/l'; one of 1/L, 1/sqrt\(L\), constant was expected"),
        ("scaled", {"value": math.inf}, "value is inf; a finite number was expected"),
        ("scaled", {"value": "2"}, "value is '2'"),
        ("depth_mup", {"exponent": math.nan}, "exponent is nan"),
        ("depth_mup", {"exponent": True}, "exponent is True"),
        ("depth_mup", {"base": 0}, "base is 0; a whole number of at least 1 was expected"),
        ("depth_mup", {"base": 2.0}, "base is 2.0"),
        ("skipinit", {"start": None}, "start is None"),
        ("skipinit", {"start": 10**400}, "start is 1000"),
        ("rezero", {"period": 0}, "period is 0"),
        ("layerscale", {"start": "cait"}, "start is 'cait'; one of depth, constant was expected"),
        ("layerscale", {"value": -math.inf}, "value is -inf"),
        ("layerscale", {"period": 1.0}, "period is 1.0"),
        ("fixup", {"layers": 1}, "layers is 1; a whole number of at least 2 was expected"),
        ("lns", {"period": True}, "period is True"),
        ("deepnorm", {"period": -2}, "period is -2"),
    ],
)
def test_bad_settings(family, settings, says):
    with pytest.raises(TopologyError, match=says):
        getattr(families, family)(4, **settings)


@pytest.mark.parametrize("depth", [0, -1, True, 2.0, "3", None])
@pytest.mark.parametrize(
    "family", ["scaled", "depth_mup", "skipinit", "rezero", "layerscale", "fixup", "lns", "deepnorm"]
)
def test_bad_depth(family, depth):
    with pytest.raises(TopologyError, match="depth is"):
        getattr(families, family)(depth)


def test_learned_numbers_are_parameters_of_their_own():
    assert all(isinstance(mix.weight, Parameter) for mix in families.skipinit(2).mixes)
