"""What a person sees while a search runs: a live board on a terminal, one line a trial elsewhere."""

from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from nas.experiment import Experiment
from nas.front import pareto
from nas.jobs import Report
from nas.ledger import Ask, Ledger
from nas.records import Status, Trial
from nas.units import describe, show

SHOWN = 6  # rows of the live front
COLOURS = {
    Status.COMPLETE: "green",
    Status.PRUNED: "yellow",
    Status.REJECTED: "bright_black",
    Status.DIVERGED: "magenta",
    Status.FAILED: "red",
}


class ProgressBoard:
    """An observer of the study that draws; a context manager that owns the terminal meanwhile."""

    def __init__(self, experiment: Experiment, ledger: Ledger, console: Console) -> None:
        self.experiment = experiment
        self.ledger = ledger
        self.console = console
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
        self._bars = Progress(*columns, TimeRemainingColumn(compact=True), TextColumn("{task.fields[note]}"))
        self._trials = self._bars.add_task("trials", total=experiment.trials, completed=self._done(), note="")
        self._current = self._bars.add_task("training", total=None, note="starting")
        live = console.is_terminal
        self._live = Live(get_renderable=self._board, console=console, refresh_per_second=4) if live else None

    def __enter__(self) -> "ProgressBoard":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def _done(self) -> int:
        return sum(trial.status.trained for trial in self.ledger.trials.values())

    def asked(self, ask: Ask, reason: str | None) -> None:
        self._bars.update(self._trials, completed=self._done())
        if reason is None and ask.number is not None:
            note = f"trial {ask.number}: {ask.point.family}, depth {ask.point.depth} ({ask.source})"
            self._bars.reset(self._current, total=None, note=note)

    def reported(self, report: Report, steps: int) -> None:
        self._bars.update(self._current, completed=report.step, total=steps)
        if self._live is not None:
            self._live.refresh()

    def finished(self, trial: Trial) -> None:
        self._bars.update(self._trials, completed=self._done())
        self.console.print(self._line(trial), soft_wrap=True)

    def say(self, message: str) -> None:
        """A line above the board."""
        self.console.print(Text(message, style="yellow"))

    def _line(self, trial: Trial) -> Text:
        found = "  ".join(show(metric, value) for metric, value in trial.objectives.items()) or trial.reason or ""
        line = Text(f"{trial.number:>4}  ")
        line.append(f"{trial.status.value:<9}", style=COLOURS[trial.status])
        line.append(f" {describe(trial, 44):<44}  {found}")
        return line

    def _board(self) -> Group:
        front = pareto(self.ledger.ordered(), self.experiment.objectives)
        return Group(front_table(self.experiment, front[:SHOWN], title="front so far"), self._bars)


def front_table(experiment: Experiment, front: tuple[Trial, ...], title: str) -> Table:
    """The front for a terminal: family, each objective, accuracy, FLOPs, parameters and digest."""
    metrics = dict.fromkeys(["accuracy", *(one.metric for one in experiment.objectives), "flops", "parameters"])
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("trial", justify="right")
    table.add_column("family", no_wrap=True, overflow="ellipsis")
    for metric in metrics:
        table.add_column({"flops": "inference MFLOPs"}.get(metric, metric), justify="right")
    table.add_column("digest")
    for trial in front:
        cells = []
        for metric in metrics:
            value = trial.objectives.get(metric)
            own = getattr(trial, metric, None)
            shown = value if value is not None else own
            if metric == "parameters":
                cells.append("–" if shown is None else f"{int(shown):,}")
            else:
                cells.append(show(metric, shown, symbol=metric != "flops"))
        table.add_row(str(trial.number), describe(trial, 32), *cells, trial.digest)
    return table
