import io

import pytest
from rich.console import Console

from nas.front import pareto
from nas.jobs import Report
from nas.ledger import Ledger
from nas.progress import FrontTable, ProgressBoard
from nas.records import Status


@pytest.fixture
def shown(make, study, wide, fake):
    """A finished search watched on a console, and what the console got."""

    def watch(**options):
        text = io.StringIO()
        console = Console(file=text, width=150, **options)
        experiment = make(space=wide, trials=12, limits={"flops": 9_500}, search={"sampler": "random"})
        board = ProgressBoard(experiment, Ledger(), console)
        with board:
            done = study(experiment, fake(ends=("complete", "complete", "failed")), observers=(board,))
            board.ledger = done.ledger
            board.say("[red]a note[/red]")
        return done, text.getvalue()

    return watch


def test_without_a_terminal_each_trial_is_one_line(shown):
    done, text = shown()
    lines = text.splitlines()
    trials = done.ledger.ordered()
    assert len(lines) == len(trials) + 1
    for line, trial in zip(lines, trials, strict=False):
        assert line.split()[:3] == [str(trial.number), trial.status.value, trial.family]
        assert (trial.reason or "%") in line or trial.status is Status.PRUNED
    assert lines[-1] == "[red]a note[/red]"
    assert "\x1b" not in text


def test_on_a_terminal_the_board_is_drawn_and_taken_down(shown):
    _, text = shown(force_terminal=True)
    assert "front so far" in text
    assert "/12" in text
    assert text.rstrip().endswith("\x1b[?25h"), "the cursor is shown again"


def test_a_report_moves_the_bar(make):
    board = ProgressBoard(make(), Ledger(), Console(file=io.StringIO(), force_terminal=True))
    with board:
        board.reported(Report(0, 30, 1.0, 0.5, 0.7, False), 120)
    task = board._bars.tasks[1]
    assert (task.completed, task.total) == (30, 120)


@pytest.mark.parametrize("width", [48, 60, 70, 80, 100, 120])
def test_a_narrow_terminal_loses_the_digest_first_and_no_figure(make, study, wide, width):
    done = study(make(space=wide, trials=10, search={"sampler": "random"}))
    front = pareto(done.ledger.ordered(), done.experiment.objectives)
    text = io.StringIO()
    Console(file=text, width=width).print(FrontTable(done.experiment, front, title="Pareto front"))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    rows = lines[-len(front) :]
    for row, trial in zip(rows, front, strict=True):
        cells = row.split()
        assert cells[0] == str(trial.number)
        assert f"{100 * trial.accuracy:.2f} %" in row
        assert f"{trial.flops / 1e6:.3f}" in cells
        # Whole or not at all.
        assert (cells[-1] == trial.digest) == (width >= 100)
        assert (f"{trial.parameters:,}" in cells) == (width >= 70)
        assert "…" not in row or width < 70


def test_an_objective_stays_however_narrow(make, study):
    objectives = [{"metric": "accuracy", "goal": "maximize"}, {"metric": "parameters", "goal": "minimize"}]
    done = study(make(trials=3, objectives=objectives))
    text = io.StringIO()
    table = FrontTable(done.experiment, done.ledger.ordered(), title="front")
    Console(file=text, width=50).print(table)
    assert all(f"{trial.parameters:,}" in text.getvalue() for trial in done.ledger.ordered())
    assert "MFLOPs" not in text.getvalue()


def test_the_front_has_one_row_a_trial_with_every_objective(make, study, wide):
    done = study(make(space=wide, trials=10, search={"sampler": "random"}))
    front = pareto(done.ledger.ordered(), done.experiment.objectives)
    text = io.StringIO()
    Console(file=text, width=200).print(FrontTable(done.experiment, front, title="Pareto front"))
    lines = text.getvalue().splitlines()
    assert lines[0].strip() == "Pareto front"
    assert lines[1].split() == ["trial", "family", "accuracy", "inference", "MFLOPs", "parameters", "digest"]
    assert len(lines) == len(front) + 2
    for line, trial in zip(lines[2:], front, strict=True):
        assert line.split()[0] == str(trial.number)
        assert line.split()[-1] == trial.digest
        assert f"{100 * trial.accuracy:.2f} %" in line
        assert f"{trial.parameters:,}" in line
