"""The report's sections on what was worked out of the log, as HTML."""

from collections.abc import Mapping, Sequence

from nas.coverage import Coverage
from nas.curve import steps_svg
from nas.edges import Importance
from nas.equal_compute import EqualCompute
from nas.findings import Findings
from nas.page import cell, details, image, long_table, number, paragraphs, table
from nas.plots import confirmed_figure
from nas.reasons import Reason
from nas.units import difference, show
from nas.volume import Volume
from nas.words import reference_words

MOST_SAID = 12  # values that nobody tried are named up to so many


def confirmation(found: Findings, rows: Sequence[Mapping[str, object]]) -> str:
    """The comparison of the confirmed networks, the redrawn front, and each training's row behind a fold."""
    header = [
        "network", "role", "inference cost (MFLOPs)", "n", "test mean", "sd", "in the search (validation)",
        "paired difference", "95 % bootstrap interval", "said", "compute advantage", "its interval",
    ]  # fmt: skip
    lines = []
    for row in found.rows:
        compared = row.comparison
        line = [cell(row.name), cell(row.role), number(show("flops", row.flops, symbol=False)), number(str(row.seeds))]
        line += [number(show(found.metric, value)) for value in (row.mean, row.sd, row.searched)]
        if compared is None:
            lines.append([*line, *[cell("–")] * 5])
            continue
        line += [number(found.gap(compared.difference)), number(found.interval(compared)), cell(compared.word)]
        read = (row.advantage, row.advantage_low, row.advantage_high)
        ends = "–" if row.advantage is None else f"{read[1]} to {read[2]}"
        lines.append([*line, cell("–" if row.advantage is None else str(read[0])), cell(ends)])
    picture = image(confirmed_figure(found), "the front on fresh seeds")
    each = table(list(rows[0]), [[cell("–" if v is None else str(v)) for v in row.values()] for row in rows])
    return paragraphs(found.sentences()) + picture + table(header, lines) + details("every training", each)


def hypervolume(found: Volume) -> str:
    """The hypervolume over trials and over training compute, and what it is measured from."""
    if found.reference.problem is not None:
        return paragraphs([f"No hypervolume yet: {found.reference.problem}."])
    by_trials = steps_svg([(one.trials, one.value) for one in found.curve], "trials finished", "hypervolume")
    by_flops = steps_svg([(one.flops / 1e12, one.value) for one in found.curve], "training TFLOPs", "hypervolume")
    pictures = image(by_trials, "hypervolume by trial") + image(by_flops, "hypervolume by training compute")
    return paragraphs([f"{found.value:.4g}. {reference_words(found.reference)}"]) + pictures


def at_equal_compute(found: EqualCompute) -> str:
    """The front and the baselines at equal training compute."""
    text = (
        f"Validation {found.metric} of one seed, read off each learning curve between its measurements, in the "
        "logarithm of training compute; a dash where a curve was not measured yet. The last column is where the first "
        "curve ends."
    )
    header = ["trial", "network", "role", *(show("spent_flops", level) for level in found.levels)]
    rows = [
        [number(f"#{row.trial}"), cell(row.name), cell(row.role), *(number(show(found.metric, v)) for v in row.values)]
        for row in found.rows
    ]
    return paragraphs([text]) + long_table(header, rows, "networks")


def edges(found: Importance) -> str:
    """What each edge of the trained winner is worth."""
    if found.problem is not None:
        return paragraphs([f"{found.problem[0].upper()}{found.problem[1:]}."])
    text = (
        f"Each edge of the trained winner was taken out alone, with everything else as it is and nothing trained "
        f"again, and {found.samples:,} validation samples measured: {show('accuracy', found.accuracy)} with all edges. "
        "A small change says that this network can do without, not that a network trained without would be as good."
    )
    more = f"The {found.left_out} smallest weights were left out." if found.left_out else ""
    rows = [
        [
            cell(str(edge)),
            number(f"{edge.weight:.3g}"),
            number(difference("accuracy", edge.accuracy)),
            number(difference("loss", edge.loss)),
        ]
        for edge in found.edges
    ]
    header = ["edge", "weight", "change of validation accuracy", "change of validation loss"]
    shown, rest = rows[:MOST_SAID], rows[MOST_SAID:]
    folded = details(f"the other {len(rest)} edges", table(header, rest)) if rest else ""
    return paragraphs([text, *filter(None, [more])]) + table(header, shown) + folded


def ends(found: Sequence[Reason]) -> str:
    """What was rejected, pruned, diverged or failed, and why."""
    if not found:
        return paragraphs(["Every proposal was trained in full."])
    rows = []
    for one in found:
        dots = ", .." if one.count > len(one.trials) else ""
        numbers = ", ".join(f"#{trial}" for trial in one.trials) + dots
        rows.append([cell(one.status), number(str(one.count)), cell(one.reason), cell(numbers)])
    note = "Reasons that differ in their figures alone are one row, with the first one's figures."
    return paragraphs([note]) + table(["outcome", "count", "reason", "trials"], rows)


def spent(parts: Mapping[str, float]) -> str:
    """The whole cost in training FLOPs, by what it was spent on."""
    total = sum(parts.values())
    rows = [[cell(name), number(show("spent_flops", value))] for name, value in parts.items() if value]
    rows.append([cell("total"), number(show("spent_flops", total))])
    return table(["training compute", ""], rows)


def covered(found: Coverage) -> str:
    """How evenly the search looked at the space it declared."""
    text = (
        f"{found.asks} proposals beside the baselines, rejected and repeated ones included. Declared is the share of "
        "uniform draws; a search is meant to leave it for what is good, but what nobody tried it cannot know."
    )
    missed = [f"{one.parameter} = {one.value}" for one in found.missed]
    lines = [text, _named("Never trained", missed) if missed else "Every declared value was trained at least once."]
    if found.edges:
        never = [f"{one.layer} {one.edge} at depth {one.depth}" for one in found.missed_edges]
        had = len(found.edges) - len(never)
        lines.append(f"Free edges: {had} of the {len(found.edges)} at the depths asked for were trained.")
        lines += [_named("Never trained", never)] if never else []
    rows = [
        [
            cell(one.parameter),
            cell(one.value),
            number(f"{one.declared:.1%}"),
            number(f"{one.asked / one.asks:.1%}" if one.asks else "–"),
            number(f"{one.asked} of {one.asks}"),
            number(str(one.trained)),
        ]
        for one in found.marginals
    ]
    header = ["parameter", "value", "declared", "asked", "proposals", "trained"]
    each = [
        [cell(one.layer), number(str(one.depth)), cell(one.edge), number(f"{one.asked} of {one.asks}"),
         number(str(one.trained))]
        for one in found.edges
    ]  # fmt: skip
    folded = details("every free edge", table(["layer", "depth", "edge", "asked", "trained"], each)) if each else ""
    return paragraphs(lines) + table(header, rows) + folded


def _named(what: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_SAID} more" if len(names) > MOST_SAID else ""
    return f"{what}: {', '.join(names[:MOST_SAID])}{more}."
