import re
import subprocess
import sys
from pathlib import Path

import yaml

from nas.experiment import Experiment

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


def test_the_python_examples_run_as_a_reader_would_run_them(tmp_path: Path) -> None:
    example, dag, own = blocks("python")
    code = "\n".join(line for line in example.splitlines() if line.strip() and not line.strip().startswith("#"))
    assert len(code.splitlines()) <= 15
    ours = "my_blocks, my_dim = [torch.nn.Identity() for _ in range(2)], 4\n"
    own = own.replace("runs/a/winner/topology.yaml", "mine.yaml")
    done = subprocess.run(
        [sys.executable, "-c", example + dag + ours + own], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "plan of hyper(depth=6, streams=2)" in done.stdout
    assert (tmp_path / "mine.yaml").exists()


def test_the_yaml_example_is_the_file_that_the_demo_runs() -> None:
    (shown,) = blocks("yaml")
    assert shown == (ROOT / "experiments" / "digits.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(shown)["name"] == Experiment.load(ROOT / "experiments" / "digits.yaml").name


def test_every_link_and_command_exists() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make ([a-z-]+)", README, flags=re.M):
        assert f"\n{target}:" in makefile, target


def test_every_family_is_documented() -> None:
    from graphs.families import FAMILIES

    page = (ROOT / "docs" / "families.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` " in page for name in FAMILIES)
