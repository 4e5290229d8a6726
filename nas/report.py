"""``report.html``: one file that says what a search found, what it cost and how to do it again.

Its words are careful: a search keeps the luckiest of many trials, each of one seed.
"""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas import sections
from nas.analysis import Analysis
from nas.files import replace_file
from nas.front import Objective, measured, pareto, signed
from nas.front import winner as best_of
from nas.layers import Layers
from nas.page import cell, escaped, image, long_table, number, page, paragraphs, section, table
from nas.plots import curves_figure, pareto_figure
from nas.records import Status, Trial
from nas.tables import value_of
from nas.units import describe, difference, show, unit
from nas.volume import Volume

MOST_ROWS = 300  # of the table of all trials: a page of thousands is slow to open, and nobody reads it
_COSTS = ("flops", "parameters", "traffic", "seconds")


def write_report(
    folder: Path,
    *,
    name: str,
    trials: Sequence[Trial],
    objectives: Sequence[Objective],
    front: Sequence[Trial],
    winner: Trial | None,
    facts: Mapping[str, str],
    drawings: Mapping[str, bytes],
    commands: Sequence[tuple[str, str]],
    verdict: str = "",
    audit: Sequence[str] = (),
    confirmation: Sequence[Mapping[str, object]] = (),
    analysis: Analysis | None = None,
    volume: Volume | None = None,
    refresh: float | None = None,
) -> Path:
    """Write ``report.html`` in one step and return its path; raises OSError.

    ``drawings`` are SVG or PNG by digest, ``commands`` pairs of what it does and what to type, ``confirmation``
    the rows of the fresh-seed table, shown as they are below ``verdict``, what they come to. ``audit`` is what is said
    of early stopping, a paragraph each. ``analysis`` is what was worked out of the log. ``refresh`` is given while the
    search runs: after so many seconds a browser loads the page again.
    """
    known = {trial.digest: trial for trial in (*trials, *front)}
    body = [
        _headline(trials, objectives, winner, bool(confirmation)),
        section("Quality against cost", image(pareto_figure(trials, objectives, front), "Pareto plot")),
        section("The front", _front_note(objectives) + _trial_table(front, objectives)),
        *_confirmed(verdict, confirmation, analysis),
        section("Hypervolume", sections.hypervolume(volume)) if volume else "",
        section("Topologies", _drawings(drawings, known)) if drawings else "",
        section("Learning curves", image(curves_figure(trials, front), "learning curves")),
        section("Does a cheap rung rank like the full budget?", paragraphs(audit)) if audit else "",
        section("What the search cost", _cost(trials) + (sections.spent(analysis.spending) if analysis else "")),
        *_analysed(analysis),
        section("All trials", _all_trials(trials, objectives)),
        section("Do it again", _commands(commands)) if commands else "",
        section("Facts", _facts(facts)) if facts else "",
    ]
    path = folder / "report.html"
    replace_file(path, page(f"Topology search: {name}", body, refresh=refresh).encode())
    return path


def summary(trials: Sequence[Trial], objectives: Sequence[Objective]) -> dict[str, Any]:
    """The report's figures as values for JSON: winner, baseline, front, counts by status, cost."""
    winner = best_of(trials, objectives)
    baseline = None if winner is None else residual_baseline(trials, winner)
    return {
        "objectives": [{"metric": one.metric, "goal": one.goal} for one in objectives],
        "winner": None if winner is None else _record(winner),
        "baseline": None if baseline is None else _record(baseline),
        "front": [_record(trial) for trial in pareto(trials, objectives)],
        "counts": _counts(trials),
        "cost": {"training_flops": _spent(trials), "seconds": _seconds(trials)},
    }


def residual_baseline(trials: Sequence[Trial], winner: Trial) -> Trial | None:
    """The residual network to compare with: COMPLETE, of the winner's seed and budget; its depth is preferred."""
    fair = [
        trial
        for trial in trials
        if trial.family == "residual"
        and trial.status is Status.COMPLETE
        and (trial.seed, trial.budget_flops) == (winner.seed, winner.budget_flops)
        and trial.objectives.keys() >= winner.objectives.keys()
    ]
    depth = winner.point.get("depth")
    return min(
        fair,
        key=lambda one: (one.point.get("depth") != depth, one.source != "baseline", one.number),
        default=None,
    )


def _headline(trials: Sequence[Trial], objectives: Sequence[Objective], winner: Trial | None, confirmed: bool) -> str:
    if winner is None:
        return '<div class="headline"><p>No trial is complete yet, so there is nothing to report.</p></div>'
    caution = (
        "These figures are those of the search, which picks the luckiest of many: go by the fresh seeds below."
        if confirmed
        else "This is one seed, and the luckiest of many is picked: confirm it before you believe it."
    )
    lines = [
        f"<strong>{escaped(describe(winner))}</strong> came first: {escaped(_figures(winner, objectives))}.",
        escaped(_comparison(trials, objectives, winner)),
        escaped(caution),
        f"Trial {winner.number}, seed {winner.seed}, digest <code>{escaped(winner.digest)}</code>.",
    ]
    return '<div class="headline">' + "".join(f"<p>{line}</p>" for line in lines) + "</div>"


def _comparison(trials: Sequence[Trial], objectives: Sequence[Objective], winner: Trial) -> str:
    baseline = residual_baseline(trials, winner)
    if baseline is None:
        return "No residual network was trained in full with its seed and budget, so there is nothing to compare with."
    if baseline.digest == winner.digest:
        return "That is the residual network itself: nothing came ahead of it here."
    same_depth = baseline.point.get("depth") == winner.point.get("depth")
    which = "of the same depth" if same_depth else f"of another depth ({describe(baseline)})"
    first = objectives[0].metric
    gap = difference(first, winner.objectives[first] - baseline.objectives[first])
    return (
        f"The residual network {which}, with the same seed and training budget: {_figures(baseline, objectives)}. "
        f"Difference in {unit(first).label}: {gap}."
    )


def _figures(trial: Trial, objectives: Sequence[Objective]) -> str:
    return ", ".join(f"{unit(o.metric).label} {show(o.metric, trial.objectives.get(o.metric))}" for o in objectives)


def _front_note(objectives: Sequence[Objective]) -> str:
    goals = ", ".join(f"{unit(one.metric).label} ({one.goal})" for one in objectives)
    return f"<p>No other complete trial is as good in every objective and better in one: {escaped(goals)}.</p>"


def _all_trials(trials: Sequence[Trial], objectives: Sequence[Objective]) -> str:
    """Every trial by number, as far as a person can read that; of thousands the best, and where the others are."""
    shown, note = trials, ""
    if len(trials) > MOST_ROWS:
        full = [one for one in trials if one.status is Status.COMPLETE and measured(one, objectives)]
        order = Layers({one.number: signed(one.objectives, objectives) for one in full})
        best = {*itertools.islice(dict.fromkeys([*order, *(one.number for one in trials)]), MOST_ROWS)}
        shown = [one for one in trials if one.number in best]
        note = (
            f"<p>The best {len(shown)} of {len(trials):,} trials, by front and then by the first objective, those "
            "trained in full before others, in the order of their numbers; <code>trials.csv</code> has all of them.</p>"
        )
    return note + _trial_table(sorted(shown, key=lambda one: one.number), objectives, reasons=True)


def _trial_table(trials: Sequence[Trial], objectives: Sequence[Objective], *, reasons: bool = False) -> str:
    metrics = list(dict.fromkeys([*(one.metric for one in objectives), *_COSTS]))
    outcome = ["status"] if reasons else []
    header = ["#", *outcome, "topology", *(unit(metric).axis for metric in metrics), "seed", "source", "digest"]
    rows = []
    for trial in trials:
        figures = [number(show(metric, _value(trial, metric), symbol=False)) for metric in metrics]
        row = [number(str(trial.number)), *([cell(trial.status)] if reasons else []), cell(describe(trial)), *figures]
        row += [number(str(trial.seed)), cell(trial.source), f"<td>{_digest(trial.digest)}</td>"]
        rows.append([*row, cell(trial.reason or "")] if reasons else row)
    return table([*header, "reason"], rows) if reasons else long_table(header, rows, "trials")


def _digest(digest: str) -> str:
    return f'<code title="{escaped(digest)}">{escaped(digest[:8])}</code>'


def _confirmed(verdict: str, rows: Sequence[Mapping[str, object]], analysis: Analysis | None) -> list[str]:
    if not rows:
        return []
    title = "Confirmed on fresh seeds"
    if analysis is not None and analysis.findings is not None:
        return [section(title, sections.confirmation(analysis.findings, rows))]
    cells = [[cell("–" if item is None else str(item)) for item in row.values()] for row in rows]
    return [section(title, paragraphs([verdict] if verdict else []) + table(list(rows[0]), cells))]


def _analysed(analysis: Analysis | None) -> list[str]:
    if analysis is None:
        return []
    importance, equal = analysis.importance, analysis.equal_compute
    return [
        section("At equal training compute", sections.at_equal_compute(equal)) if equal and equal.rows else "",
        section("What one seed cannot tell apart", paragraphs(analysis.blurred)) if analysis.blurred else "",
        "" if importance is None else section("Which edges of the winner matter", sections.edges(importance)),
        section("What was not trained to its end, and why", sections.ends(analysis.reasons)),
        section("How much of the space was seen", sections.covered(analysis.coverage)),
    ]


def _cost(trials: Sequence[Trial]) -> str:
    counts = [[cell(status), number(str(count))] for status, count in _counts(trials).items()]
    total = f"{show('spent_flops', _spent(trials))} of training over {len(trials)} trials, failures included; "
    return f"<p>{escaped(total + show('seconds', _seconds(trials)))} in all.</p>" + table(["status", "trials"], counts)


def _drawings(drawings: Mapping[str, bytes], known: Mapping[str, Trial]) -> str:
    figures = []
    for digest, picture in drawings.items():
        caption = f"#{known[digest].number} {describe(known[digest])}" if digest in known else "topology"
        figures.append(
            f"<figure>{image(picture, caption)}<figcaption>{escaped(caption)} {_digest(digest)}</figcaption></figure>"
        )
    return f'<div class="drawings">{"".join(figures)}</div>'


def _commands(commands: Sequence[tuple[str, str]]) -> str:
    return "".join(f"<p>{escaped(what)}</p><pre>{escaped(command)}</pre>" for what, command in commands)


def _facts(facts: Mapping[str, str]) -> str:
    return table(["fact", "value"], [[cell(name), cell(fact)] for name, fact in facts.items()])


def _value(trial: Trial, metric: str) -> float | None:
    found = value_of(trial, metric)
    return float(found) if isinstance(found, int | float) else None


def _counts(trials: Sequence[Trial]) -> dict[str, int]:
    counts = Counter(trial.status for trial in trials)
    return {str(status): counts[status] for status in Status}


def _spent(trials: Sequence[Trial]) -> float:
    return sum(trial.spent_flops for trial in trials)


def _seconds(trials: Sequence[Trial]) -> float:
    return sum(trial.seconds or 0.0 for trial in trials)


def _record(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "family": trial.family,
        "point": dict(trial.point),
        "digest": trial.digest,
        "seed": trial.seed,
        "source": trial.source,
        "objectives": dict(trial.objectives),
        "flops": trial.flops,
        "parameters": trial.parameters,
        "traffic": trial.traffic,
        "seconds": trial.seconds,
    }
