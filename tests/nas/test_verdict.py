import pytest

from graphs import families
from nas.ledger import Ledger
from nas.pricing import Judged, judge, judge_topology
from nas.verdict import verdict


@pytest.fixture
def ledger():
    return Ledger()


def test_a_job_has_its_costs_and_its_whole_topology(make, ledger):
    experiment = make()
    fields, reason, plan = verdict(experiment, ledger, judge(experiment, experiment.space.residual(3)))
    assert reason is None
    assert plan is not None
    assert (fields["verdict"], fields["number"], fields["digest"]) == ("job", 0, families.residual(3).digest)
    assert fields["flops"] == plan.cost.flops > 0
    assert fields["topology"] == families.residual(3).to_dict()
    assert fields["budget_flops"] == experiment.train.budget_gflops * 1e9


def test_an_earlier_topology_is_a_duplicate_wherever_it_comes_from(make, ledger):
    experiment = make()
    ledger.digests[families.residual(3).digest] = 7
    fields, reason, plan = verdict(experiment, ledger, judge_topology(experiment, families.residual(3)))
    assert (fields["verdict"], fields["twin"], fields["number"], plan) == ("duplicate", 7, None, None)
    assert reason == "the same topology as trial 7"


@pytest.mark.parametrize(
    ("changes", "topology", "message"),
    [
        ({"limits": {"flops": 1.0}}, families.residual(3), "over the limit"),
        ({}, families.mudd(2), "a block of the backbone mixer has 1 input"),
        (
            {"train": {"budget_gflops": 1e-6, "batch": 32, "lr": 1e-3, "warmup": 0.1}},
            families.residual(3),
            "training step",
        ),
    ],
)
def test_what_may_not_be_trained_is_rejected_with_the_reason(make, ledger, changes, topology, message):
    experiment = make(**changes)
    fields, reason, _ = verdict(experiment, ledger, judge_topology(experiment, topology))
    assert fields["verdict"] == "rejected"
    assert fields["reason"] == reason
    assert message in reason
    assert fields["digest"] == topology.digest


def test_a_problem_is_rejected_without_a_program(make, ledger):
    experiment = make()
    fields, reason, _ = verdict(experiment, ledger, Judged(reason="no good"))
    assert (fields["verdict"], fields["digest"], reason) == ("rejected", "illegal:0", "no good")
