"""What holds for every sampler: a function of seed, ask and log, resumable anywhere, and never a fruitless one."""

import json
import random
import shutil
from collections import Counter

import pytest

from nas.experiment import Search
from nas.front import signed
from nas.records import Status
from nas.samplers import OWN, sampler_of
from nas.sampling import Told

ALL = ("tpe", "random", "nsga2", *OWN)
EDITED = {  # all layers at once, and still countable
    "depth": {"low": 2, "high": 3},
    "families": {"residual": {}, "hyper": {"streams": [2, 3]}, "wiring": {"edges": {"low": 1, "high": 4}}},
    "edits": {"edges": 2},
}
MIXED = ("complete", "complete", "complete", "diverged", "failed")


@pytest.fixture
def build(make):
    """A sampler of an experiment, and the experiment."""

    def built(sampler, *, seed=0, space=EDITED, **search):
        search = {"sampler": sampler, "population": 6, "tournament": 3} | search
        experiment = make(space=space, search=search, seed=seed)

        def rank(values):
            metrics = [one.metric for one in experiment.objectives]
            return signed(dict(zip(metrics, values, strict=True)), experiment.objectives)

        def identify(point):
            return experiment.space.topology(point).digest

        goals = [one.goal for one in experiment.objectives]
        found = sampler_of(experiment.search, experiment.space, seed=seed, rank=rank, goals=goals, identify=identify)
        return found, experiment

    return built


def history(space, count, seed=0):
    rng = random.Random(seed)
    points = [space.random(rng) for _ in range(count)]
    return [
        Told(point, Status.COMPLETE, (rng.random(), rng.random()), "random", space.topology(point).digest)
        for point in points
    ]


@pytest.mark.parametrize("name", ALL)
def test_a_proposal_depends_on_the_seed_the_ask_and_the_history_alone(build, name):
    sampler, experiment = build(name)
    past = history(experiment.space, 14)
    asks = range(14, 24)
    first = [sampler.propose(ask, past) for ask in asks]
    random.seed(99)
    again, _ = build(name)
    assert [again.propose(ask, past) for ask in reversed(asks)] == first[::-1]
    other, _ = build(name, seed=1)
    assert [other.propose(ask, past) for ask in asks] != first
    for point, _ in first:
        experiment.space.topology(point)  # every one is of the space


@pytest.mark.parametrize("name", OWN)
def test_random_points_are_mixed_in_as_asked_and_exhaustive_needs_none(build, name):
    sampler, experiment = build(name, random_share=0.5)
    past = history(experiment.space, 14)
    sources = Counter(sampler.propose(ask, past)[1] for ask in range(60))
    assert (15 < sources["random"] < 45) == (name != "exhaustive")
    assert (sources["random"] == 0) == (name == "exhaustive")


@pytest.mark.parametrize("name", ALL)
def test_a_search_cut_off_anywhere_ends_as_if_it_had_not_been(make, study, fake, tmp_path, name):
    search = {"sampler": name, "population": 4, "tournament": 2, "halving": {"rungs": 3, "keep": 0.8}}
    experiment = make(space=EDITED, trials=22, search=search, limits={"flops": 11_000})
    whole = study(experiment, fake(ends=MIXED), folder=tmp_path / "whole")
    if name in ("local", "evolution"):  # past the warm-up
        assert name in {ask.source for ask in whole.ledger.asks}
    lines = (tmp_path / "whole" / "events.jsonl").read_bytes().splitlines(keepends=True)
    asks = [i for i, line in enumerate(lines, start=1) if json.loads(line)["event"] == "ask"]
    for number in (asks[1], asks[len(asks) // 2] + 2, asks[-3], asks[-1], len(lines) - 1, len(lines)):
        shutil.rmtree(tmp_path / "cut", ignore_errors=True)
        shutil.copytree(tmp_path / "whole", tmp_path / "cut")
        (tmp_path / "cut" / "events.jsonl").write_bytes(b"".join(lines[:number]))
        done = study(experiment, fake(ends=MIXED), folder=tmp_path / "cut")
        assert [ask.point for ask in done.ledger.asks] == [ask.point for ask in whole.ledger.asks], number
        assert done.ledger.ordered() == whole.ledger.ordered(), f"cut after line {number}"


@pytest.mark.parametrize("name", ["local", "evolution"])
def test_no_topology_is_proposed_twice_while_there_are_new_ones(make, study, name):
    search = {"sampler": name, "population": 5, "random_share": 0.0}
    done = study(make(space=EDITED, trials=40, search=search))
    asks = [(ask.source, ask.verdict) for ask in done.ledger.asks]
    assert asks.count((name, "job")) > 15
    assert (name, "duplicate") not in asks


def test_only_the_warm_up_is_drawn_evenly(make, study):
    search = {"sampler": "local", "random_share": 0.0}
    sources = [ask.source for ask in study(make(space=EDITED, trials=14, search=search)).ledger.asks]
    assert sources == ["baseline"] * 2 + ["stratified"] * 8 + ["local"] * 4


def test_defaults():
    assert (Search().sampler, Search().population, Search().tournament) == ("tpe", 20, 5)
