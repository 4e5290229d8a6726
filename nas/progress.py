"""What a person sees while a search runs: a live board on a terminal, one line a trial elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from nas.experiment import Experiment
from nas.front import grown, pareto
from nas.jobs import Report
from nas.ledger import Ask, Ledger
from nas.records import Status, Trial
from nas.units import describe, show

SHOWN = 6  # rows of the live front
NAME = 32  # characters of a trial's family and settings
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
        self._front = pareto(ledger.ordered(), experiment.objectives)
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
        return self.ledger.finished

    def asked(self, ask: Ask, reason: str | None) -> None:
        self._bars.update(self._trials, completed=self._done())
        if reason is None and ask.number is not None:
            note = f"trial {ask.number}: {ask.point.family}, depth {ask.point.depth} ({ask.source})"
            self._bars.reset(self._current, total=None, note=note)

    def reported(self, report: Report, steps: int) -> None:
        self._bars.update(self._current, completed=report.step, total=steps)
        if self._live is not None:
            self._live.refresh()

    def paused(self, trial: Trial) -> None:
        self._bars.update(self._trials, completed=self._done())

    def finished(self, trial: Trial) -> None:
        self._front = grown(self._front, trial, self.experiment.objectives)
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
        return Group(FrontTable(self.experiment, self._front[:SHOWN], title="front so far"), self._bars)


@dataclass(frozen=True, slots=True)
class FrontTable:
    """The front for a terminal: family, each objective, accuracy, FLOPs, parameters and digest.

    What a narrow terminal has no room for is left out: the digest first, then costs that are no objectives, then
    the end of the family's settings.
    """

    experiment: Experiment
    front: tuple[Trial, ...]
    title: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        objectives: list[str] = [one.metric for one in self.experiment.objectives]
        columns = list(dict.fromkeys(["accuracy", *objectives, "flops", "parameters", "digest"]))

        def excess() -> int:
            boundless = options.update(max_width=1000)  # a measurement stops at the width it is given
            return console.measure(self._table(columns), options=boundless).maximum - options.max_width

        for spare in ("digest", "parameters", "flops"):
            if spare not in objectives and excess() > 0:
                columns.remove(spare)
        longest = max((len(describe(trial, NAME)) for trial in self.front), default=NAME)
        yield self._table(columns, longest - max(excess(), 0))

    def _table(self, columns: Sequence[str], name_width: int = NAME) -> Table:
        table = Table(title=self.title, title_justify="left", title_style="bold", box=None, pad_edge=False)
        table.add_column("trial", justify="right")
        table.add_column("family", no_wrap=True, overflow="ellipsis", max_width=max(name_width, 8))
        for column in columns:
            name = {"flops": "inference MFLOPs"}.get(column, column)
            table.add_column(name, justify="left" if column == "digest" else "right", no_wrap=True)
        for trial in self.front:
            table.add_row(str(trial.number), describe(trial, NAME), *(_cell(trial, column) for column in columns))
        return table


def _cell(trial: Trial, column: str) -> str:
    value = trial.objectives.get(column, getattr(trial, column, None))
    if column == "digest":
        return trial.digest
    if column == "parameters":
        return "–" if value is None else f"{int(value):,}"
    return show(column, value, symbol=column != "flops")
