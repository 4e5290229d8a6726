import re

import pytest
import yaml

from nas.ledger import Ledger
from nas.open_page import page
from nas.proposal_file import read_proposal


@pytest.fixture
def experiment(make):
    return make(search={"open": {"share": 0.25, "wait": 30.0}}, limits={"parameters": 50_000.0})


def test_it_says_what_the_experiment_says(experiment):
    text = page(experiment, Ledger())
    for words in (
        '"tiny"',
        "0.05 training GFLOPs",
        "batch 32",
        "maximize accuracy; minimize flops",
        "50,000",
        "25%",
        "30 s",
    ):
        assert words in text, words
    assert "None was trained yet" in text
    assert "{" not in re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.S)


def test_its_example_is_a_proposal(experiment):
    (example,) = re.findall(r"```yaml\n(.*?)```", page(experiment, Ledger()), flags=re.S)
    assert set(yaml.safe_load(example)) == {"depth", "edges", "note", "parent"}
    found = read_proposal(example.encode(), "example", experiment)
    assert found.problem is None
    assert found.topology is not None
