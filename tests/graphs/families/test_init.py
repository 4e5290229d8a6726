import inspect
from typing import Literal, get_origin

import pytest

from graphs import Topology, families
from graphs.families import FAMILIES


def test_every_family_is_listed_under_its_name():
    assert list(FAMILIES) == [
        "residual",
        "scaled",
        "depth_mup",
        "skipinit",
        "rezero",
        "layerscale",
        "fixup",
        "lns",
        "deepnorm",
        "highway",
        "stochastic_depth",
        "to_output",
        "to_output_hybrid",
        "unet",
        "x0_lambdas",
        "long_skip",
        "dense",
        "densenet",
        "hyper",
        "frac",
        "mhc",
        "ancre",
        "attnres",
        "mudd",
        "wiring",
        "erdos_renyi",
        "watts_strogatz",
        "barabasi_albert",
    ]
    for name, family in FAMILIES.items():
        assert family.__name__ == name
        assert getattr(families, name) is family
        assert family(8).family == name
    with pytest.raises(TypeError):
        FAMILIES["new"] = families.residual


@pytest.mark.parametrize("name", FAMILIES)
def test_the_signature_is_what_a_search_space_needs(name):
    first, *others = inspect.signature(FAMILIES[name]).parameters.values()
    assert first.name == "depth"
    assert first.annotation is int
    for other in others:
        assert other.kind is inspect.Parameter.KEYWORD_ONLY
        assert other.default is not inspect.Parameter.empty
        assert other.annotation in (bool, int, float) or get_origin(other.annotation) is Literal or name == "wiring"
    assert inspect.signature(FAMILIES[name]).return_annotation is Topology
    assert "Source: " in inspect.getdoc(FAMILIES[name])


@pytest.mark.parametrize("name", FAMILIES)
def test_the_settings_build_it_again(name):
    topology = FAMILIES[name](8)
    settings = dict(topology.settings)
    settings.pop("edges", None)
    assert FAMILIES[name](8, **settings) == topology
