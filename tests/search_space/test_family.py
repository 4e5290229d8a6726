from collections.abc import Sequence
from inspect import signature
from types import MappingProxyType
from typing import Literal

import pytest

import search_space.family
from graphs.errors import TopologyError
from graphs.families import FAMILIES, residual
from search_space.document import dump, read
from search_space.domain import Choice, Fixed, IntRange
from search_space.errors import SpaceError
from search_space.family import Family, Parameter, parameters
from search_space.wiring import Encoding

DEPTH = IntRange(low=4, high=8)


@pytest.fixture
def family(tmp_path):
    def family(text, depth=DEPTH):
        path = tmp_path / "file.yaml"
        path.write_text(f"families:\n  {text}\n")
        document = read(path)
        (name,) = document.data["families"]
        return Family.read(document, ("families", name), depth)

    return family


def test_names_types_and_defaults_come_from_the_signature():
    assert parameters(FAMILIES["residual"]) == ()
    streams, dynamic, *others = parameters(FAMILIES["hyper"])
    assert (streams, dynamic) == (Parameter("streams", int, 4), Parameter("dynamic", bool, False))
    assert Parameter("expand", Literal["copy", "first", "learned"], "copy") in others
    assert parameters(FAMILIES["ancre"]) == (
        Parameter("temperature", float, 0.01),
        Parameter("normalise", Literal["incoming", "outgoing"], "incoming"),
        Parameter("inner", bool, True),
        Parameter("period", int, 1),
    )
    assert parameters(FAMILIES["wiring"]) == (Parameter("learned", bool, False),)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "wiring"])
def test_every_family_is_built_from_an_empty_mapping_at_its_defaults(family, name):
    found = family(f"{name}: {{}}")
    assert found == Family.published(name)
    # One sub-layer makes a published block here, whatever the function's own default.
    site = {"period": 1} if "period" in signature(FAMILIES[name]).parameters else {}
    assert found.build(found.baseline(8)) == FAMILIES[name](8, **site)


def test_names_and_numbers_of_one_family(family):
    found = family("layerscale: {start: [depth, constant], value: {low: 1.0e-6, high: 0.1, log: true}}")
    assert found.domains[0] == ("start", Choice(("depth", "constant")))
    assert found.baseline(4).to_dict() == {
        "family": "layerscale",
        "depth": 4,
        "layerscale.start": "depth",
        "layerscale.value": 1e-4,
        "layerscale.period": 1,
    }
    for text, key, message in [
        ("scaled: {scale: 1/l}", "families.scaled.scale", "unknown value '1/l'"),
        ("watts_strogatz: {k: 3}", "families.watts_strogatz.k", "k is 3 at depth 4"),
        ("barabasi_albert: {m: 99}", "families.barabasi_albert.m", "m is 99 at depth 4"),
        ("stochastic_depth: {last: 2.0}", "families.stochastic_depth.last", "last is 2.0"),
        ("long_skip: {start: 6}", "families.long_skip.start", "a skip from 6 to 7"),
    ]:
        with pytest.raises(SpaceError) as caught:
            family(text)
        assert f":2: {key}: {message}" in str(caught.value)


def test_the_published_period_is_as_many_blocks_as_make_one_of_the_papers():
    assert parameters(FAMILIES["to_output"], sublayers=2) == (Parameter("period", int, 2),)
    assert parameters(FAMILIES["hyper"], sublayers=2) == parameters(FAMILIES["hyper"])


@pytest.mark.parametrize(
    ("text", "sublayers", "period", "depths"),
    [
        ("dense: {period: [1, 2]}", 2, 2, [8, 6, 4]),
        ("dense: {period: [1, 2]}", 1, 1, [8, 7, 6, 5, 4]),
        ("dense: {period: [1, 3]}", 3, 3, [6]),
        ("dense: {period: 1}", 2, 1, [8, 7, 6, 5, 4]),
        ("dense: {period: 9}", 2, 9, [8, 7, 6, 5, 4]),  # divides none
        ("hyper: {}", 2, None, [8, 7, 6, 5, 4]),
    ],
)
def test_baselines_have_whole_published_blocks(family, text, sublayers, period, depths):
    found = family(text)
    assert found.baseline(8, sublayers).to_dict().get(f"{found.name}.period") == period
    assert found.baseline_depths(range(4, 9), sublayers) == depths


def test_a_new_family_needs_no_change_here(family, monkeypatch):
    def fancy(depth, *, cut: int, mode: Literal["sum", "mean"] = "sum", own: Sequence[int] = ()):
        if cut >= depth:
            raise TopologyError(f"cut is {cut}; must be below depth")
        return residual(depth)

    monkeypatch.setattr(search_space.family, "FAMILIES", MappingProxyType({**FAMILIES, "fancy": fancy}))
    found = family("fancy: {cut: [2, 7], mode: [sum, mean]}")
    assert found == Family("fancy", (("cut", Choice((2, 7))), ("mode", Choice(("sum", "mean")))))
    assert found.baseline(8).to_dict() == {"family": "fancy", "depth": 8, "fancy.cut": 2, "fancy.mode": "sum"}
    for text, key, message in [
        ("fancy: {}", "families.fancy.cut", "missing; it has no default"),
        ("fancy: {cut: 2, own: 1}", "families.fancy.own", "unknown parameter of fancy 'own'; Valid: cut, mode"),
        ("fancy: {cut: 2, mode: maen}", "families.fancy.mode", "unknown value 'maen'; did you mean 'mean'?"),
        ("fancy: {cut: [2, 9]}", "families.fancy.cut[1]", "cut is 9; must be below depth"),
    ]:
        with pytest.raises(SpaceError) as caught:
            family(text)
        assert f":2: {key}: {message}" in str(caught.value)


def test_what_is_left_out_is_fixed_at_its_default(family):
    assert family("dense: {period: [1, 2]}") == Family(
        "dense", (("inner", Fixed(True)), ("period", Choice((1, 2))), ("dilation", Fixed(1)), ("every", Fixed(1)))
    )
    assert Family.published("hyper") == family("hyper: {}") == family("hyper: {streams: 4}")


def test_parameters_follow_the_signature_and_not_the_file(family):
    assert family("dense: {dilation: 1, inner: true}") == family("dense: {inner: true, dilation: 1}")


def test_wiring_is_declared_by_its_encoding(family):
    found = family("wiring: {edges: {low: 2, high: 12}, in_degree: 4, learned: [true, false]}")
    assert found.encoding == Encoding(IntRange(low=2, high=12), 4)
    assert found.domains == (("learned", Choice((True, False))),)


WRONG = [
    ("resdual: {}", "families.resdual", "unknown family 'resdual'; did you mean 'residual'? Valid: residual, scaled"),
    ("residual:", "families.residual", "empty; must be a mapping of parameters: write {} for none"),
    ("residual: true", "families.residual", "true; must be a mapping of parameters"),
    ("hyper: 4", "families.hyper", "4; must be a mapping of parameters"),
    ("residual: {depth: 4}", "families.residual.depth", "unknown parameter of residual 'depth'; Valid: none"),
    (
        "hyper: {streem: 4}",
        "families.hyper.streem",
        "unknown parameter of hyper 'streem'; did you mean 'streams'? Valid: streams",
    ),
    ("hyper: {streams: 0}", "families.hyper.streams", "streams is 0; a whole number of at least 1"),
    ("hyper: {streams: [2, 0]}", "families.hyper.streams[1]", "streams is 0"),
    ("hyper: {streams: {low: 0, high: 4}}", "families.hyper.streams.low", "streams is 0"),
    ("hyper: {streams: two}", "families.hyper.streams", '"two" is a text; must be a whole number'),
    ("hyper: {streams: 2.0}", "families.hyper.streams", "2.0 is a number; must be a whole number: write 2"),
    ("dense: {inner: no}", "families.dense.inner", '"no" is a text in YAML 1.2; write true or false'),
    ("dense: {dilation: -1}", "families.dense.dilation", "dilation is -1"),
    (
        'ancre: {temperature: "1e-4"}',
        "families.ancre.temperature",
        '"1e-4" is a text; must be a number: write 1e-4 without quotes',
    ),
    ("wiring: {}", "families.wiring.edges", "missing; how many extra edges, for example 'edges: {low: 2,"),
    ("wiring: {edges: {low: -1, high: 4}}", "families.wiring.edges.low", "-1 is too small; at least 0"),
    ("wiring: {edges: 2.5}", "families.wiring.edges", "2.5 is a number; must be a whole number"),
    ("wiring: {edges: 2, in_degree: 0}", "families.wiring.in_degree", "0 is too small; at least 1"),
    ("wiring: {edges: 2, in_degree: [1]}", "families.wiring.in_degree", "a list is not a single value"),
    (
        "wiring: {edges: 2, in_degre: 3}",
        "families.wiring.in_degre",
        "unknown parameter of wiring 'in_degre'; did you mean 'in_degree'? Valid: edges, in_d",
    ),
    ("wiring: {edges: 37}", "families.wiring.edges", "at least 37 extra edges, but depth 8 has room for 36; ask for"),
    (
        "wiring: {edges: {low: 9, high: 10}, in_degree: 2}",
        "families.wiring.edges.low",
        "at least 9 extra edges, but depth 8 and in_degree 2 has room for 8; ask for fewer",
    ),
]


@pytest.mark.parametrize(("text", "key", "message"), WRONG)
def test_refuses(family, text, key, message):
    with pytest.raises(SpaceError) as caught:
        family(text)
    assert f"file.yaml:2: {key}: {message}" in str(caught.value)


def test_a_value_that_is_legal_at_one_depth_is_accepted(family, monkeypatch):
    def picky(depth, *, half: int = 2):
        if half * 2 > depth:
            raise TopologyError(f"half is {half}; at most half the depth")
        return residual(depth)

    monkeypatch.setattr(search_space.family, "FAMILIES", MappingProxyType({"picky": picky}))
    assert family("picky: {half: 4}").domains == (("half", Fixed(4)),)
    with pytest.raises(SpaceError, match="half is 5"):
        family("picky: {half: 5}")


def test_baseline_takes_the_nearest_declared_value(family):
    assert family("hyper: {streams: [1, 6, 2]}").baseline(8).to_dict()["hyper.streams"] == 6
    assert family("ancre: {temperature: {low: 0.1, high: 1.0}}").baseline(8).to_dict()["ancre.temperature"] == 0.1


def test_corners_are_all_combinations_of_extremes_lowest_first(family):
    found = family("wiring: {edges: {low: 2, high: 12}, learned: [false, true]}").corners((2, 4))
    rows = [point.to_dict() for point in found]
    assert [(row["depth"], row["wiring.learned"], row["wiring.edges"]) for row in rows] == [
        (depth, learned, edges) for depth in (2, 4) for learned in (False, True) for edges in (2, 12)
    ]


@pytest.mark.parametrize(
    "text", ["residual: {}", "dense: {period: [1, 2]}", "wiring: {edges: 2}", "wiring: {edges: [1, 2], in_degree: 3}"]
)
def test_plain_is_read_back(family, text):
    found = family(text)
    one_line = dump({found.name: found.plain()}).replace("\n", "\n  ")
    assert family(one_line) == found
