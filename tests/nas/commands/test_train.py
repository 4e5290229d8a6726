import json
import os
import shlex
import signal

import pytest

from graphs import families
from trainers import checkpoint


@pytest.fixture
def files(write, tmp_path):
    families.residual(depth=3).save(tmp_path / "t.yaml")
    return [tmp_path / "t.yaml", "--experiment", write()]


def test_it_says_what_came_out_and_what_next(wireloom, files, tmp_path):
    ran = wireloom("train", *files, "--seed", 5)
    assert (ran.status, ran.err) == (0, "")
    digest = families.residual(depth=3).digest
    folder = f"runs/tiny-{digest[:8]}-s5"
    assert ran.out.startswith(f"folder: {folder}  (Ctrl-C stops; --resume continues)\nstep ")
    assert f"digest {digest}, seed 5" in ran.out
    assert ran.out.splitlines()[-1] == f"next: python {folder}/load.py   (the card: {folder}/card.md)"
    result = json.loads((tmp_path / folder / "result.json").read_text())
    assert f"test accuracy {result['test_accuracy']!r}" in ran.out
    again = wireloom("train", *files, "--seed", 5, "--resume")
    assert again.status == 0
    assert again.out.splitlines()[-3:] == ran.out.splitlines()[-3:]


def test_freed_memory_is_kept(wireloom, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("graphs.memory.keep_memory", lambda: asked.append(True))
    assert wireloom("train", tmp_path / "t.yaml", "--experiment", tmp_path / "e.yaml").status == 2  # no such files
    assert asked == [True]


def test_json_alone_goes_to_programs(wireloom, files):
    ran = wireloom("train", *files, "--out", "here", "--json")
    assert ran.status == 0
    data = json.loads(ran.out)
    assert (data["out"], data["seed"]) == ("here", 3)
    assert "step" in ran.err


def test_ctrl_c_ends_with_130_and_the_command_to_go_on(wireloom, files, monkeypatch, tmp_path):
    from nas import train as module

    calls = []

    def press(self, step):
        calls.append(step)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return self.pressed

    with monkeypatch.context() as patch:
        patch.setattr(module._Keeper, "due", press)
        ran = wireloom("train", *files, "--out", "a b")
    assert (ran.status, ran.err) == (130, "")
    assert "interrupted; nothing is lost. Continue with:" in ran.out
    command = shlex.split(ran.out.splitlines()[-1])
    assert command == ["wireloom", "train", *map(str, files), "--out", "a b", "--resume"]
    done = wireloom(*command[1:])
    assert done.status == 0, done.err
    whole = wireloom("train", *files, "--out", "whole")
    assert whole.status == 0
    (one, _), (other, _) = (checkpoint.load(tmp_path / name / "model.safetensors") for name in ("a b", "whole"))
    assert {name: tensor.tolist() for name, tensor in one.items()} == {n: t.tolist() for n, t in other.items()}
    assert (tmp_path / "a b" / "curve.csv").read_bytes() == (tmp_path / "whole" / "curve.csv").read_bytes()


def test_user_errors_are_one_line(wireloom, files, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    ran = wireloom("train", *files, "--out", "full")
    assert (ran.status, ran.err) == (2, "wireloom: full is not empty; choose another --out\n")
    assert wireloom("train", files[0]).status == 2  # no experiment
    ran = wireloom("train", tmp_path / "none.yaml", *files[1:])
    assert ran.status == 2
    assert ran.err.count("\n") == 1
