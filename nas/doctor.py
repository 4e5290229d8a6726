"""``wireloom doctor``: every disagreement of a run's folder with its event log, and its repair."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from graphs.errors import UserError
from nas import holder, problems
from nas.events import EventLog
from nas.holder import Driver
from nas.mirror import check, mirrored, place_of
from nas.problems import Case, Problem
from nas.storage import StorageError
from nas.tracking_check import of_tracking
from nas.views import Views


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong, what was mended, and who drives the run, whose work is then no disagreement."""

    folder: Path
    alive: bool
    driver: Driver | None
    found: tuple[Problem, ...]
    mended: tuple[Problem, ...] = ()

    @property
    def healthy(self) -> bool:
        return not self.found

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "folder": str(self.folder),
            "healthy": self.healthy,
            "alive": self.alive,
            "problems": [_plain(one) for one in self.found],
            "mended": [_plain(one) for one in self.mended],
        }

    def lines(self) -> Iterator[str]:
        """What a person reads."""
        for one in self.mended:
            yield f"mended: {one.what}\n  {one.where}"
        for one in self.found:
            yield f"{one.kind}: {one.what}\n  {one.where}\n  --repair does: {one.repair}"
        if self.alive:
            yield (
                f"a driver is at work ({self.driver or 'it left no name'}): what it has under way is no disagreement, "
                "and files that it is about to write were not compared"
            )
        count = len(self.found)
        yield "healthy" if self.healthy else f"{count} disagreement{'s' * (count != 1)} with the event log"


def diagnose(folder: Path) -> Diagnosis:
    """Look at a run's folder and write nothing; RunFolderError where it is none or its log is damaged."""
    alive, driver = holder.held(folder), holder.driver(folder)
    case = Case(Views.open(folder), alive)
    return Diagnosis(folder, alive, driver, tuple(_problems(case)))


def repair(folder: Path, *, rebuild: bool = False) -> Diagnosis:
    """Mend what can be mended and look again; ``rebuild`` makes every view anew from the log as well.

    Raises RunFolderError where somebody drives the run, as for :func:`diagnose`, and OSError on a full disk.
    """
    before = Case(Views.open(folder), holder.held(folder))  # a folder without a run gets no log
    of_log = list(problems.of_log(before))
    log = EventLog(folder / "events.jsonl")  # cuts half a line off; nobody else drives the run meanwhile
    try:
        case = Case(Views.open(folder), alive=False)
        found = [*of_log, *_rest(case)]
        failed = _mend(found)
        if rebuild:
            case.views.write_all()
        left = tuple(_rest(Case(Views.open(folder), alive=False)))
    finally:
        log.close()
    keys = {_key(one) for one in left}
    left = tuple(
        replace(one, repair=f"{one.repair}; it failed: {failed[_key(one)]}") if _key(one) in failed else one
        for one in left
    )
    return Diagnosis(folder, False, None, left, tuple(one for one in found if _key(one) not in keys))


def _mend(found: Iterable[Problem]) -> dict[tuple[str, str, str], str]:
    """Do every repair once; what went wrong by problem."""
    done: list[Callable[[], object]] = []
    failed: dict[tuple[str, str, str], str] = {}
    for problem in found:
        if problem.fix is None or problem.fix in done:
            continue
        done.append(problem.fix)
        try:
            problem.fix()
        except (UserError, OSError) as error:
            failed[_key(problem)] = str(error)
    return failed


def _problems(case: Case) -> Iterator[Problem]:
    yield from problems.of_log(case)
    yield from _rest(case)


def _rest(case: Case) -> Iterator[Problem]:
    """Everything but the end of the log and the driver's name, which whoever repairs has changed by then."""
    yield from problems.of_facts(case)
    yield from problems.of_proposals(case)
    yield from problems.of_files(case)
    yield from problems.of_views(case)
    yield from of_tracking(case)
    yield from _of_mirror(case)


def _of_mirror(case: Case) -> Iterator[Problem]:
    """Whether the mirror, where there is to be one, has the whole log."""
    uri, log = case.experiment.storage, case.folder / "events.jsonl"
    if uri is None:
        return
    try:
        place = place_of(uri, case.folder)
        check(place, log)
        held = place.read(log.name) or b""
    except StorageError as error:
        yield Problem("mirror", str(error), uri, "nothing: see there")
        return
    missing = log.read_bytes().count(b"\n") - held.count(b"\n")
    if missing and not case.alive:
        what = f"the mirror lacks the last {missing} events"
        yield Problem("mirror", what, place.uri, "copy them there", _Copy(case.folder, uri))


@dataclass(frozen=True, slots=True)
class _Copy:
    """Brings a run's mirror up to date."""

    folder: Path
    uri: str

    def __call__(self) -> None:
        said: list[str] = []
        with mirrored(self.folder, self.uri, said.append):
            pass
        if said:
            raise StorageError("; ".join(said))


def _key(problem: Problem) -> tuple[str, str, str]:
    return problem.kind, problem.what, problem.where


def _plain(problem: Problem) -> dict[str, Any]:
    return {
        "kind": problem.kind,
        "what": problem.what,
        "where": problem.where,
        "repair": problem.repair,
        "mendable": problem.fix is not None,
    }
