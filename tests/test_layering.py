"""Who may open which door: imports read from the source, and what a fresh process loads."""

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("graphs", "search_space", "trainers", "nas")
MAY_IMPORT = {
    "graphs": {"graphs"},
    "search_space": {"graphs", "search_space"},
    "trainers": {"trainers"},
    "nas": set(ROOMS),
}
# Each heavy dependency is one file deep.
OWNERS = {
    "optuna": {"nas/sampling.py"},
    "mlflow": {"nas/tracking.py"},
    "fsspec": {"nas/storage.py"},
    "yaml": {"search_space/document.py"},
    "matplotlib": {"graphs/draw/arcs.py", "graphs/draw/heat.py", "graphs/draw/sheet.py", "nas/plots.py"},  # one folder
    "safetensors": {"trainers/checkpoint.py"},
    "typer": {"nas/cli.py"},
    # The second for a type alone, the third for the generators of random graphs.
    "networkx": {"graphs/exchange.py", "graphs/topology.py", "graphs/families/random_graphs.py"},
    "sklearn": {"trainers/sources/digits.py"},
}
FILES = sorted(path.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).rglob("*.py"))
OWNERS["typer"] |= {file for file in FILES if file.startswith("nas/commands/")}
OWNERS["triton"] = {file for file in FILES if file.startswith("graphs/ops/triton/")}  # one folder
OWNERS["ray"] = {file for file in FILES if file.startswith("nas/executors/ray/")}  # one folder
OWNERS["grpc"] = {"nas/executors/ray/connection.py"}


def imported(file: str) -> set[str]:
    """Every module named by an import in a file, wherever it stands; ``from a import b`` gives ``a`` and ``a.b``."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def packages(file: str) -> set[str]:
    return {name.partition(".")[0] for name in imported(file)}


def loaded(code: str) -> set[str]:
    """The top-level modules in a fresh process after some code."""
    script = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_the_source_is_found():
    assert {file.partition("/")[0] for file in FILES} == set(ROOMS)
    assert len(FILES) > 60
    assert "nas/study.py" in FILES


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_those_below_them(room):
    for file in FILES:
        if file.startswith(f"{room}/"):
            assert packages(file) & {*ROOMS, "experiments", "tests"} <= MAY_IMPORT[room], file


def test_graphs_and_trainers_meet_with_torch_in_one_file_alone():
    torch_parts = {
        "graphs": {"graphs.compiler", "graphs.model", "graphs.ops", "graphs.coefficients"},
        "trainers": {"trainers.loop", "trainers.backbones"},
    }

    def uses(file, part):
        return any(name in torch_parts[part] or name.rpartition(".")[0] in torch_parts[part] for name in imported(file))

    assert [file for file in FILES if uses(file, "graphs") and uses(file, "trainers")] == ["nas/evaluate.py"]


def test_planning_and_pricing_name_no_torch():
    files = ("nas/pricing.py", "nas/study.py", "nas/search.py", "nas/jobs.py", "nas/records.py")
    for file in (*files, *(file for file in FILES if file.startswith("trainers/sources/"))):
        top_level = ast.parse((ROOT / file).read_text()).body
        names = {alias.name for node in top_level if isinstance(node, ast.Import) for alias in node.names}
        assert "torch" not in names, file


@pytest.mark.parametrize("package", OWNERS)
def test_a_heavy_dependency_has_one_owner(package):
    assert {file for file in FILES if package in packages(file)} <= OWNERS[package]


def test_text_that_becomes_a_program_is_the_one_other_user_of_safetensors():
    assert "safetensors" in (ROOT / "nas/artifact.py").read_text()  # the snippet handed to users
    assert "safetensors" not in packages("nas/artifact.py")


def test_nobody_imports_experiments_or_tests():
    for file in FILES:
        assert not packages(file) & {"experiments", "tests", "pytest", "hypothesis"}, file


def test_files_are_short():
    sizes = {file: len((ROOT / file).read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert {file: size for file, size in sizes.items() if size > 400} == {}
    assert statistics.median(sizes.values()) < 200


HEAVY = {"torch", "optuna", "mlflow", "ray", "matplotlib", "sklearn", "scipy", "triton"}
PRICE = """
from pathlib import Path
from random import Random
from graphs import lower
from nas.experiment import Experiment
from nas.pricing import broken_limit, priced
from nas.search import check_reachable
experiment = Experiment.load(Path("experiments/digits.yaml"))
assert len(check_reachable(experiment)) > 64
topology = experiment.space.topology(experiment.space.random(Random(0)))
assert topology.digest and str(lower(topology))
assert broken_limit(experiment.replace(limits={"flops": 1.0}), priced(experiment, topology).cost)
"""


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import graphs", HEAVY | {"pydantic", "yaml", "typer", "rich"}),
        ("import search_space", HEAVY),
        ("import trainers", HEAVY),
        ("import nas, nas.experiment, nas.pricing, nas.search", HEAVY),
        ("import nas.study, nas.views, nas.confirm, nas.jobs, nas.run_folder, nas.executors", HEAVY),
        (PRICE, HEAVY),
    ],
    ids=["graphs", "search_space", "trainers", "nas", "study", "pricing"],
)
def test_what_a_fresh_process_does_not_load(code, absent):
    found = loaded(code)
    assert "graphs" in found or "trainers" in found
    assert found & absent == set()
