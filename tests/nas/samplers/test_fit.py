import pytest

from nas.samplers.fit import caution
from search_space.errors import SpaceError

PLAIN = {"depth": 3, "families": {"residual": {}, "hyper": {"streams": [2, 3]}}}
WIRING = {"depth": 3, "families": {"wiring": {"edges": {"low": 0, "high": 6}}}}
EDITS = PLAIN | {"edits": {"edges": 1}}
ANCRE = {"depth": 3, "families": {"ancre": {"temperature": {"low": 0.1, "high": 1.0}}}}
BIG = {"depth": 12, "families": {"wiring": {"edges": {"low": 0, "high": 12}}}}
DEEP = {"depth": 100, "families": {"wiring": {"edges": {"low": 0, "high": 2}}}}


@pytest.mark.parametrize(
    ("sampler", "space", "problem"),
    [
        ("local", PLAIN, "local moves by edits of one edge, and this space has no edge that is free; add 'edits: {ed"),
        ("evolution", PLAIN, "evolution moves by edits of one edge"),
        ("exhaustive", ANCRE, "exhaustive tries every point, and ancre.temperature is continuous; list its values"),
        (
            "exhaustive",
            WIRING | {"gates": {"low": 0.5, "high": 1.0}},
            "exhaustive tries every point, and gates is cont",
        ),
        ("exhaustive", BIG, "exhaustive tries every point, and this space has 52,676,695,500,313, over 10,000"),
        ("exhaustive", DEEP, "exhaustive tries every point, and this space has up to 5,050 optional edges"),
    ],
)
def test_an_unfit_sampler_is_an_error_at_its_key(make, sampler, space, problem):
    with pytest.raises(SpaceError) as caught:
        make(space=space, search={"sampler": sampler})
    assert str(caught.value).partition("search.sampler: ")[2].startswith(problem)
    assert caught.value.line is not None


@pytest.mark.parametrize(
    ("sampler", "space"),
    [
        ("local", EDITS),
        ("evolution", WIRING),
        ("exhaustive", PLAIN),
        ("exhaustive", WIRING),
        ("exhaustive", EDITS),
        ("stratified", PLAIN),
        ("nsga2", ANCRE),
        ("tpe", BIG),
    ],
)
def test_what_fits_is_taken(make, sampler, space):
    assert make(space=space, search={"sampler": sampler}).search.sampler == sampler


@pytest.mark.parametrize(
    ("search", "space", "trials", "said"),
    [
        ({"sampler": "evolution"}, EDITS, 20, "evolution breeds only after 20 complete trials, and the search has 20"),
        ({"sampler": "evolution"}, EDITS, 21, None),
        ({"sampler": "nsga2", "population": 5}, PLAIN, 20, "nsga2 crosses what all points have in common"),
        ({"sampler": "nsga2", "population": 5}, ANCRE, 20, None),
        ({"sampler": "exhaustive"}, WIRING, 64, None),
        ({"sampler": "exhaustive"}, WIRING, 63, "the space has 64 points, repeats included, and the search 63 trials"),
        ({"sampler": "tpe"}, PLAIN, 5, None),
    ],
)
def test_what_a_sampler_will_not_do_well(make, search, space, trials, said):
    experiment = make(space=space, search=search)
    found = caution(experiment.search, experiment.space, trials)
    assert (found is None) if said is None else found.startswith(said)
