from collections import Counter

import pytest

from nas.records import Status
from nas.samplers.exhaustive import Exhaustive
from search_space.enumeration import points

SPACE = {"depth": 2, "families": {"residual": {}, "wiring": {"edges": {"low": 0, "high": 3}}}}
SEARCH = {"sampler": "exhaustive"}


def test_every_point_is_done_or_explained(make, study, fake):
    experiment = make(space=SPACE, trials=100, search=SEARCH, limits={"flops": 4_300})
    trainer = fake(ends=("complete", "failed"))
    done = study(experiment, trainer)
    asked = [ask.point for ask in done.ledger.asks if ask.source == "exhaustive"]
    assert sorted(map(str, asked)) == sorted(map(str, points(experiment.space)))
    assert done.exhausted
    assert done.done
    for ask in done.ledger.asks:
        if ask.verdict == "duplicate":
            assert done.ledger.digests[ask.digest] == ask.twin
        else:
            trial = done.ledger.trials[ask.number]
            assert (trial.status is Status.COMPLETE) or trial.reason
    verdicts = Counter(ask.verdict for ask in done.ledger.asks)
    assert verdicts["duplicate"] == 1  # the residual network is a wiring too
    assert verdicts["job"] + verdicts["rejected"] == 8
    assert verdicts["rejected"] == 4
    assert len(done.ledger.asks) == 9  # the limit leaves no baseline


def test_no_number_of_repeats_ends_it_early(make, study):
    """Nine of the ten points are one topology: more than twenty asks for each of the trials."""
    families = {"hyper": {"streams": 2, "dynamic": False}, "residual": {}}
    space = {"depth": 2, "families": families | {"wiring": {"edges": {"low": 0, "high": 3}}}}
    done = study(make(space=space, trials=100, search=SEARCH | {"baselines": False}))
    assert done.done
    assert len(done.ledger.asks) == 10


def test_it_stops_at_its_trials_and_goes_on_where_it_was(make, study, tmp_path):
    short = study(make(space=SPACE, trials=4, search=SEARCH))
    assert not short.exhausted
    longer = study(make(space=SPACE, trials=100, search=SEARCH))
    at_once = study(make(space=SPACE, trials=100, search=SEARCH), folder=tmp_path / "at once")
    assert longer.ledger.ordered() == at_once.ledger.ordered()
    assert longer.ledger.ordered()[:4] == short.ledger.ordered()


def test_the_order_is_chance_and_no_part_comes_first(make):
    space = make(space=SPACE).space
    orders = [Exhaustive(space, seed).order for seed in range(4)]
    assert orders[0] == Exhaustive(space, 0).order
    assert len({tuple(order) for order in orders}) == 4
    assert {tuple(sorted(map(str, order))) for order in orders} == {tuple(sorted(map(str, points(space))))}


@pytest.mark.parametrize("trials", [3, 50])
def test_the_end_is_told(make, tmp_path, monkeypatch, trials):
    from rich.console import Console

    from nas.run_folder import RunFolder
    from nas.search import run_search

    monkeypatch.setenv("WIRELOOM_TRACKING", "off")
    experiment = make(space=SPACE, trials=trials, search=SEARCH, confirm=None)
    folder = RunFolder.create(tmp_path / "run", experiment)
    done = run_search(experiment, folder, Console(quiet=True))
    folder.log.close()
    told = "every point of the space is done or explained: 8 topologies were trained, 2 asks repeated"
    assert done.shortfall.startswith(told) == (trials == 50)
    assert bool(done.shortfall) == (trials == 50)
