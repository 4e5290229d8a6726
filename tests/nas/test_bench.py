import json

import pytest
from typer.testing import CliRunner

from graphs import families
from nas.cli import app

SMALL = ["--depth", "3", "--rows", "16", "--dim", "8", "--rounds", "1", "--device", "cpu"]


def run(*arguments):
    return CliRunner().invoke(app, ["bench", *arguments])


def test_the_table_has_every_variant_and_its_bound():
    result = run(*SMALL)
    assert result.exit_code == 0
    for word in ("dense: 3 mlp blocks, 16 x 8, float32 on cpu", "hyper: 3", "fused ungrouped", "bound Td", "x plain"):
        assert word in result.stdout


def test_json_has_all_figures(tmp_path):
    file = tmp_path / "t.yaml"
    families.ancre(4).save(file)
    result = run("mhc", str(file), *SMALL, "--blocks", "identity", "--json")
    tables = json.loads(result.stdout)
    assert [(table["what"], table["depth"]) for table in tables] == [("mhc", 3), (str(file), 4)]
    assert {one["name"] for one in tables[1]["figures"]} == {"plain", "reference", "fused"}
    assert tables[0]["figures"][0]["ratio"] == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sparse"], "'sparse' is neither a file nor one of dense"),
        (["--dtype", "int8"], "--dtype is 'int8'; it can be float32"),
        (["--blocks", "conv"], "--blocks is 'conv'; it can be mlp, identity"),
        (["--device", "cuda"], "torch finds no GPU here"),
        (["--device", "tpu"], "--device is 'tpu'"),
    ],
)
def test_what_cannot_be_measured_is_named(arguments, says, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = run(*arguments)
    assert says in str(result.exception)
