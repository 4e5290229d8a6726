import struct
import subprocess
import sys
from dataclasses import dataclass, replace

import pytest

from nas.front import pareto
from nas.plots import LISTED, curves_figure, pareto_figure, save_pareto
from nas.records import CurvePoint, Status, Trial


@dataclass(frozen=True)
class Objective:
    metric: str
    goal: str


OBJECTIVES = (Objective("accuracy", "maximize"), Objective("flops", "minimize"))
CURVE = tuple(CurvePoint(step, step * 1e9, 2.0 / step, 1 - 1 / step, 1.0 / step) for step in range(1, 6))


def trial(number: int, family: str, status: Status = Status.COMPLETE, source: str = "tpe") -> Trial:
    values = {"accuracy": 0.9 + number / 100, "flops": 1e6 * (number + 1)}
    return Trial(
        number, status, source, family, {"depth": 4}, f"d{number}", 0, 1e9, 1e9, 1e6, 100, 9.0, values, curve=CURVE
    )


TRIALS = [
    trial(0, "residual", source="baseline"),
    trial(1, "hyper", source="baseline"),
    trial(2, "dense"),
    trial(3, "dense", Status.PRUNED),
    replace(trial(4, "wiring", Status.REJECTED), objectives={}, curve=()),
    replace(trial(5, "wiring", Status.DIVERGED), objectives={"accuracy": float("nan")}),
    trial(20, "ancre"),
]


def size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", png[16:24])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_pareto_is_a_png_of_full_size_for_any_number_of_objectives(count):
    objectives = (*OBJECTIVES, Objective("unheard_of", "maximize"))[:count]
    trials = [replace(one, objectives=dict(one.objectives, unheard_of=1.0)) for one in TRIALS]
    png = pareto_figure(trials, objectives, pareto(trials, objectives))
    assert size(png) == (900, 600)
    assert len(png) > 12_000


def test_curves_are_a_png_of_full_size():
    png = curves_figure(TRIALS, TRIALS[2:3])
    assert size(png) == (900, 600)
    assert len(png) > 12_000


@pytest.fixture
def labels(monkeypatch):
    """The label, or None, of each curve that is drawn as a thing of its own."""
    from matplotlib.axes import Axes

    found, plot = [], Axes.plot

    def watched(axes, *given, **look):
        found.append(look.get("label"))
        return plot(axes, *given, **look)

    monkeypatch.setattr(Axes, "plot", watched)
    return found


def test_thousands_of_faint_curves_are_one_thing_to_draw(labels):
    many = [replace(TRIALS[2], number=number, source="tpe") for number in range(10, 500)]
    curves_figure(many, many[:2])
    assert len(labels) == 2


def test_a_long_front_does_not_push_the_legend_out_of_the_picture(labels):
    front = [replace(TRIALS[2], number=number, source="tpe") for number in range(10, 100)]
    known = [replace(TRIALS[2], number=number, source="baseline") for number in range(3)]
    assert size(curves_figure([*known, *front], front)) == (900, 600)
    shown = [label for label in labels if label]
    assert len(labels) == len(known) + len(front) + 1
    assert len(shown) == LISTED + 1
    assert shown[3].startswith("#10 ")
    assert shown[-1] == f"and {len(front) + len(known) - LISTED} more of the front"


@pytest.mark.parametrize("hidden", [{"accuracy": None}, {"accuracy": None, "loss": None}])
def test_curves_fall_back_to_the_losses_that_were_measured(hidden):
    trials = [replace(one, curve=tuple(replace(point, **hidden) for point in one.curve)) for one in TRIALS]
    assert len({curves_figure(trials, []), curves_figure(TRIALS, [])}) == 2


LOST = replace(trial(6, "wiring", Status.PRUNED), objectives={"accuracy": float("nan"), "flops": 1e6})


@pytest.mark.parametrize("trials", [[], [*TRIALS[4:6], LOST]])
def test_with_nothing_to_show_the_picture_says_so(trials):
    empty = pareto_figure([], OBJECTIVES, [])
    assert 2_000 < len(empty) < 12_000
    assert pareto_figure(trials, OBJECTIVES, []) == empty
    assert size(pareto_figure(trials, OBJECTIVES[:1], [])) == (900, 600)
    assert size(curves_figure([], [])) == (900, 600)


def test_equal_searches_give_equal_bytes(tmp_path):
    save_pareto(tmp_path / "deep" / "pareto.png", TRIALS, OBJECTIVES, TRIALS[:1])
    assert (tmp_path / "deep" / "pareto.png").read_bytes() == pareto_figure(TRIALS, OBJECTIVES, TRIALS[:1])


def test_a_single_trial_and_equal_values_can_be_drawn():
    same = [replace(one, objectives={"accuracy": 0.5, "flops": 0.0}) for one in TRIALS[:3]]
    assert size(pareto_figure(same, OBJECTIVES, same[:1])) == (900, 600)
    assert size(pareto_figure(same[:1], OBJECTIVES, same[:1])) == (900, 600)


def test_importing_the_module_loads_neither_matplotlib_nor_torch():
    code = "import sys, nas.plots; print([m for m in ('matplotlib', 'torch', 'mlflow') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_drawing_leaves_no_global_state():
    code = "import sys; from nas.plots import curves_figure as f; f([], []); print('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
