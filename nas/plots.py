"""Pictures of a search as PNG bytes: the Pareto plot and the learning curves. The only user of matplotlib here.

Figures are made without pyplot, so nothing is global and no display is needed.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nas.files import replace_file
from nas.front import Objective, pareto
from nas.records import Status, Trial
from nas.units import tell_apart, unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nas.findings import Findings

# Okabe and Ito's colours, told apart with any colour vision; the shapes tell families apart without colour.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F3C8D", "#000000")
_SHAPES = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h")
_FAINT = "#9a9a9a"
_Spots = dict[int, tuple[float, float]]  # by trial number, in shown units
_Styles = dict[str, tuple[str, str]]  # colour and shape by family
LISTED = 28  # curves named in the legend, as many as there is room for
_INCHES = (9.0, 6.0)  # 900 x 600 pixels at 100 dots per inch


def pareto_figure(trials: Sequence[Trial], objectives: Sequence[Objective], front: Sequence[Trial]) -> bytes:
    """The trials in the plane of the first two objectives, with the front, as PNG.

    The first objective is on the y axis, the second on the x axis. With one objective: value against
    trial number, with the best value so far.
    """
    figure, axes = _canvas()
    if len(objectives) < 2:
        _progress(axes, trials, objectives[0])
    else:
        _plane(axes, trials, objectives, front)
    return _png(figure, axes)


def save_pareto(path: Path, trials: Sequence[Trial], objectives: Sequence[Objective], front: Sequence[Trial]) -> None:
    """Write :func:`pareto_figure` to ``path`` in one step; raises OSError."""
    replace_file(path, pareto_figure(trials, objectives, front))


def curves_figure(trials: Sequence[Trial], highlight: Sequence[Trial]) -> bytes:
    """Learning curves against training GFLOPs as PNG: ``highlight`` in colour, baselines dashed, others faint.

    Shows validation accuracy; validation loss, then training loss, where no trial measured the former.
    """
    from matplotlib.collections import LineCollection

    figure, axes = _canvas()
    metric = next((name for name in ("accuracy", "loss") if _any_curve(trials, name)), "train_loss")
    styles = _styles(trials)
    coloured = {trial.number for trial in highlight}
    known = sum(trial.source == "baseline" and trial.number not in coloured for trial in trials)
    listed = {trial.number for trial in highlight[: max(LISTED - known, 1)]}  # the legend is not to leave the picture
    names = tell_apart([trial for trial in trials if trial.number in coloured or trial.source == "baseline"])
    late: list[float] = []
    furthest = max((point.flops for trial in trials for point in trial.curve), default=0.0)
    faint: list[list[tuple[float, float]]] = []
    for trial in trials:
        points = [(point.flops / 1e9, getattr(point, metric)) for point in trial.curve]
        points = [(x, y * unit(metric).scale) for x, y in points if y is not None and math.isfinite(y)]
        if not points:
            continue
        if trial.number not in names:
            faint.append(points)
            continue
        colour, shape = styles[trial.family]
        look: dict[str, Any] = {
            "color": colour,
            "marker": shape,
            "markersize": 4.5,
            "linewidth": 2.0 if trial.number in coloured else 1.2,
            "linestyle": "-" if trial.number in coloured else "--",
            "label": f"#{trial.number} {names[trial.number]}" if trial.number not in coloured - listed else None,
            "zorder": 3 if trial.number in coloured else 2,
        }
        late += [y for x, y in points if x * 1e9 >= 0.2 * furthest]
        axes.plot(*zip(*points, strict=True), **look)
    if len(coloured) > len(listed):
        axes.plot([], [], color="none", label=f"and {len(coloured) - len(listed)} more of the front")
    if faint:  # as one thing to draw: thousands of lines on their own take a minute
        axes.add_collection(LineCollection(faint, colors=_FAINT, alpha=0.35, linewidths=0.9, zorder=1))
        axes.autoscale_view()
    if late and max(late) > min(late):
        # The climb from chance would squeeze what one came to compare into the top of the picture.
        pad = 0.08 * (max(late) - min(late))
        axes.set_ylim(min(late) - pad, max(late) + pad)
    axes.set_xlabel("training compute spent (GFLOPs)")
    axes.set_ylabel(unit(metric).axis)
    axes.set_title("Learning curves (dashed: baselines, faint: others)", loc="left")
    return _png(figure, axes)


def confirmed_figure(found: "Findings") -> bytes:
    """The front as fresh seeds have it: mean on the test split with its 95 % interval against inference cost, as PNG.

    Hollow marks are what the search had measured on the validation split, one seed: the distance is what luck and the
    other split make. The interval is Student's t over seeds.
    """
    from nas.compare import interval_of

    figure, axes = _canvas()
    shape = unit(f"test_{found.metric}")
    names = sorted({row.family for row in found.rows})
    for row in found.rows:
        if row.mean is None:
            continue
        place = names.index(row.family)
        colour, marker = _COLOURS[place % len(_COLOURS)], _SHAPES[place % len(_SHAPES)]
        x = row.flops * unit("flops").scale
        half = interval_of(row.sd, row.seeds) * shape.scale
        look: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": "none", "markersize": 8, "capsize": 4}
        look |= {"markeredgecolor": "black"} if row.role == "baseline" else {}
        axes.errorbar([x], [row.mean * shape.scale], yerr=[half], label=f"{row.role}: {row.name}"[:44], **look)
        if row.searched is not None:
            axes.scatter([x], [row.searched * shape.scale], facecolors="none", edgecolors=colour, marker=marker, s=40)
    axes.margins(0.1)
    axes.set_xlabel(unit("flops").axis)
    axes.set_ylabel(shape.axis)
    axes.set_title("Fresh seeds, 95 % intervals (hollow: what the search saw)", loc="left")
    return _png(figure, axes)


def _plane(axes: "Axes", trials: Sequence[Trial], objectives: Sequence[Objective], front: Sequence[Trial]) -> None:
    y, x = (unit(one.metric) for one in objectives[:2])
    shown = [trial for trial in trials if _place(trial, objectives) is not None]
    spots = {trial.number: _place(trial, objectives) or (0.0, 0.0) for trial in shown}
    across = [spot[0] for spot in spots.values()]
    _scatter(axes, shown, spots, _styles(trials))
    # With three objectives the front's shadow on this plane is no staircase, so the line keeps its 2-D front.
    shaded: tuple[list[tuple[float, float]], Literal["pre", "post"]] | None = None
    line = sorted(spots[trial.number] for trial in pareto(front, objectives[:2]) if trial.number in spots)
    if line:
        where: Literal["pre", "post"] = "post" if objectives[1].goal == "minimize" else "pre"
        axes.step(*zip(*line, strict=True), where=where, color="#333333", linewidth=1.4, label="front", zorder=2)
        shaded = line, where
    if across and min(across) > 0 and max(across) > 10 * min(across):
        axes.set_xscale("log")
    axes.margins(0.08)
    # Trials stopped early are far below what they would have reached; they do not set the scale.
    full = [spots[trial.number][1] for trial in shown if trial.status is Status.COMPLETE]
    if full and max(full) > min(full):
        pad = 0.08 * (max(full) - min(full))
        axes.set_ylim(min(full) - pad, max(full) + pad)
    if shaded is not None:
        _shade(axes, *shaded, up=objectives[0].goal == "maximize")
    _label_baselines(axes, shown, spots)
    axes.set_ylabel(f"{y.axis}, {_better(objectives[0])}")
    axes.set_xlabel(f"{x.axis}, {_better(objectives[1])}")
    axes.set_title(f"{y.label.capitalize()} against {x.label}", loc="left")


def _shade(axes: "Axes", line: list[tuple[float, float]], where: Literal["pre", "post"], *, up: bool) -> None:
    """Fill what the front dominates, as far as the picture goes."""
    ends, worst = axes.get_xlim(), axes.get_ylim()[0 if up else 1]
    edge = (ends[1], line[-1][1]) if where == "post" else (ends[0], line[0][1])
    xs, ys = zip(*sorted([*line, edge]), strict=True)
    axes.fill_between(xs, ys, worst, step=where, color="#0072B2", alpha=0.06, linewidth=0, zorder=0)
    axes.set_xlim(ends)


def _progress(axes: "Axes", trials: Sequence[Trial], objective: Objective) -> None:
    from matplotlib.ticker import MaxNLocator

    shape = unit(objective.metric)
    values = {trial.number: trial.objectives.get(objective.metric, math.nan) for trial in trials}
    shown = [
        trial
        for trial in sorted(trials, key=lambda one: one.number)
        if trial.status in (Status.COMPLETE, Status.PRUNED) and math.isfinite(values[trial.number])
    ]
    spots = {trial.number: (float(trial.number), values[trial.number] * shape.scale) for trial in shown}
    _scatter(axes, shown, spots, _styles(trials))
    better = max if objective.goal == "maximize" else min
    best: list[tuple[float, float]] = []
    for number, value in (spots[trial.number] for trial in shown if trial.status is Status.COMPLETE):
        best.append((number, better(value, best[-1][1]) if best else value))
    if best:
        axes.step(*zip(*best, strict=True), where="post", color="#333333", linewidth=1.4, label="best so far")
    axes.margins(0.08)
    _label_baselines(axes, shown, spots)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(f"{shape.axis}, {_better(objective)}")
    axes.set_xlabel("trial number")
    axes.set_title(f"{shape.label.capitalize()} by trial", loc="left")


def _scatter(axes: "Axes", trials: Sequence[Trial], spots: _Spots, styles: _Styles) -> None:
    for family in sorted({trial.family for trial in trials}):
        colour, shape = styles[family]
        members = [trial for trial in trials if trial.family == family]
        pruned = [trial for trial in members if trial.status is Status.PRUNED]
        plain = [trial for trial in members if trial.status is Status.COMPLETE and trial.source != "baseline"]
        known = [trial for trial in members if trial.status is Status.COMPLETE and trial.source == "baseline"]
        look: dict[str, Any] = {"marker": shape, "color": colour, "linewidths": 0}
        outlined = look | {"edgecolors": "black", "linewidths": 1.5}
        _points(axes, pruned, spots, s=26, alpha=0.25, zorder=1, **look)
        _points(axes, plain, spots, s=48, alpha=0.9, zorder=3, **look)
        _points(axes, known, spots, s=78, zorder=4, **outlined)
        # An empty series gives the legend one full-strength entry per family, however its trials ended.
        _points(axes, [], spots, s=48, label=family or "no family", **look)
    if any(trial.source == "baseline" for trial in trials):
        _points(axes, [], spots, s=78, facecolors="none", edgecolors="black", linewidths=1.5, label="baseline")
    if any(trial.status is Status.PRUNED for trial in trials):
        _points(axes, [], spots, s=26, color=_FAINT, alpha=0.5, linewidths=0, label="stopped early")


def _points(axes: "Axes", trials: Sequence[Trial], spots: _Spots, **look: Any) -> None:
    axes.scatter([spots[one.number][0] for one in trials], [spots[one.number][1] for one in trials], **look)


def _label_baselines(axes: "Axes", trials: Sequence[Trial], spots: _Spots) -> None:
    """Name each complete baseline beside its point, each label pushed down past those it would cover."""
    from matplotlib.patheffects import withStroke

    named = [one for one in trials if one.source == "baseline" and one.status is Status.COMPLETE]
    names = tell_apart(named)
    axes.autoscale_view()
    taken: list[tuple[float, float]] = []  # pixels
    for trial in sorted(named, key=lambda one: -spots[one.number][1]):
        x, y = axes.transData.transform(spots[trial.number])
        # Labels point inwards, so that none leaves the plot.
        inward = 1 if axes.transAxes.inverted().transform((x, y))[0] < 0.6 else -1
        label_x, label_y = x + inward * 30, y + 12
        while any(abs(label_y - other_y) < 15 and abs(label_x - other_x) < 130 for other_x, other_y in taken):
            label_y -= 3
        taken.append((label_x, label_y))
        axes.annotate(
            names[trial.number],
            spots[trial.number],
            xytext=((label_x - x) * 0.72, (label_y - y) * 0.72),  # 100 pixels are 72 points
            textcoords="offset points",
            ha="left" if inward > 0 else "right",
            va="center",
            fontsize=8.5,
            zorder=6,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            arrowprops={"arrowstyle": "-", "color": "#555555", "linewidth": 0.7},
        )


def _place(trial: Trial, objectives: Sequence[Objective]) -> tuple[float, float] | None:
    """Where a trial stands on the plane in shown units; None for one without both values."""
    if trial.status not in (Status.COMPLETE, Status.PRUNED):
        return None
    y, x = (trial.objectives.get(one.metric, math.nan) * unit(one.metric).scale for one in objectives[:2])
    return (x, y) if math.isfinite(x) and math.isfinite(y) else None


def _styles(trials: Sequence[Trial]) -> _Styles:
    """A colour and a shape per family, by sorted name; the two repeat with different periods."""
    families = sorted({trial.family for trial in trials})
    return {name: (_COLOURS[i % len(_COLOURS)], _SHAPES[i % len(_SHAPES)]) for i, name in enumerate(families)}


def _any_curve(trials: Sequence[Trial], metric: str) -> bool:
    return any(getattr(point, metric) is not None for trial in trials for point in trial.curve)


def _better(objective: Objective) -> str:
    return "higher is better" if objective.goal == "maximize" else "lower is better"


def _canvas() -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, dpi=100, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: "Figure", axes: "Axes") -> bytes:
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        figure.legend(loc="outside right upper", fontsize=8.5, frameon=False)
    else:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "nothing to show yet", ha="center", va="center", transform=axes.transAxes)
    buffer = io.BytesIO()
    # Without the version stamp equal figures are equal bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
