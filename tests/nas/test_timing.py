import json
from collections import Counter

import pytest

from graphs import Topology, families
from graphs.errors import UserError
from nas import evaluate as worker
from nas.evaluate import evaluate
from nas.executors.serial import SerialExecutor
from nas.jobs import Job, Outcome, Report
from nas.latency import Latency
from nas.ledger import Ledger
from nas.pricing import backbone_options, priced
from nas.records import Status
from nas.run_folder import RunFolder
from nas.study import Study
from nas.timing import measured, timing
from trainers.recipe import Recipe

BOTH = [{"metric": "accuracy", "goal": "maximize"}, {"metric": "latency", "goal": "minimize"}]


def test_nothing_is_timed_unless_it_is_asked_for(make):
    experiment = make()
    assert timing(experiment, priced(experiment, families.residual(3)), Ledger()) is None


def test_it_is_asked_for_by_a_limit_or_an_objective(make):
    limited = make(limits={"latency": 0.5}, latency={"batch": 4, "runs": 3})
    plan = priced(limited, families.hyper(3, streams=2))
    found = timing(limited, plan, Ledger())
    assert found is not None
    assert (found.batch, found.runs, found.limit, found.known) == (4, 3, 0.5, None)
    assert Topology.from_dict(dict(found.residual)) == families.residual(3)
    wanted = timing(make(objectives=BOTH), plan, Ledger(latencies={plan.topology.digest: 0.25}))
    assert wanted is not None
    assert (wanted.limit, wanted.known) == (None, 0.25)


def test_it_is_logged_once(make):
    experiment = make(limits={"latency": 0.5})
    plan = priced(experiment, families.residual(3))
    report = Report(0, 1, 1.0, 0.5, 1.0, asks=False, latency=0.125)
    assert measured(report, plan, Ledger()) == {"latency": 0.125}
    assert measured(report, plan, Ledger(latencies={plan.topology.digest: 0.1})) == {}
    assert measured(Outcome(0, "complete", 1, 1.0), plan, Ledger()) == {}


@pytest.fixture
def slow_hyper(monkeypatch):
    """Every network takes one second, and one with streams three."""
    counts = Counter()

    def pretend(model, other, inputs, runs):
        family = model.body.plan.topology.family
        counts[family] += 1
        assert len(inputs) == 2
        assert runs == 3
        return Latency(3.0, 3.0) if family == "hyper" else Latency(1.0, 1.0)

    monkeypatch.setattr(worker, "latency", pretend)
    return counts


def search(experiment, path, evaluate=evaluate):
    begun = (path / "events.jsonl").exists()
    held = RunFolder.resume(path, experiment) if begun else RunFolder.create(path, experiment)
    try:
        study = Study(experiment, held, SerialExecutor(evaluate))
        study.run()
    finally:
        held.log.close()
    return study


def small(make, **changes):
    space = {"depth": 2, "families": {"residual": {}, "hyper": {"streams": 2}, "to_output": {}}}
    return make(space=space, trials=2, confirm=None, search={}, latency={"batch": 2, "runs": 3}, **changes)


def test_over_the_limit_nothing_is_trained_and_the_reason_says_why(make, slow_hyper, tmp_path):
    study = search(small(make, limits={"latency": 2.0}), tmp_path / "run")
    by_family = {trial.family: trial for trial in study.ledger.ordered()}
    hyper = by_family["hyper"]
    assert hyper.status is Status.REJECTED
    assert hyper.reason == (
        "latency 3 s for 2 samples, 3.00 times that of the residual network of depth 2, is over the limit 2"
    )
    assert (hyper.spent_flops, dict(hyper.objectives), hyper.curve) == (0, {}, ())
    assert by_family["residual"].status is by_family["to_output"].status is Status.COMPLETE
    assert study.ledger.trained == 2  # the slow one took nobody's place
    assert slow_hyper == {"residual": 1, "hyper": 1, "to_output": 1}
    assert study.ledger.latencies[hyper.digest] == 3.0


def test_as_an_objective_it_ranks(make, slow_hyper, tmp_path):
    study = search(small(make, objectives=BOTH), tmp_path / "run")
    assert [trial.objectives["latency"] for trial in study.ledger.ordered()] == [1.0, 3.0]


def test_what_is_known_is_not_measured_again(make, slow_hyper, tmp_path):
    """A trial that was cut off behind its first report keeps the latency of then."""
    experiment = small(make, objectives=BOTH)
    whole = search(experiment, tmp_path / "run")
    log = tmp_path / "run" / "events.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    events = [json.loads(line) for line in lines]
    first = next(place for place, event in enumerate(events) if event["event"] == "report")
    assert events[first]["latency"] == 1.0
    assert sum("latency" in event for event in events) == 2
    log.write_text("".join(lines[: first + 1]))
    slow_hyper.clear()
    again = search(experiment, tmp_path / "run")
    assert slow_hyper == {"hyper": 1}
    assert [trial.objectives for trial in again.ledger.ordered()] == [
        trial.objectives for trial in whole.ledger.ordered()
    ]


def test_a_network_that_cannot_be_timed_failed(make, monkeypatch, tmp_path):
    def broken(*_):
        raise MemoryError("no room")

    monkeypatch.setattr(worker, "latency", broken)
    study = search(small(make, limits={"latency": 2.0}), tmp_path / "run")
    assert {trial.status for trial in study.ledger.ordered()} == {Status.FAILED}
    assert study.ledger.ordered()[0].reason == "out of memory: no room"


def test_it_is_timed_where_it_is_to_be_trained(make, monkeypatch):
    seen = []

    def pretend(model, other, inputs, runs):
        networks = [next(one.parameters()) for one in (model, other)]
        seen.extend(tensor.device.type for tensor in (*networks, inputs))
        return Latency(3.0, 3.0)

    monkeypatch.setattr(worker, "latency", pretend)
    experiment = small(make, limits={"latency": 2.0})
    plan = priced(experiment, families.residual(depth=2))
    job = Job(
        number=0,
        topology=plan.topology.to_dict(),
        data="digits",
        backbone=backbone_options(experiment),
        recipe=Recipe(32, 1e-3, 0.0, 0.0, 1.0, 1),
        seed=0,
        steps=plan.steps,
        flops_per_step=plan.flops_per_step,
        report_at=(),
        latency=timing(experiment, plan, Ledger()),
        device="meta",
    )
    with pytest.raises(StopIteration) as ended:
        next(evaluate(job))
    assert ended.value.value.kind == "rejected"
    assert seen == ["meta"] * 3


def test_a_real_measurement(make, tmp_path):
    study = search(small(make, objectives=BOTH, limits={"latency": 60.0}), tmp_path / "run")
    found = [trial.objectives["latency"] for trial in study.ledger.ordered()]
    assert all(0 < seconds < 60 for seconds in found)
    with pytest.raises(UserError, match=r"latency\.runs: 0 is out of range"):
        make(latency={"runs": 0})
