"""``report.html`` while a search runs: a light page that reloads itself, rewritten now and then by the driver."""

import time
from collections.abc import Callable
from contextlib import suppress

from nas import sections
from nas.experiment import Experiment
from nas.files import replace_file
from nas.holder import driver
from nas.ledger import Ledger
from nas.page import cell, number, page, paragraphs, section, table
from nas.run_folder import RunFolder
from nas.standing import Running, Standing, reference_for, standing
from nas.units import describe, show, unit
from nas.volume import Reference
from nas.words import clock, pace

SHOWN = 40  # rows of running trials and of the front


class LivePage:
    """An observer of the study that rewrites the page, at most every ``report.refresh`` seconds.

    The page is for people who look on: where it cannot be written the search goes on, and its end will tell.
    """

    def __init__(
        self, folder: RunFolder, experiment: Experiment, ledger: Ledger, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder.path
        self.experiment = experiment
        self._ledger = ledger
        self._clock = clock
        self._driver = driver(folder.path)
        self._finished: list[float] = []  # of this process: what the pace is taken from
        self._reference: Reference | None = None
        self._next = -float("inf")

    def asked(self, ask: object, reason: str | None) -> None:
        self.tick()

    def reported(self, report: object, steps: int) -> None:
        self.tick()

    def paused(self, trial: object) -> None:
        self.tick()

    def finished(self, trial: object) -> None:
        self._finished.append(time.time())
        self.tick()

    def tick(self) -> None:
        """Rewrite the page if it is time to."""
        if self._clock() < self._next:
            return
        started = self._clock()
        self.write(refresh=self.experiment.report.refresh)
        # Of a huge search the page takes its time as well: never more than a twentieth of all.
        self._next = started + max(self.experiment.report.refresh, 20 * (self._clock() - started))

    def write(self, *, refresh: float | None) -> None:
        """Rewrite the page now; ``refresh`` is after how many seconds a browser is to load it again, if ever."""
        if self._reference is None or self._reference.problem:
            self._reference = reference_for(self.experiment, self._ledger)
        found = standing(
            self.experiment,
            self._ledger,
            alive=refresh is not None,
            driver=self._driver if refresh is not None else None,
            finished=self._finished,
            last=time.time(),
            reference=self._reference,
        )
        with suppress(OSError):
            replace_file(self._folder / "report.html", render(self.experiment, found, refresh).encode())


def render(experiment: Experiment, found: Standing, refresh: float | None) -> str:
    """The page of a search that has not ended."""
    trials = found.front[:SHOWN]
    metrics = [one.metric for one in experiment.objectives]
    front = [
        [number(str(one.number)), cell(describe(one)), *(number(show(m, one.objectives.get(m))) for m in metrics)]
        for one in trials
    ]
    body = [
        _headline(found, refresh),
        section("Counts", _counts(found)),
        section("Hypervolume", sections.hypervolume(found.volume)),
        section("Budget", _budget(found)),
        section("Running", _running(found.open)) if found.open else "",
        section("Front so far", table(["#", "topology", *(unit(m).axis for m in metrics)], front)) if front else "",
    ]
    return page(f"Topology search: {experiment.name}", body, refresh=refresh)


def _headline(found: Standing, refresh: float | None) -> str:
    lines = [f"State at {clock(found.now)}: {found.state}; {found.done} of {found.asked} trials have finished."]
    if found.driver is not None:
        lines.append(f"Driver: {found.driver}.")
    lines.append(pace(found) + ".")
    if refresh is None:
        lines.append("The same command with --resume continues this search; the whole report comes at its end.")
    else:
        lines.append(
            f"This page reloads itself and is rewritten about every {refresh:g} s; where its time stands still, "
            "wireloom status says whether the search still runs. The whole report comes at its end."
        )
    return f'<div class="headline">{paragraphs(lines)}</div>'


def _counts(found: Standing) -> str:
    return table(["", "trials"], [[cell(name), number(str(count))] for name, count in found.counts.items()])


def _budget(found: Standing) -> str:
    rows = [[cell(name), number(show("spent_flops", value))] for name, value in found.spent.items()]
    rows.append([cell("spent in all"), number(show("spent_flops", found.spent_flops))])
    rows.append(
        [cell(f"left, if the other {found.left} trials are like these"), number(show("spent_flops", found.left_flops))]
    )
    return table(["training compute", ""], rows)


def _running(trials: tuple[Running, ...]) -> str:
    rows = [
        [number(str(one.number)), cell(one.family), number("–" if one.depth is None else str(one.depth)),
         number(f"{one.share:.0%}"), number(show("accuracy", one.accuracy))]
        for one in trials[:SHOWN]
    ]  # fmt: skip
    more = [f"and {len(trials) - SHOWN} more"] if len(trials) > SHOWN else []
    return table(["#", "family", "depth", "of its budget", "validation accuracy"], rows) + paragraphs(more)
