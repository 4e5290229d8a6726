"""The front holds what was trained on its full budget, wherever a front is made: early stopping must not win."""

import ast
import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from nas.audit import audit
from nas.confirm import lineup_of
from nas.front import pareto, winner
from nas.jobs import Outcome, Report
from nas.open_door import DoorKeeper
from nas.progress import FrontTable, ProgressBoard
from nas.records import Status
from nas.report import _all_trials, summary
from nas.samplers.known import Known
from nas.standing import reference_for
from nas.views import Views
from nas.volume import volume

NAS = Path(__file__).parents[2] / "nas"


def flattered(job):
    """Whoever is asked is told to stop, at an accuracy that nobody reaches in full."""
    for step in sorted({*job.report_at, job.steps}):
        asks = step in job.ask_at
        accuracy = 0.99 if job.ask_at else 0.5 + 0.01 * job.number
        go_on = yield Report(job.number, step, 1.0, accuracy, 1.0 - accuracy, asks)
        if asks and job.number % 2:
            return Outcome(job.number, "stopped", step, 0.25, 0.999, 0.001, "dominated at its rung")
        assert go_on is not None or not asks
    if job.weights is not None:
        job.weights.write_bytes(b"weights")
    return Outcome(job.number, "complete", job.steps, 0.25, accuracy, 1.0 - accuracy)


@pytest.fixture
def searched(make, study, tmp_path):
    """A search in which the trials stopped early look better than any other, at no cost."""
    done = study(
        make(trials=10, search={"sampler": "random", "halving": {"rungs": 3, "keep": 0.34}, "open": {}}), flattered
    )
    ledger = done.ledger
    stopped = [trial for trial in ledger.ordered() if trial.status is Status.PRUNED]
    assert stopped
    for trial in stopped:  # better on every axis than all that is complete
        ledger.trials[trial.number] = replace(trial, objectives={"accuracy": 1.0, "flops": 1.0}, flops=1.0)
    return done


def complete(study):
    return {trial.number for trial in study.ledger.ordered() if trial.status is Status.COMPLETE}


def test_the_front_and_the_winner(searched):
    trials, objectives = searched.ledger.ordered(), searched.experiment.objectives
    assert {trial.number for trial in pareto(trials, objectives)} <= complete(searched)
    assert winner(trials, objectives).status is Status.COMPLETE
    assert winner([trial for trial in trials if trial.status is Status.PRUNED], objectives) is None


def test_the_views(searched, tmp_path):
    views = Views(tmp_path / "run", searched.experiment, searched.ledger)
    assert {trial.number for trial in views.front} <= complete(searched)
    views.write_tables()
    with (tmp_path / "run" / "pareto.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows
    assert {row["status"] for row in rows} == {"COMPLETE"}
    told = summary(searched.ledger.ordered(), searched.experiment.objectives)
    assert {one["number"] for one in told["front"]} <= complete(searched)
    assert told["winner"]["number"] in complete(searched)


def test_the_confirmation(searched):
    lineup = lineup_of(searched.experiment, searched.ledger.ordered())
    assert {lineup.winner.number, *(trial.number for trial in lineup.others)} <= complete(searched)


def test_the_hypervolume(searched):
    trials = searched.ledger.ordered()
    reference = reference_for(searched.experiment, searched.ledger)
    complete = [trial for trial in trials if trial.status is Status.COMPLETE]
    with_stopped, without = (volume(each, searched.experiment.objectives, reference) for each in (trials, complete))
    assert without.curve
    assert {one.value for one in with_stopped.curve} == {one.value for one in without.curve}
    assert with_stopped.value == without.value


def test_the_audit(searched, monkeypatch):
    monkeypatch.setattr("nas.audit.FEWEST", len(complete(searched)))
    monkeypatch.setattr("nas.audit._at", lambda experiment, trial, share, classes: trial.objectives)
    found = audit(searched.experiment, searched.ledger, 10)
    assert {one.topologies for one in found.ranks} == {len(complete(searched))}


def test_a_long_page(searched, monkeypatch):
    monkeypatch.setattr("nas.report.MOST_ROWS", len(complete(searched)))
    page = _all_trials(searched.ledger.ordered(), searched.experiment.objectives)
    assert page.count(f"<td>{Status.COMPLETE}</td>") == len(complete(searched))
    assert f"<td>{Status.PRUNED}</td>" not in page
    stopped = [one for one in searched.ledger.ordered() if one.status is Status.PRUNED]
    monkeypatch.setattr("nas.report.MOST_ROWS", len(stopped) - 1)
    page = _all_trials(stopped, searched.experiment.objectives)
    assert page.count(f"<td>{Status.PRUNED}</td>") == len(stopped) - 1, "where none is complete, why not is to be read"


def test_the_samplers(searched):
    assert all(told.status is Status.COMPLETE for told in Known(searched.ledger.history()).complete)


def test_the_display(searched):
    console = Console(width=200, record=True, file=io.StringIO())
    board = ProgressBoard(searched.experiment, searched.ledger, console)
    front = pareto(searched.ledger.ordered(), searched.experiment.objectives)
    console.print(board._board())
    console.print(FrontTable(searched.experiment, front, "x"))
    shown = {int(line.split()[0]) for line in console.export_text().splitlines() if line[:6].strip().isdigit()}
    assert shown <= complete(searched)


def test_the_open_door(searched, tmp_path):
    DoorKeeper(searched.experiment, tmp_path / "run", searched.ledger, pytest.fail).start()
    front = json.loads((tmp_path / "run" / "results" / "_front.json").read_text())
    assert {one["trial"] for one in front} <= complete(searched)


def test_the_weights_that_are_kept(searched):
    searched._tidy()
    kept = {int(path.stem.partition("-")[2]) for path in searched.folder.weights.glob("trial-*")}
    assert kept <= complete(searched)


def test_nobody_else_makes_a_front_of_his_own():
    """A front beside ``pareto`` would need a test here: halving ranks in a rung, others what is complete."""
    makers = {"nas.front": {"nondominated_sort", "dominates", "beaten", "first_free"}, "nas.layers": {"Layers"}}
    users = set()
    for path in NAS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and {alias.name for alias in node.names} & makers.get(
                node.module, set()
            ):
                users.add(path.relative_to(NAS).as_posix())
    assert users == {"audit.py", "halving.py", "layers.py", "report.py", "rungs.py", "samplers/known.py"}
