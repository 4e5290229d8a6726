"""The package as a whole: its public names, its doors, and what it may import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import graphs

SOURCE = Path(graphs.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
TORCH_SIDE = {"coefficients", "rule_tensors", "compiler", "model", "ops", "export", "bench"}


def _imports(path):
    """(module, whether at import time) of every import; imports for type checking alone are left out."""
    found = []

    def visit(node, late):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.Import):
                found.extend((alias.name, late) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}: a relative import"
                found.append((child.module, late))
            visit(child, late or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    visit(ast.parse(path.read_text()), False)
    return found


def _parts(path):
    return path.relative_to(SOURCE).with_suffix("").parts


def test_only_four_packages_beside_the_standard_library():
    foreign = {(module.split(".")[0]) for path in FILES for module, _ in _imports(path)}
    assert foreign - sys.stdlib_module_names <= {
        *("graphs", "torch", "networkx", "numpy", "matplotlib"),
        *("triton", "hyper_connections"),  # optional: on a GPU, and for comparison in graphs/bench
    }


def test_heavy_packages_are_where_they_belong():
    where = {}
    for path in FILES:
        for module, late in _imports(path):
            where.setdefault(module.split(".")[0], set()).add(("/".join(_parts(path)), late))
    assert where["matplotlib"] == {(f"draw/{part}", True) for part in ("arcs", "heat", "sheet")}
    assert where["networkx"] == {("exchange", True), ("families/random_graphs", True)}
    assert {name.split("/")[0] for name, _ in where["numpy"]} <= {"matrix", "draw", "model", "facts", "individualise"}
    assert {name.split("/")[0] for name, _ in where["torch"]} <= TORCH_SIDE


def test_the_torch_free_side_does_not_open_the_door():
    for path in FILES:
        if _parts(path)[0] in TORCH_SIDE:
            continue
        for module, _ in _imports(path):
            if module.startswith("graphs."):
                assert module.split(".")[1] not in TORCH_SIDE, f"{path} imports {module}"


def _fresh(script):
    return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout


def test_planning_pricing_hashing_and_drawing_need_no_torch():
    script = """
import sys
import graphs
from graphs import draw
assert not {"torch", "matplotlib", "networkx"} & set(sys.modules), sorted(sys.modules)
for t in (graphs.families.hyper(3, streams=2), graphs.families.ancre(3)):
    plan = graphs.lower(t)
    costs = graphs.ModelCost(4, 8, (graphs.BlockCost(1, 1),) * 3)
    print(t.digest, str(plan)[:4], graphs.price(plan, costs).parameters, t.matrix().shape)
    assert graphs.Topology.from_networkx(t.to_networkx()) == t
    assert draw.picture(t)[1:4] == b"PNG"
    draw.text(t)
try:
    graphs.Topology((), "x0", 0)
except graphs.TopologyError:
    pass
print(sorted({"torch", "yaml", "pydantic", "optuna", "ray", "search_space", "trainers", "nas"} & set(sys.modules)))
"""
    assert _fresh(script).splitlines()[-1] == "[]"


def test_torch_is_loaded_when_a_name_needs_it():
    script = """
import sys
import graphs
assert "torch" not in sys.modules
graphs.compile, graphs.CompiledModel, graphs.mix
assert "torch" in sys.modules
print(graphs.compile.__module__, graphs.CompiledModel.__name__, graphs.mix.__module__)
"""
    assert _fresh(script).split() == ["graphs.compiler", "CompiledModel", "graphs.ops.api"]


def test_the_public_names():
    public = {name for name in vars(graphs) if not name.startswith("_")}
    modules = {_parts(path)[0] for path in FILES} | {"TYPE_CHECKING", "Any"}
    assert public - modules == {
        "Block",
        "BlockCost",
        "Constant",
        "CompileError",
        "Cost",
        "Mix",
        "ModelCost",
        "Parameter",
        "Plan",
        "Product",
        "Softmax",
        "Sum",
        "Topology",
        "TopologyError",
        "Facts",
        "start_up",
        "UserError",
        "lower",
        "price",
    }
    from graphs import CompiledModel, compile, mix  # noqa: A004 (the contract's name)

    assert all(map(callable, (CompiledModel, compile, mix)))
    with pytest.raises(AttributeError, match="module 'graphs' has no attribute 'nothing'"):
        _ = graphs.nothing


def test_files_stay_readable():
    lengths = {"/".join(_parts(path)): len(path.read_text().splitlines()) for path in FILES}
    assert max(lengths.values()) <= 400, lengths
