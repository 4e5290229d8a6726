"""docs/adding-a-family.md is followed to the letter: its file is put into a copy of the packages and used."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("graphs", "search_space", "trainers", "nas")

EXPERIMENT = """
name: reinjected
seed: 0
trials: 2
data: {kind: digits}
backbone: {kind: mixer, dim: 8, patch: 4}
space:
  depth: 3
  families:
SPACE
objectives:
  - {metric: accuracy, goal: maximize}
  - {metric: flops, goal: minimize}
train: {budget_gflops: 0.05, batch: 32, lr: 2.0e-3, warmup: 0.1}
search: {sampler: tpe, baselines: true, random_share: 0.15}
"""

USED = """
import torch
from torch import nn
import graphs
from graphs.families import FAMILIES
from graphs.table import equation

family = FAMILIES["reinject"]
assert graphs.families.reinject is family
assert equation(family) == "h_l = h_{l-1} + f_l(h_{l-1} + g x0)"
topology = family(3)
facts = graphs.start_up(topology)
assert facts.residual == "no", facts
assert graphs.Topology.from_dict(topology.to_dict()) == topology

torch.set_default_dtype(torch.float64)
torch.manual_seed(0)
dim = 5
blocks = [nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.Tanh()) for _ in range(3)]
model = graphs.compile(topology, blocks, dim=dim)
weights = dict(model.weights.named_parameters())
assert sum(p.numel() for p in weights.values()) == 2 * (dim * dim + dim)
with torch.no_grad():
    for p in weights.values():
        p.normal_()
x0 = torch.randn(4, dim, requires_grad=True)
h = x0 + blocks[0](x0)
for number in (2, 3):
    gate = torch.sigmoid(h @ weights[f"gate{number}_map"].T + weights[f"bias{number}"].squeeze())
    h = h + blocks[number - 1](h + gate * x0)
inputs = [x0, *model.parameters()]
torch.testing.assert_close(model(x0), h, rtol=1e-12, atol=1e-12)
got, expected = (torch.autograd.grad(out.square().sum(), inputs, retain_graph=True) for out in (model(x0), h))
torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)
"""


def _block(language: str) -> str:
    """The first fenced block of a language in the page."""
    page = (ROOT / "docs/adding-a-family.md").read_text(encoding="utf-8")
    found = re.search(rf"```{language}\n(.*?)```", page, re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    code = _block("python")
    name = re.match(r"# (graphs/families/\w+\.py)\n", code)
    assert name is not None, "the first line of the example says which file it is"
    (folder / name.group(1)).write_text(code, encoding="utf-8")
    families = "".join(f"    {line}\n" for line in _block("yaml").splitlines() if not line.startswith("families"))
    (folder / "experiment.yaml").write_text(EXPERIMENT.replace("SPACE\n", families), encoding="utf-8")
    return folder


def _run(folder: Path, *arguments: str) -> str:
    # -I would leave the folder out, so the script runs from it with the folder first on the path.
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_family_is_found_compiled_and_right(copy):
    _run(copy, "-c", USED)


def test_it_is_drawn(copy):
    _run(copy, "-c", "import graphs; graphs.families.FAMILIES['reinject'](4).save('reinject.json')")
    shown = _run(copy, "-m", "nas", "show", "reinject.json", "--png", "reinject.png")
    assert "reinject(depth=4" in shown
    assert (copy / "reinject.png").read_bytes().startswith(b"\x89PNG")


def test_it_is_searched(copy):
    _run(copy, "-m", "nas", "search", "experiment.yaml", "--out", "run")
    rows = (copy / "run" / "trials.csv").read_text(encoding="utf-8").splitlines()
    assert any(",reinject," in row and "COMPLETE" in row for row in rows), rows
