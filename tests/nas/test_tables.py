import math
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.files import replace_file
from nas.records import Status, Trial
from nas.tables import columns, read_trials, write_pareto, write_trials


@dataclass(frozen=True)
class Objective:
    metric: str
    goal: str


OBJECTIVES = (Objective("accuracy", "maximize"), Objective("flops", "minimize"))
TRIAL = Trial(
    1, Status.COMPLETE, "tpe", "hyper", {"streams": 2}, "ab", 7, 3e11, 2.5e11, 1234.5, 99, 12.0,
    {"accuracy": 0.1 + 0.2, "flops": 1234.5}, accuracy=0.1 + 0.2, seconds=1 / 3,
)  # fmt: skip


def test_header_is_the_contract_and_repeats_nothing():
    first = ["number", "status", "family", "digest", "seed", "budget_flops"]
    costs = ["flops", "parameters", "seconds"]
    assert list(columns(OBJECTIVES)) == [
        *first, "accuracy", *costs, "loss", "traffic", "spent_flops", "source", "reason"
    ]  # fmt: skip
    many = [Objective(name, "minimize") for name in ("seconds", "traffic", "loss", "auc", "traffic")]
    header = columns(many)
    assert len(set(header)) == len(header)
    assert list(header[:9]) == [*first, "traffic", "loss", "auc"]


@given(st.floats(allow_nan=False), st.floats(allow_nan=False, allow_infinity=False))
def test_floats_come_back_exactly(tmp_path_factory, accuracy, seconds):
    path = tmp_path_factory.mktemp("tables") / "trials.csv"
    write_trials(
        path, [replace(TRIAL, objectives={"accuracy": accuracy}, accuracy=accuracy, seconds=seconds)], OBJECTIVES
    )
    row = read_trials(path)[0]
    assert (float(row["accuracy"]), float(row["seconds"])) == (accuracy, seconds)
    assert math.copysign(1, float(row["accuracy"])) == math.copysign(1, accuracy)


def test_numpy_floats_are_written_as_numbers(tmp_path):
    numpy = pytest.importorskip("numpy")
    write_trials(tmp_path / "t.csv", [replace(TRIAL, flops=numpy.float64(0.1))], OBJECTIVES)
    assert read_trials(tmp_path / "t.csv")[0]["flops"] == "0.1"


def test_rows_are_in_the_order_of_numbers_and_the_front_in_its_own(tmp_path):
    trials = [replace(TRIAL, number=number) for number in (3, 1, 2)]
    write_trials(tmp_path / "trials.csv", trials, OBJECTIVES)
    write_pareto(tmp_path / "pareto.csv", trials, OBJECTIVES)
    assert [row["number"] for row in read_trials(tmp_path / "trials.csv")] == ["1", "2", "3"]
    assert [row["number"] for row in read_trials(tmp_path / "pareto.csv")] == ["3", "1", "2"]


def test_a_rejected_trial_has_empty_cells_and_a_reason_of_one_line(tmp_path):
    rejected = replace(
        TRIAL, status=Status.REJECTED, objectives={}, accuracy=None, seconds=None, reason='too big:\n  "9", not 5'
    )
    write_trials(tmp_path / "trials.csv", [rejected], OBJECTIVES)
    row = read_trials(tmp_path / "trials.csv")[0]
    assert (row["accuracy"], row["loss"], row["seconds"]) == ("", "", "")
    assert (row["status"], row["reason"], row["flops"]) == ("REJECTED", 'too big: "9", not 5', "1234.5")
    assert len((tmp_path / "trials.csv").read_text().splitlines()) == 2


def test_no_trials_give_a_header_alone(tmp_path):
    write_trials(tmp_path / "trials.csv", [], OBJECTIVES)
    assert (tmp_path / "trials.csv").read_text() == ",".join(columns(OBJECTIVES)) + "\n"


def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path, monkeypatch):
    path = tmp_path / "trials.csv"
    replace_file(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            replace_file(path, b"new")
    assert [file.name for file in tmp_path.iterdir()] == ["trials.csv"]
    assert path.read_bytes() == b"old"
