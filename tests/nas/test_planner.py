import pytest

from graphs import families
from nas import planner as module
from nas.planner import Planner
from nas.pricing import judge_topology
from nas.proposal import Proposal, from_outside


@pytest.fixture
def looked(monkeypatch):
    """The topologies that were priced."""
    seen = []

    def count(experiment, topology):
        seen.append(topology.digest)
        return judge_topology(experiment, topology)

    monkeypatch.setattr("nas.pricing.judge_topology", count)
    return seen


def test_a_point_is_planned_once_however_often_it_is_looked_at(make, looked):
    planner = Planner(make())
    point = planner.experiment.space.residual(3)
    assert planner.identify(point) == planner.identify(point) == families.residual(3).digest
    assert planner.judge(Proposal(point, "x")).plan.topology.digest == families.residual(3).digest
    assert looked == [families.residual(3).digest]


def test_it_forgets_plans_but_no_digest(make, looked, monkeypatch):
    monkeypatch.setattr(module, "LOOKED_AT", 1)
    planner = Planner(make())
    points = [planner.experiment.space.residual(depth) for depth in (2, 3, 2)]
    digests = [planner.identify(point) for point in points]
    assert digests[0] == digests[2] != digests[1]
    assert len(looked) == 2
    planner.judge(Proposal(points[0], "x"))
    assert len(looked) == 3


def test_of_what_the_search_knows_only_the_digest_is_looked_up(make, looked, monkeypatch):
    monkeypatch.setattr(module, "LOOKED_AT", 1)
    planner = Planner(make())
    point, other = (planner.experiment.space.residual(depth) for depth in (2, 3))
    first = planner.judge(Proposal(point, "x"), {})
    assert (first.digest, first.plan.topology.digest) == (families.residual(2).digest,) * 2
    planner.judge(Proposal(other, "x"), {first.digest})
    again = planner.judge(Proposal(point, "x"), {first.digest})
    assert (again.digest, again.topology, again.plan, again.reason) == (first.digest, None, None, None)
    assert looked == [families.residual(2).digest, families.residual(3).digest]


def test_what_may_not_be_trained_has_no_identity(make):
    planner = Planner(make(limits={"flops": 1.0}))
    point = planner.experiment.space.residual(3)
    assert planner.identify(point) is None
    assert "over the limit" in planner.judge(Proposal(point, "x")).reason


def test_a_topology_from_outside_is_not_taken_for_its_point(make, looked):
    planner = Planner(make())
    space = planner.experiment.space
    one, other = (from_outside(space, families.to_output(depth), "open:a") for depth in (2, 3))
    found = [planner.judge(each).topology.digest for each in (one, other, Proposal(space.residual(2), "x"))]
    assert found == [families.to_output(2).digest, families.to_output(3).digest, families.residual(2).digest]
    broken = Proposal(space.residual(2), "x", problem="no good")
    assert (planner.judge(broken).topology, planner.judge(broken).reason) == (None, "no good")
