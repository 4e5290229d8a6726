"""Where a search stands, in words: for the terminal and for the page."""

import time
from collections.abc import Iterator

from nas.curve import sparkline
from nas.experiment import Objective
from nas.standing import Standing
from nas.units import describe, show
from nas.volume import Reference

LONGEST = 12  # members of the front, running trials that are listed


def lines(found: Standing, objectives: tuple[Objective, ...]) -> Iterator[str]:
    """What ``wireloom status`` prints, a line each."""
    yield f"{found.name}: {found.state}, {found.done} of {found.asked} trials finished"
    if found.alive:
        yield f"driver: {found.driver or 'alive, but it could not write its name'}"
    else:
        since = "" if found.last is None else f"; the last event is of {clock(found.last)}"
        how = "" if found.state == "finished" else "; the same command with --resume continues"
        yield f"driver: none{since}{how}"
    yield "trials: " + ", ".join(f"{count} {name.lower()}" for name, count in found.counts.items() if count)
    yield f"compute: {show('spent_flops', found.spent_flops)} of training spent, " + (
        f"about {show('spent_flops', found.left_flops)} left in {found.left} trials" if found.left else "no trials left"
    )
    if found.confirmed:
        yield f"confirmation: {found.confirmed} trainings on fresh seeds so far"
    yield f"pace: {pace(found)}"
    yield from _volume(found)
    for one in found.open[:LONGEST]:
        depth = "" if one.depth is None else f" depth {one.depth}"
        accuracy = "" if one.accuracy is None else f", accuracy {show('accuracy', one.accuracy)}"
        yield f"running: trial {one.number}, {one.family}{depth}, {one.share:.0%} of its budget{accuracy}"
    if len(found.open) > LONGEST:
        yield f"running: and {len(found.open) - LONGEST} more"
    for trial in found.front[:LONGEST]:
        values = ", ".join(show(one.metric, trial.objectives.get(one.metric)) for one in objectives)
        yield f"front: trial {trial.number}, {describe(trial, 40)}: {values}"
    if len(found.front) > LONGEST:
        yield f"front: and {len(found.front) - LONGEST} more"


def _volume(found: Standing) -> Iterator[str]:
    if found.volume.reference.problem is not None:
        yield f"hypervolume: none yet; {found.volume.reference.problem}"
        return
    yield f"hypervolume: {found.volume.value:.4g}  {sparkline([(one.flops, one.value) for one in found.volume.curve])}"
    yield f"  {reference_words(found.volume.reference)}"


def pace(found: Standing) -> str:
    """How fast the search goes and when its trials will have finished."""
    if found.hourly is None:
        if found.state in ("running", "confirming"):
            return "no trial of this driver has finished yet"
        return "nothing is running"
    text = f"{found.hourly:.3g} trials an hour"
    return text if found.end is None else f"{text}; the other {found.left} by about {clock(found.end)}"


def reference_words(reference: Reference) -> str:
    """What the hypervolume is measured from and how it counts."""
    named = "; ".join(
        f"{metric} {show(metric, worst)} ({reference.origins[metric]})" for metric, worst in reference.values.items()
    )
    return f"Measured from {named}; quality as its gain over that, costs in decades below it."


def clock(when: float) -> str:
    """A moment as people read it, in local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))
