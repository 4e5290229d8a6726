import json
import math
import statistics

import pytest

from nas.errors import ExperimentError
from nas.executors.serial import SerialExecutor
from nas.jobs import Outcome
from nas.ledger import Ledger
from nas.noise import REPLICAS, blurred, noise, train_replicas, with_noise
from nas.run_folder import RunFolder
from nas.spending import spending
from nas.study import Study

AUTO = [
    {"metric": "accuracy", "goal": "maximize", "epsilon": "auto"},
    {"metric": "flops", "goal": "minimize"},
]


def replica(seed, accuracy, digest="d", depth=3):
    return {
        "event": "replica", "seq": seed, "family": "residual", "depth": depth, "digest": digest, "seed": seed,
        "status": "COMPLETE", "accuracy": accuracy, "loss": 1.0, "spent_flops": 1.0, "seconds": 1.0,
    }  # fmt: skip


@pytest.fixture
def search(tmp_path, fake):
    def run(experiment, trainer=None, say=lambda _: None):
        path = tmp_path / "run"
        begun = (path / "events.jsonl").exists()
        held = RunFolder.resume(path, experiment) if begun else RunFolder.create(path, experiment)
        try:
            study = Study(experiment, held, SerialExecutor(trainer or fake()))
            train_replicas(study, say)
            study.experiment = with_noise(experiment, study.ledger)
            study.run()
        finally:
            held.log.close()
        return study

    return run


def test_the_standard_deviation_over_the_residual_networks_seeds():
    values = [0.5, 0.6, 0.8]
    ledger = Ledger(replicas=[replica(seed, value) for seed, value in enumerate(values)])
    found = noise(ledger, "accuracy")
    assert found is not None
    assert found.sd == statistics.stdev(values)
    assert found.epsilon == math.sqrt(2) * found.sd
    assert str(found) == "15.28 % over 3 seeds of the residual network of depth 3, on the validation split"


def test_two_are_not_enough_and_other_networks_are_not_it():
    assert noise(Ledger(replicas=[replica(1, 0.5), replica(2, 0.6)]), "accuracy") is None
    others = [replica(seed, 0.5 + seed / 10) | {"family": "dense"} for seed in range(3)]
    assert noise(Ledger(replicas=others), "accuracy") is None
    diverged = [replica(1, 0.5), replica(2, 0.6), replica(3, None)]
    assert noise(Ledger(replicas=diverged), "accuracy") is None


def test_the_network_with_the_most_seeds_is_taken():
    few = [replica(seed, seed / 10, "few", 2) for seed in range(3)]
    many = [replica(seed, seed / 100, "many", 3) for seed in range(4)]
    found = noise(Ledger(replicas=[*few, *many]), "accuracy")
    assert found is not None
    assert (found.depth, found.replicas) == (3, 4)


def test_auto_trains_replicas_first_and_counts_them(make, search, fake):
    trainer = fake()
    experiment = make(objectives=AUTO, trials=4, confirm=None)
    study = search(experiment, trainer)
    assert [job.seed for job in trainer.jobs[:REPLICAS]] == [experiment.seed + 1 + i for i in range(REPLICAS)]
    assert not any(job.test for job in trainer.jobs)
    accuracies = [event["accuracy"] for event in study.ledger.replicas]
    assert study.experiment.objectives[0].epsilon == math.sqrt(2) * statistics.stdev(accuracies)
    assert study.experiment.objectives[1].epsilon is None
    parts = spending(study.ledger)
    assert parts["replicas for the seed noise"] == sum(event["spent_flops"] for event in study.ledger.replicas) > 0
    assert study.ledger.trained == 4


def test_a_resumed_search_trains_what_is_missing(make, search, fake, tmp_path):
    experiment = make(objectives=AUTO, trials=4, confirm=None)
    whole = search(experiment)
    log = tmp_path / "run" / "events.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:3]))  # two replicas
    trainer = fake()
    again = search(experiment, trainer)
    assert len([job for job in trainer.jobs if job.number < 0]) == REPLICAS - 2
    assert again.ledger.ordered() == whole.ledger.ordered()
    assert again.experiment.objectives == whole.experiment.objectives
    assert len([line for line in log.read_text().splitlines() if json.loads(line)["event"] == "replica"]) == REPLICAS


def test_a_lost_worker_is_no_verdict_on_a_replica(make, search, fake):
    lost = []

    def unlucky(job):
        if job.number < 0 and not lost:
            lost.append(job)
            return Outcome(job.number, "lost", 0, 0.0, reason="its worker died")
        return (yield from fake()(job))

    study = search(make(objectives=AUTO, trials=2, confirm=None), unlucky)
    assert len(lost) == 1
    assert [event["status"] for event in study.ledger.replicas] == ["COMPLETE"] * REPLICAS
    assert len({event["seed"] for event in study.ledger.replicas}) == REPLICAS


def test_too_few_that_end_are_said(make, search, fake):
    said = []
    study = search(make(objectives=AUTO, trials=2, confirm=None), fake(ends=("diverged",)), said.append)
    assert said[-1] == "fewer than 3 of the residual network's 5 seeds came to an end: epsilon: auto counts as none"
    assert study.experiment.objectives[0].epsilon == "auto"
    assert len(search(make(objectives=AUTO, trials=2, confirm=None), fake(ends=("diverged",))).ledger.replicas) == 5


def test_without_auto_nothing_is_trained(make, search, fake):
    trainer = fake()
    study = search(make(trials=3, confirm=None), trainer)
    assert len(trainer.jobs) == 3
    assert study.ledger.replicas == []


def test_the_tolerance_does_not_change_with_the_confirmation(make):
    experiment = make(objectives=AUTO)
    ledger = Ledger(replicas=[replica(seed, 0.5 + seed / 100) for seed in range(5)])
    before = with_noise(experiment, ledger)
    for seed in range(10, 20):
        ledger.confirmed["d", seed] = replica(seed, seed / 20) | {"event": "confirm"}
    assert with_noise(experiment, ledger) == before
    assert noise(ledger, "accuracy").sd > noise(ledger, "accuracy", replicas_alone=True).sd


def test_what_cannot_be_told_apart_is_said(make, study):
    done = study(make(trials=12, search={"sampler": "random"}, confirm=None))
    trials = done.ledger.ordered()
    assert list(blurred(trials, done.experiment, done.ledger)) == []
    done.ledger.replicas += [replica(seed, 0.5 + seed / 1000) for seed in range(5)]
    apart = list(blurred(trials, done.experiment, done.ledger))
    assert "over 5 seeds of the residual network of depth 3" in apart[0]
    assert apart[-1] == "All members of the front differ by more than that."
    done.ledger.replicas = [replica(seed, seed / 2) for seed in range(5)]
    together = list(blurred(trials, done.experiment, done.ledger))
    assert any("cannot be told from" in one for one in together)


def test_auto_needs_a_residual_network_that_may_be_trained(make, search):
    space = {"depth": {"low": 2, "high": 3}, "families": {"to_output": {}, "residual": {}}}
    with pytest.raises(ExperimentError, match="epsilon: auto needs the residual network, which may not be trained"):
        search(make(objectives=AUTO, space=space, limits={"flops": 1.0}))


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"metric": "flops", "goal": "minimize", "epsilon": "auto"}, "auto is of accuracy and loss"),
        (
            {"metric": "accuracy", "goal": "maximize", "epsilon": 0},
            "0 is out of range; must be more than 0, or auto",
        ),
        ({"metric": "accuracy", "goal": "maximize", "epsilon": "much"}, "'much' is no tolerance"),
    ],
)
def test_tolerances_that_are_none(make, objective, message):
    with pytest.raises(ValueError, match=message):
        make(objectives=[objective])
