import io

import pytest
from rich.console import Console

import nas.baselines
from nas.baselines import Baseline, baselines, designs
from nas.pricing import priced
from nas.run_folder import RunFolder
from nas.search import run_search
from search_space.space import Point

SPACE = {
    "depth": {"low": 2, "high": 9},
    "families": {"dense": {}, "hyper": {"streams": 2}, "wiring": {"edges": 1}},
}


def least_traffic(experiment, family):
    """What the family's shallowest baseline costs."""
    points = next(points for points in experiment.space.designs() if points[0].family == family)
    return priced(experiment, experiment.space.topology(points[-1])).cost.traffic


def depths(experiment):
    return {one.point.family: one.point.depth if one.runs else None for one in baselines(experiment)}


def test_without_limits_they_are_as_deep_as_the_space_allows_whole_blocks(make):
    # dense sits between whole mixer blocks, which are two of ours.
    assert depths(make(space=SPACE)) == {"residual": 9, "dense": 8, "hyper": 9}
    assert {str(one) for one in baselines(make(space=SPACE))} == {"runs"}


@pytest.mark.parametrize("limits", [{"parameters": 1500}, {"flops": 11_000}, {"traffic": 50}])
def test_each_is_the_deepest_that_keeps_to_the_limits(make, limits):
    experiment = make(space=SPACE, limits=limits)
    found = baselines(experiment)
    assert all(one.runs for one in found)
    assert {one.point.depth for one in found} < set(range(2, 9))
    for one, points in zip(found, experiment.space.designs(), strict=True):
        # The same by trying every depth from the deepest on.
        legal = [point for point in points if nas.baselines.judged(experiment, point)[1] is None]
        assert one.point == legal[0]
        deeper = points[points.index(one.point) - 1].depth
        (metric,) = limits
        assert f"not deeper: at depth {deeper}" in str(one)
        assert metric in str(one)


def test_a_family_that_fits_at_no_depth_is_left_out_and_says_so(make):
    experiment = make(space=SPACE, limits={"traffic": 20})
    found = {one.point.family: one for one in baselines(experiment)}
    assert depths(experiment) == {"residual": 3, "dense": 2, "hyper": None}
    over = least_traffic(experiment, "hyper")
    assert str(found["hyper"]) == f"left out: at depth 2 traffic {over} is over the limit 20"


def test_a_budget_below_one_step_leaves_out_too(make):
    train = {"budget_gflops": 4.42e-4, "batch": 32, "lr": 1e-3, "warmup": 0.0}
    found = baselines(make(space=SPACE, train=train))
    assert {one.point.family: one.runs for one in found} == {"residual": True, "dense": True, "hyper": False}
    assert "less than one training step" in str(found[2])


def test_none_where_the_file_wants_none(make):
    experiment = make(space=SPACE, search={"baselines": False})
    assert baselines(experiment) == ()
    assert len(designs(experiment)) == 3


def test_deep_spaces_are_not_tried_depth_by_depth(make, monkeypatch):
    asked = []

    def judged(experiment, point):
        asked.append(point.depth)
        return None, None if point.depth <= 37 else "too dear"

    monkeypatch.setattr(nas.baselines, "judged", judged)
    space = {"depth": {"low": 1, "high": 1000}, "families": {"residual": {}}}
    (found,) = baselines(make(space=space))
    assert (found.point.depth, found.why) == (37, "at depth 38 too dear")
    assert len(asked) < 15
    asked.clear()
    # What the blocks alone are over needs no plan.
    (found,) = baselines(make(space=space, limits={"parameters": 800}))
    assert found.point.depth == 3
    assert "at depth 4 the backbone alone has 1,018 parameters, over the limit 800" in str(found)
    assert max(asked) == 3


def test_the_search_trains_those_that_fit_and_names_those_that_do_not(make, study, tmp_path, monkeypatch):
    monkeypatch.setenv("WIRELOOM_TRACKING", "off")
    space = SPACE | {"families": {"hyper": {"streams": 2}, "dense": {}}}  # the one left out is not the last
    experiment = make(space=space, limits={"traffic": 20}, trials=2, confirm=None, search={"sampler": "random"})
    text = io.StringIO()
    folder = RunFolder.create(tmp_path / "run", experiment)
    done = run_search(experiment, folder, Console(file=text, width=200))
    folder.log.close()
    assert [(trial.family, trial.point["depth"]) for trial in done.views.trials] == [("residual", 3), ("dense", 2)]
    assert {trial.source for trial in done.views.trials} == {"baseline"}
    over = least_traffic(experiment, "hyper")
    assert f"no baseline of hyper: at depth 2 traffic {over} is over the limit 20" in text.getvalue()
    assert "no baseline of residual" not in text.getvalue()


def test_a_baseline_reads_well():
    point = Point((("family", "hyper"), ("depth", 3)))
    assert str(Baseline(point, runs=True)) == "runs"
    assert str(Baseline(point, runs=True, why="w")) == "runs; not deeper: w"
    assert str(Baseline(point, runs=False, why="w")) == "left out: w"
