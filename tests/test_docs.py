"""The pages in docs/ say what the code does."""

import re
import types
import typing
from pathlib import Path

import pytest
import yaml

from nas.experiment import RATIO_FLOOR, Experiment, Limited
from nas.search import check_reachable
from search_space.document import dump
from search_space.errors import SpaceError
from search_space.schema import Strict

PAGE = (Path(__file__).parent.parent / "docs" / "experiments.md").read_text(encoding="utf-8")
REQUIRED, NONE = "required", "none"


def documented() -> dict[str, str]:
    """The default of each key in the page's table."""
    table = PAGE[PAGE.index("| key | default | meaning |") :].split("\n\n")[0]
    rows = [line.strip("|").split("|") for line in table.splitlines()[2:]]
    assert all(row[2].strip() for row in rows)
    return {row[0].strip(" `"): row[1].strip(" `") for row in rows}


def declared(model: type[Strict], prefix: str = "") -> dict[str, str]:
    """The default of each key that a section of an experiment takes, sections below included."""
    found: dict[str, str] = {}
    for name, field in model.model_fields.items():
        parts = [part for part in (field.annotation, *typing.get_args(field.annotation)) if isinstance(part, type)]
        section = next((part for part in parts if issubclass(part, Strict)), None)
        optional = types.NoneType in parts
        if section is None:
            found[prefix + name] = REQUIRED if field.is_required() else text(field.default)
            continue
        if optional:
            found[prefix + name] = NONE
        many = "[]" if typing.get_origin(field.annotation) is tuple else ""
        found |= declared(section, f"{prefix}{name}{many}.")
    return found


def text(default: object) -> str:
    """A value as the page and YAML write it."""
    if default is None:
        return NONE
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_the_table_of_keys_is_that_of_the_code():
    expected = declared(Experiment)
    assert {"train.budget_gflops", "search.halving", "objectives[].metric", "confirm.seeds"} <= set(expected)
    # Not in the schema's own words: the space, which has a grammar of its own, and what is worked out later.
    del expected["space"], expected["limits"]
    expected |= {f"limits.{metric}": NONE for metric in typing.get_args(Limited)}
    expected |= dict.fromkeys(("space.depth", "space.families", "space.families.wiring.edges"), REQUIRED)
    expected["space.families.wiring.in_degree"] = NONE
    expected |= {"space.edits.edges": NONE, "space.gates": NONE}
    expected["objectives[].floor"] = str(RATIO_FLOOR)
    assert documented() == expected


def example() -> dict[str, typing.Any]:
    (shown,) = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.S)
    data = yaml.safe_load(shown)
    assert isinstance(data, dict)
    return data


def test_the_least_experiment_can_be_run(tmp_path):
    (shown,) = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.S)
    (tmp_path / "least.yaml").write_text(shown)
    assert check_reachable(Experiment.load(tmp_path / "least.yaml"))


LEAVES = [
    (section, name)
    for section, value in example().items()
    for name in (value if isinstance(value, dict) else [None])
]  # fmt: skip


@pytest.mark.parametrize(("section", "name"), LEAVES)
def test_nothing_can_be_left_out_of_it(tmp_path, section, name):
    data = example()
    del (data if name is None else data[section])[section if name is None else name]
    (tmp_path / "less.yaml").write_text(dump(data))
    with pytest.raises(SpaceError, match="missing"):
        Experiment.load(tmp_path / "less.yaml")


def test_wiring_needs_its_edges(tmp_path):
    data = example()
    del data["space"]["families"]["wiring"]["edges"]
    (tmp_path / "less.yaml").write_text(dump(data))
    with pytest.raises(SpaceError, match=r"space\.families\.wiring\.edges: missing"):
        Experiment.load(tmp_path / "less.yaml")
