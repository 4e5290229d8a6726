import json

import pytest
import torch
from rich.console import Console

from graphs.errors import UserError
from graphs.supernet import discretised, supernet
from nas.errors import ExperimentError
from nas.executors.serial import SerialExecutor
from nas.gates import SOURCE, GateReader, done, gated, spent_on_gates, train_gates
from nas.jobs import Outcome, Report
from nas.ledger import Ledger
from nas.records import Status
from nas.run_folder import RunFolder
from nas.spending import spending
from nas.study import Study
from trainers import checkpoint

DEPTH = 4
SPACE = {"depth": DEPTH, "families": {"residual": {}, "wiring": {"edges": {"low": 1, "high": 4}}}}
GATES = {"fan_in": 3, "topologies": 2, "depth": DEPTH}


def settings(**gates):
    return {"sampler": "random", "baselines": True, "gates": GATES | gates}


@pytest.fixture
def experiment(make):
    return make(space=SPACE, trials=6, search=settings(), confirm=None)


@pytest.fixture
def trainer(fake):
    """Pretends to train, and leaves gates that are known: reader r prefers output 0, then the others in turn."""

    def train(job):
        outcome = yield from fake()(job)
        if job.weights is not None and job.weights.name == "gates.safetensors":
            rows = {f"body.weights.gates{n}": torch.arange(n, 0, -1.0)[None] for n in range(2, DEPTH + 2)}
            checkpoint.save(job.weights, rows, {})
        return outcome

    return train


@pytest.fixture
def search(tmp_path, trainer):
    def run(experiment, train=trainer, *, only_gates=False):
        path = tmp_path / "run"
        begun = (path / "events.jsonl").exists()
        held = RunFolder.resume(path, experiment) if begun else RunFolder.create(path, experiment)
        try:
            study = Study(experiment, held, SerialExecutor(train))
            train_gates(study, lambda _: None)
            if not only_gates:
                study.run()
        finally:
            held.log.close()
        return study

    return run


def test_the_gates_become_trials_like_any_other_after_the_baselines(experiment, search):
    study = search(experiment)
    asks = study.ledger.asks
    assert [ask.source for ask in asks[:4]] == ["baseline", SOURCE, SOURCE, "random"]
    wide, narrow = (study.ledger.trials[ask.number] for ask in asks[1:3])
    rows = ((1.0,), *(tuple(float(n - i) for i in range(n)) for n in range(2, DEPTH + 2)))
    assert wide.digest == discretised(rows, 3).digest
    assert narrow.digest == discretised(rows, 2).digest
    assert wide.status is narrow.status is Status.COMPLETE
    assert wide.family == "wiring" or wide.family == "custom"
    assert narrow.family == "wiring"  # three edges beside the chain: a point that samplers can read


def test_its_training_is_counted_and_its_weights_are_gone(experiment, search, tmp_path):
    study = search(experiment)
    plan = gated(experiment)
    parts = spending(study.ledger)
    assert parts["the gated super-network"] == plan.steps * plan.flops_per_step
    assert 0 < parts["the gated super-network"] <= experiment.train.budget_gflops * 1e9
    assert parts["lost to interruptions"] == 0
    assert sum(parts.values()) == pytest.approx(
        sum(trial.spent_flops for trial in study.ledger.ordered()) + parts["the gated super-network"]
    )
    assert not (tmp_path / "run" / "weights" / "gates.safetensors").exists()
    assert study.ledger.trained == experiment.trials  # it is no trial
    assert plan.cost.flops > study.ledger.trials[0].flops  # every edge is paid for


def test_the_budget_is_a_share_of_a_trials(make):
    one = gated(make(space=SPACE, search=settings(budget=1.0)))
    half = gated(make(space=SPACE, search=settings(budget=0.5)))
    assert abs(one.steps - 2 * half.steps) <= 1
    with pytest.raises(ExperimentError, match=r"search\.gates\.budget: 1e-06 of a trial's budget buys"):
        gated(make(space=SPACE, search=settings(budget=1e-6)))


def test_left_out_the_depth_is_the_greatest(make):
    plan = gated(make(search={"gates": {}}))
    assert plan.topology.digest == supernet(3).digest


def test_a_choice_is_of_the_fan_in_that_will_be_read(make):
    for fan_in in (1, 2):
        plan = gated(make(space=SPACE, search=settings(kind="top_k", fan_in=fan_in)))
        assert plan.topology.digest == supernet(DEPTH, kind="top_k", fan_in=fan_in).digest
        assert plan.steps == gated(make(space=SPACE, search=settings())).steps, "counted as if every edge were used"


def test_an_interrupted_training_starts_again_and_what_it_cost_is_lost(experiment, search, fake, trainer):
    def killed(job):
        for count, report in enumerate(fake()(job), start=1):
            yield report
            if count == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(experiment, killed)
    study = search(experiment)
    events = study.ledger.gates
    assert [event["state"] for event in events[:5]] == ["begin", "report", "report", "report", "begin"]
    spent, lost = spent_on_gates(events)
    assert lost == events[3]["spent_flops"] > 0
    plan = gated(experiment)
    assert spent == plan.steps * plan.flops_per_step
    assert spending(study.ledger)["lost to interruptions"] == lost
    assert study.ledger.trained == experiment.trials


def test_it_is_trained_once_and_resumed_to_the_same_search(experiment, search, tmp_path):
    whole = search(experiment)
    log = tmp_path / "run" / "events.jsonl"
    events = [json.loads(line) for line in log.read_text().splitlines()]
    first_ask = next(place for place, event in enumerate(events) if event["event"] == "ask")
    for cut in (1, first_ask - 1, first_ask, first_ask + 4, first_ask + 9):
        log.write_text("".join(json.dumps(event) + "\n" for event in events[:cut]))
        again = search(experiment)
        assert len([one for one in again.ledger.gates if one["state"] == "end"]) == 1
        assert [(ask.source, ask.digest) for ask in again.ledger.asks] == [
            (ask.source, ask.digest) for ask in whole.ledger.asks
        ]
        assert again.ledger.ordered() == whole.ledger.ordered()
        assert Ledger.replay(json.loads(line) for line in log.read_text().splitlines()) == again.ledger


def test_a_lost_worker_is_no_verdict_on_it(experiment, search, trainer):
    tries = []

    def unlucky(job):
        if job.number == -1 and len(tries) < 2:
            tries.append(job)
            yield Report(-1, 3, 1.0, 0.5, 1.0, asks=False)
            return Outcome(-1, "lost", 0, 0.0, reason="its worker died")
        return (yield from trainer(job))

    study = search(experiment, unlucky)
    ended = done(study.ledger.gates)
    assert ended is not None
    assert ended["status"] == "COMPLETE"
    plan = gated(experiment)
    assert spent_on_gates(study.ledger.gates) == (plan.steps * plan.flops_per_step, 2 * 3 * plan.flops_per_step)


@pytest.mark.parametrize("end", ["diverged", "failed"])
def test_one_that_comes_to_no_end_leaves_the_search_to_go_on(experiment, search, fake, end):
    def half(job):
        return (yield from fake(ends=(end,) if job.number == -1 else ("complete",))(job))

    study = search(experiment, half)
    ended = done(study.ledger.gates)
    assert ended is not None
    assert (ended["status"], ended["gates"]) == (end.upper(), None)
    assert spending(study.ledger)["the gated super-network"] > 0
    assert not [ask for ask in study.ledger.asks if ask.source == SOURCE]
    assert study.ledger.trained == experiment.trials


def test_fewer_topologies_where_the_fan_in_ends(make, search):
    study = search(make(space=SPACE, trials=5, search=settings(fan_in=1, topologies=3), confirm=None))
    assert sum(ask.source == SOURCE for ask in study.ledger.asks) == 1


def test_without_a_log_of_gates_there_is_nothing_to_read(experiment):
    assert GateReader(experiment).propose(Ledger()) is None


def test_a_depth_that_the_space_has_not_is_refused(make):
    with pytest.raises(UserError, match=r"search\.gates\.depth: 9 is no depth of this space"):
        make(space=SPACE, search=settings(depth=9))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["softmax", "learned", "top_k"])
def test_a_real_super_network_is_trained_and_read(make, tmp_path, monkeypatch, kind):
    from nas.search import run_search

    monkeypatch.setenv("WIRELOOM_TRACKING", "off")
    experiment = make(space=SPACE, trials=3, search=settings(kind=kind), confirm=None)
    held = RunFolder.create(tmp_path / "run", experiment)
    try:
        made = run_search(experiment, held, Console(quiet=True)).study
    finally:
        held.log.close()
    ended = done(made.ledger.gates)
    assert ended is not None
    gates = ended["gates"]
    assert [len(row) for row in gates] == list(range(1, DEPTH + 2))
    assert len({entry for row in gates[1:] for entry in row}) > DEPTH  # they came apart
    if kind == "softmax":
        assert all(sum(row) == pytest.approx(1) for row in gates)
    trial = next(trial for trial in made.ledger.ordered() if trial.source == SOURCE)
    assert trial.digest == discretised(gates, 3).digest
    assert trial.status is Status.COMPLETE
    assert not (tmp_path / "run" / "weights" / "gates.safetensors").exists()
