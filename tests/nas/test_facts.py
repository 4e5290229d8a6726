import pytest

from graphs import families, lower
from nas.baselines import baselines
from nas.facts import DIM, examples, facts
from nas.pricing import priced


def by_key(topology, experiment=None):
    return {fact.key: fact for fact in facts(lower(topology), experiment)}


def test_the_wiring_of_a_residual_network_by_hand():
    # Per block one add, two reads and one write forward; the output's value and the stem's are read by two each.
    found = by_key(families.residual(depth=3))
    assert found["wiring_parameters"].value == 0
    assert found["wiring_flops_per_element"].value == 3
    assert (
        found["wiring_flops_per_element"].text
        == f"wiring FLOPs: 3 per channel of a token, so {3 * DIM} a token at dim 256"
    )
    assert found["forward_traffic"].value == 9
    assert by_key(families.dense(depth=3))["wiring_parameters"].value == 3 * 6 // 2


def test_every_fact_is_the_price_that_a_search_would_count(make):
    experiment = make()
    for design in baselines(experiment):
        topology = experiment.space.topology(design.point)
        cost, found = priced(experiment, topology).cost, by_key(topology, experiment)
        assert found["flops"].value == cost.flops
        assert found["parameters"].value == cost.parameters
        assert found["wiring_parameters"].value == cost.wiring_parameters
        assert found["forward_traffic"].value + found["backward_traffic"].value == cost.traffic
        assert found["peak_live"].value == cost.peak_live
        assert found["training_steps"].value == priced(experiment, topology).steps
        assert found["over_limit"].value is None
        # A hidden state of tiny() is 4 tokens of 8 channels.
        assert found["wiring_flops_per_element"].value * 4 * 8 == cost.wiring_flops


def test_what_cannot_be_trained_says_so(make):
    topology = families.residual(depth=3)
    poor = make(train={"budget_gflops": 1e-6, "batch": 32, "lr": 1e-3, "warmup": 0.0}, limits={"parameters": 700})
    found = by_key(topology, poor)
    assert found["training_steps"].value is None
    assert "less than one training step" in found["training_steps"].text
    assert found["over_limit"].value == "parameters 722 is over the limit 700"
    assert found["over_limit"].text.endswith("limits: parameters 722 is over the limit 700")


def test_each_family_has_one_example_within_the_limits_if_there_is_one(make):
    found = dict(examples(make(limits={"parameters": 650})))
    assert str(next(iter(found.values()))) == "residual(depth=2)"
    assert next(iter(found)).startswith("residual: baseline, runs; not deeper: at depth 3")
    out = [name for name, _ in examples(make(limits={"traffic": 20})) if "left out" in name]
    assert len(out) == 1
    assert out[0].startswith("hyper: baseline, left out: at depth 2 traffic")


def test_the_example_of_free_wiring_changes_with_the_seed(make):
    drawn = {dict(examples(make(seed=seed)))[f"wiring: a random example (seed {seed})"] for seed in range(6)}
    assert len(drawn) > 1
    with pytest.raises(KeyError):
        dict(examples(make(space={"depth": 3, "families": {"hyper": {}}})))["wiring: a random example (seed 3)"]
