import subprocess
import sys

PLANNING = "trainers.shapes, trainers.hints, trainers.costs, trainers.recipe, trainers.catalogue, trainers.errors"
HEAVY = {"torch", "sklearn", "safetensors", "graphs", "nas", "search_space"}


def loaded_after(imports: str) -> set[str]:
    program = f"import sys, {imports}; print(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_planning_imports_nothing_heavy() -> None:
    assert not loaded_after(PLANNING) & HEAVY


def test_training_imports_no_topologies_and_sklearn_only_when_digits_are_read() -> None:
    everything = f"{PLANNING}, trainers.backbones, trainers.loop, trainers.data, trainers.checkpoint"
    assert loaded_after(everything) & HEAVY == {"torch", "safetensors"}
