from nas.trainings import training, trainings


def event(kind, trial, seed, digest="d" * 48, **more):
    return {
        "event": kind, "seq": 9, "trial": trial, "family": "residual", "depth": 3, "digest": digest, "seed": seed,
        "status": "COMPLETE", "accuracy": 0.75, "loss": 0.5, "test_accuracy": 0.5, "test_loss": 0.25,
        "spent_flops": 5.0, "seconds": 0.25, **more,
    }  # fmt: skip


def test_it_is_a_seed_of_the_trial_that_has_its_topology(make, study):
    done = study(make(trials=2, confirm=None))
    trial = done.ledger.trials[1]
    one = training(done.experiment, done.ledger, event("confirm", 1, 7, trial.digest))
    assert one.of is trial
    assert (one.key, one.name, one.status) == (f"{trial.digest}/c7", "fresh seed 7", "FINISHED")
    assert one.params() == {"family": trial.family, "depth": str(trial.point["depth"]), "seed": 7} | {
        name: value for name, value in one.params().items() if "." in name
    }
    assert one.tags() == {
        "status": "COMPLETE", "source": "confirmation", "family": trial.family, "digest": trial.digest
    }  # fmt: skip
    assert one.metrics() == [
        ("final_accuracy", 0.75, 0), ("final_loss", 0.5, 0), ("test_accuracy", 0.5, 0), ("test_loss", 0.25, 0),
        ("spent_flops", 5.0, 0), ("seconds", 0.25, 0),
    ]  # fmt: skip
    assert one.topology_metrics() == [("test_accuracy", 0.5, 7), ("test_loss", 0.25, 7)]


def test_a_share_of_the_budget_is_another_training_and_no_seed_beside_whole_ones(make, study):
    done = study(make(trials=1, confirm=None))
    trial = done.ledger.trials[0]
    one = training(done.experiment, done.ledger, event("curve", 0, 7, trial.digest, share=0.5))
    assert (one.key, one.name) == (f"{trial.digest}/c7x0.5", "fresh seed 7 at 0.5 of the budget")
    assert one.params()["budget_share"] == 0.5
    assert one.topology_metrics() == []


def test_one_that_failed_says_so_and_has_no_figures(make, study):
    done = study(make(trials=1, confirm=None))
    nothing = dict.fromkeys(("accuracy", "loss", "test_accuracy", "test_loss"))
    failed = event("confirm", 0, 7, done.ledger.trials[0].digest, status="FAILED", **nothing)
    one = training(done.experiment, done.ledger, failed)
    assert one.status == "FAILED"
    assert [name for name, _, _ in one.metrics()] == ["spent_flops", "seconds"]


def test_of_a_baseline_that_was_no_trial_the_topology_is_made_again(make, study):
    space = {"depth": 3, "families": {"hyper": {"streams": 2}}}
    done = study(make(trials=1, space=space, search={"baselines": False}, confirm=None))
    topology = done.experiment.space.topology(done.experiment.space.residual(3))
    done.ledger.apply(event("confirm", None, 7, topology.digest))
    done.ledger.apply(event("curve", None, 7, topology.digest, share=2.0))
    first, second = trainings(done.experiment, done.ledger)
    assert first.of.topology == topology.to_dict()
    assert first.of.family == "residual"
    assert first.params()["depth"] == "3"
    assert [one.key for one in (first, second)] == [f"{topology.digest}/c7", f"{topology.digest}/c7x2"]
