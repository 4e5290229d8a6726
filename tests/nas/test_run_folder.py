import json
import os
import shutil
import subprocess

import pytest

from nas.errors import RunFolderError
from nas.experiment import Experiment
from nas.run_folder import RunFolder, choose, environment


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some" / "run"


def create(path, experiment):
    folder = RunFolder.create(path, experiment)
    folder.log.close()
    return folder


def resume(path, experiment):
    folder = RunFolder.resume(path, experiment)
    folder.log.close()
    return folder


def test_a_new_folder_holds_the_experiment_and_a_started_log(make, path):
    experiment = make()
    folder = create(path, experiment)
    assert Experiment.load(path / "experiment.yaml") == experiment
    assert sorted(each.name for each in path.iterdir()) == ["events.jsonl", "experiment.yaml", "weights"]
    (start,) = folder.log.events
    assert (start["event"], start["name"], start["seed"]) == ("start", "tiny", 3)
    assert folder.key == start["key"]
    assert folder.weight_file(12) == path / "weights" / "trial-0012.safetensors"


def test_runs_have_keys_of_their_own_and_keep_them(make, path, tmp_path):
    key = create(path, make()).key
    assert create(tmp_path / "other", make()).key != key
    moved = tmp_path / "moved"
    path.rename(moved)
    assert resume(moved, make()).key == key


def test_a_folder_in_use_is_refused_and_left_alone(make, path, tree):
    create(path, make())
    before = tree(path)
    with pytest.raises(RunFolderError, match=r"holds a run already \(experiment 'tiny', seed 3\).*--resume"):
        RunFolder.create(path, make(seed=4))
    (path / "experiment.yaml").write_text("{")
    with pytest.raises(RunFolderError, match=r"holds a run already \(its experiment.yaml cannot be read\)"):
        RunFolder.create(path, make())
    assert tree(path) == before | {"experiment.yaml": b"{"}


def test_other_files_a_file_and_an_unwritable_place_are_refused(make, tmp_path, tree):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("")
    experiment = make()
    before = tree(tmp_path)
    for place, why in (
        ("mine", "is not empty and holds no run"),
        ("file", "is not a folder"),
        ("file/below", "cannot be written: Not a directory"),
        ("/proc/wireloom/run", "cannot be written"),
    ):
        with pytest.raises(RunFolderError, match=f"{why}.*another --out"):
            RunFolder.create(tmp_path / place, experiment)
    assert tree(tmp_path) == before


def test_an_empty_folder_may_be_filled(make, path):
    path.mkdir(parents=True)
    assert create(path, make()).key


def test_resuming_takes_up_the_log(make, path):
    folder = create(path, make())
    log = RunFolder.resume(path, make()).log
    log.append("end")
    log.close()
    assert [event["event"] for event in resume(path, make()).log.events] == ["start", "end"]
    assert resume(path, make()).key == folder.key


@pytest.mark.parametrize("left", ["experiment.yaml", "weights", "events.jsonl", "half a line"])
def test_a_crash_at_any_point_of_the_start_can_be_resumed(make, path, left):
    create(path, make())
    whole = (path / "events.jsonl").read_bytes()
    (path / "events.jsonl").unlink()
    if left == "experiment.yaml":
        shutil.rmtree(path / "weights")
    elif left == "events.jsonl":
        (path / "events.jsonl").touch()
    elif left == "half a line":
        (path / "events.jsonl").write_bytes(whole[:20])
    folder = resume(path, make())
    assert [event["event"] for event in folder.log.events] == ["start"]
    assert folder.weights.is_dir()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 4}, "seed is 3 there and 4 here"),
        ({"limits": {"flops": 9000}}, r"limits.flops is None there and 9000.0 here"),
        ({"backbone": {"kind": "mixer", "dim": 16, "patch": 4}}, "backbone.dim is 8 there and 16 here"),
        ({"confirm": None}, "confirm is .* there and None here"),
        ({"name": "other"}, "name is 'tiny' there and 'other' here"),
        (
            {"space": {"depth": {"low": 2, "high": 4}, "families": {"residual": {}}}},
            r"space.depth.high is 3 there and 4 here.*space.families.dense",
        ),
    ],
)
def test_another_experiment_is_refused_by_what_differs(make, path, changes, message, tree):
    create(path, make())
    before = tree(path)
    with pytest.raises(RunFolderError, match=f"holds another experiment.*{message}.*another --out"):
        RunFolder.resume(path, make(**changes))
    assert tree(path) == before


def test_a_longer_search_is_the_same_experiment(make, path):
    create(path, make())
    resume(path, make(trials=20))
    assert Experiment.load(path / "experiment.yaml").trials == 20


def test_there_must_be_a_run_to_resume(make, path):
    for _ in range(2):
        with pytest.raises(RunFolderError, match="holds no run to resume; leave --resume out"):
            RunFolder.resume(path, make())
        assert list(path.iterdir() if path.exists() else []) == []
        path.mkdir(parents=True, exist_ok=True)


def test_two_drivers_cannot_share_a_folder(make, path):
    folder = RunFolder.create(path, make())
    with pytest.raises(RunFolderError, match=f"{path}: another process is running this search"):
        RunFolder.resume(path, make())
    folder.log.close()
    resume(path, make())


def runs(root, *names):
    for age, name in enumerate(reversed(names)):
        (root / name).mkdir(parents=True)
        (root / name / "events.jsonl").touch()
        os.utime(root / name / "events.jsonl", (1000 - age, 1000 - age))


def test_folders_are_numbered_by_name(make, tmp_path):
    experiment, root = make(), tmp_path / "runs"

    def chosen(resume=False):
        return choose(experiment, None, resume, root).name

    assert choose(experiment, tmp_path / "x", True, root) == tmp_path / "x"
    assert chosen() == "tiny"
    runs(root, "tiny")
    assert chosen() == "tiny-2"
    runs(root, "tiny-2", "tiny-10", "tiny-other", "tiny-3-old", "tinyx", "tinyx20")
    assert chosen() == "tiny-11"
    shutil.rmtree(root)
    runs(root, "tiny-5")
    assert chosen() == "tiny-6"


def test_a_number_in_the_name_is_not_the_number_of_the_run(make, tmp_path):
    runs(tmp_path, "net-8")
    assert choose(make(name="net-8"), None, False, tmp_path).name == "net-8-2"


def test_the_newest_run_of_the_name_is_resumed(make, tmp_path):
    experiment, root = make(), tmp_path / "runs"
    with pytest.raises(RunFolderError, match=r"no run of 'tiny' under .*runs/ to resume; give --out"):
        choose(experiment, None, True, root)
    runs(root, "tiny-3", "tiny", "tiny-2", "tiny-old")
    (root / "tiny-4").mkdir()  # nothing was begun there
    assert choose(experiment, None, True, root).name == "tiny-2"


def test_the_lock_says_what_it_takes_to_run_this_again(make, path):
    facts = environment("0123456789abcdef", "cpu")
    assert set(facts) == {"python", "platform", "device", "versions", "commit", "data_fingerprint"}
    assert facts["versions"]["torch"]
    assert facts["versions"]["wireloom"]
    folder = create(path, make())
    folder.write_lock(facts)
    folder.write_lock(facts)
    assert json.loads((path / "lock.json").read_text()) == facts
    for _ in range(2):
        folder.write_lock(facts | {"python": "3.99"})
    assert json.loads((path / "lock.json").read_text()) == facts | {"resumed": [facts | {"python": "3.99"}]}


def test_outside_a_checkout_there_is_no_commit(monkeypatch):
    def absent(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", absent)
    assert environment("", "cpu")["commit"] is None
