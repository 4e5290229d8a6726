import json
import os
import shutil

import pytest

from nas.errors import RunFolderError
from nas.experiment import Experiment
from nas.run_folder import RunFolder, choose
from search_space.document import dump

FACTS = {"python": "3.11", "versions": {}, "commit": None, "device": "cpu", "data_fingerprint": "00ff"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some" / "run"


def create(path, experiment):
    folder = RunFolder.create(path, experiment)
    folder.log.close()
    return folder


def resume(path, experiment, **options):
    folder = RunFolder.resume(path, experiment, **options)
    folder.log.close()
    return folder


def trained(path, count):
    """Let the log of a run say that it has begun that many trials."""
    log = RunFolder.resume(path, Experiment.load(path / "experiment.yaml")).log
    costs = {"flops": 1.0, "parameters": 1, "traffic": 1.0, "budget_flops": 1.0}
    for number in range(count):
        asked = {"point": {"family": "dense", "depth": 2}, "source": "tpe", "seed": 3, "verdict": "job"}
        log.append("ask", ask=number, number=number, digest=f"d{number}", **asked, **costs)
    log.close()


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
    assert tree(path) == before
    resume(path, make())  # as the message says


def test_a_run_whose_experiment_cannot_be_read_says_what_to_mend(make, path, tree):
    create(path, make())
    whole = (path / "experiment.yaml").read_bytes()
    (path / "experiment.yaml").write_text("name: [")
    before = tree(path)
    with pytest.raises(RunFolderError, match=r"holds a run already, but .*yaml:1.*; mend that file and --resume, or"):
        RunFolder.create(path, make())
    with pytest.raises(ValueError, match=r"experiment\.yaml:1: not valid YAML"):
        RunFolder.resume(path, make())
    assert tree(path) == before
    (path / "experiment.yaml").write_bytes(whole)
    resume(path, make())


def test_a_log_without_its_experiment_asks_for_the_file_and_takes_it(make, write, path, tree):
    key = create(path, make()).key
    (path / "experiment.yaml").unlink()
    before = tree(path)
    advice = rf"copy the file that the run was started with to {path}/experiment\.yaml"
    with pytest.raises(
        RunFolderError, match=rf"holds a run already, .*missing; {advice} and continue it with --resume"
    ):
        RunFolder.create(path, make())
    with pytest.raises(RunFolderError, match=rf"has an event log but no experiment\.yaml; {advice} and resume again"):
        RunFolder.resume(path, make())
    assert tree(path) == before
    shutil.copy(write(seed=9), path / "experiment.yaml")
    with pytest.raises(
        RunFolderError, match=r"is not that of this run: seed is 9, but the event log was started with 3"
    ):
        RunFolder.resume(path, make(seed=9))
    # The seed was given on the command line, and is again.
    with pytest.raises(RunFolderError, match="if everything else is the same, write that there"):
        RunFolder.resume(path, make())
    shutil.copy(write(), path / "experiment.yaml")
    assert resume(path, make()).key == key


def test_an_experiment_alone_in_a_folder_is_begun_by_resuming_if_it_is_this_one(make, write, path):
    path.mkdir(parents=True)
    shutil.copy(write(), path / "experiment.yaml")
    with pytest.raises(RunFolderError, match="holds this experiment, but no trial yet; begin it with --resume"):
        RunFolder.create(path, make())
    with pytest.raises(RunFolderError, match="is not empty and holds no run; choose another --out"):
        RunFolder.create(path, make(seed=4))
    assert [event["event"] for event in resume(path, make()).log.events] == ["start"]


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


def test_where_a_search_runs_may_change(make, path):
    create(path, make(resources={"cpu": 4, "gpu": 0.5}))
    folder = resume(path, make(resources={"cpu": 1, "seconds": 60.0}))
    assert folder.experiment == make(resources={"cpu": 1, "seconds": 60.0})
    folder.settle(FACTS)
    assert Experiment.load(path / "experiment.yaml") == folder.experiment


def test_a_longer_search_is_the_same_experiment(make, path):
    create(path, make())
    folder = resume(path, make(trials=20))
    assert (folder.experiment, folder.notes) == (make(trials=20), ["20 trials in all from now on, instead of 8"])
    assert Experiment.load(path / "experiment.yaml").trials == 8  # not before it is known that the data are the same
    folder.settle(FACTS)
    assert Experiment.load(path / "experiment.yaml").trials == 20
    folder = resume(path, make(trials=20), exactly=True)
    assert (folder.experiment.trials, folder.notes) == (20, [])


def test_a_run_that_may_not_be_settled_stays_as_it_is(make, path, tree):
    create(path, make()).settle(FACTS)
    folder = resume(path, make(trials=20))
    before = tree(path)
    with pytest.raises(RunFolderError, match="the data have changed"):
        folder.settle(FACTS | {"data_fingerprint": "1111"})
    assert tree(path) == before
    folder.settle(FACTS | {"device": "a GPU"})
    assert [note.partition(":")[0] for note in folder.notes[1:]] == ["not what this run was last trained with"]


def test_trials_that_are_there_cannot_be_taken_back(make, path, tree):
    create(path, make())
    trained(path, 5)
    before = tree(path)
    with pytest.raises(RunFolderError) as caught:
        RunFolder.resume(path, make(trials=3), exactly=True)
    assert str(caught.value) == (
        f"{path} holds 5 trials, which --trials 3 cannot take back: it counts them all; "
        "--trials 5 ends the search where it is, --trials 8 adds 3 more"
    )
    assert tree(path) == before
    folder = resume(path, make(trials=5), exactly=True)
    assert (folder.experiment.trials, folder.notes) == (5, ["5 trials in all from now on, instead of 8"])
    assert resume(path, make(trials=8), exactly=True).notes == []


@pytest.mark.parametrize(("asked", "hint"), [(6, "; --trials 6 makes it shorter"), (4, "")])
def test_a_file_with_fewer_trials_than_the_run_does_not_shorten_it(make, path, asked, hint):
    create(path, make())
    trained(path, 5)
    folder = resume(path, make(trials=asked))
    assert folder.experiment.trials == 8
    assert folder.notes == [f"8 trials in all, as it was before; the file now says {asked}{hint}"]


def reordered(value):
    """The same mappings with their keys the other way round; lists stay."""
    if isinstance(value, dict):
        return {name: reordered(value[name]) for name in reversed(value)}
    return value


def test_the_order_of_keys_is_that_of_the_run(make, path, tmp_path):
    experiment = make(limits={"flops": 1e9, "parameters": 1e9})
    create(path, experiment)
    (tmp_path / "other.yaml").write_text(dump(reordered(experiment.resolved())))
    other = Experiment.load(tmp_path / "other.yaml")
    assert [family.name for family in other.space.families] == ["wiring", "hyper", "dense", "residual"]
    folder = resume(path, other)
    assert [family.name for family in folder.experiment.space.families] == ["residual", "dense", "hyper", "wiring"]
    assert list(folder.experiment.limits) == ["flops", "parameters"]
    before = (path / "experiment.yaml").read_bytes()
    folder.settle(FACTS)
    assert (path / "experiment.yaml").read_bytes() == before


@pytest.mark.parametrize("taken", ["a file", "a link to nowhere"])
def test_the_folder_of_weights_is_made_again(make, path, taken):
    create(path, make())
    (path / "weights").rmdir()
    assert resume(path, make()).weights.is_dir()
    (path / "weights").rmdir()
    if taken == "a file":
        (path / "weights").write_text("")
    else:
        (path / "weights").symlink_to(path / "nowhere" / "at all")
    with pytest.raises(RunFolderError, match=f"{path}/weights: no folder can be made there: .*; move what is there"):
        RunFolder.resume(path, make())
    (path / "weights").unlink()
    assert resume(path, make()).weights.is_dir()


def test_there_must_be_a_run_to_resume(make, path):
    for _ in range(2):
        with pytest.raises(RunFolderError, match="holds no run to resume; leave --resume out to start one"):
            RunFolder.resume(path, make())
        assert list(path.iterdir() if path.exists() else []) == []
        path.mkdir(parents=True, exist_ok=True)
    (path / "notes.txt").write_text("mine")
    for place in (path, path / "notes.txt"):
        with pytest.raises(RunFolderError, match="holds no run to resume; leave --resume out and choose another --out"):
            RunFolder.resume(place, make())


def test_two_drivers_cannot_share_a_folder(make, path):
    folder = RunFolder.create(path, make())
    with pytest.raises(RunFolderError, match=f"{path}: another process is running this search"):
        RunFolder.resume(path, make())
    folder.log.close()
    resume(path, make())


def runs(root, *names, of="tiny"):
    """Folders with the log of an experiment called ``of``, or, if that is None, with an empty one."""
    for age, name in enumerate(reversed(names)):
        (root / name).mkdir(parents=True)
        start = {"seq": 0, "event": "start", "name": of, "seed": 3, "key": "k"}
        (root / name / "events.jsonl").write_text("" if of is None else json.dumps(start) + "\n")
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
    runs(tmp_path, "net-8", of="net-8")
    assert choose(make(name="net-8"), None, False, tmp_path).name == "net-8-2"


def test_the_folder_of_another_experiment_is_neither_taken_nor_counted_nor_resumed(make, tmp_path):
    def chosen(name, resume=False):
        return choose(make(name=name), None, resume, tmp_path).name

    runs(tmp_path, "a-2", "a-7", of="a-2")
    assert chosen("a") == "a"
    with pytest.raises(RunFolderError, match="no run of 'a' under"):
        chosen("a", resume=True)
    runs(tmp_path, "a", of="a")
    assert (chosen("a"), chosen("a", resume=True)) == ("a-3", "a")
    assert (chosen("a-2"), chosen("a-2", resume=True)) == ("a-2-2", "a-2")
    runs(tmp_path, "b-2", of="b")
    assert chosen("b-2") == "b-2-2"
    runs(tmp_path, "c", "c-2", of=None)  # cut off before their first line
    assert (chosen("c"), chosen("c", resume=True)) == ("c-3", "c-2")


def test_the_newest_run_of_the_name_is_resumed(make, tmp_path):
    experiment, root = make(), tmp_path / "runs"
    with pytest.raises(RunFolderError, match=r"no run of 'tiny' under .*runs/ to resume; give --out"):
        choose(experiment, None, True, root)
    runs(root, "tiny-3", "tiny", "tiny-2", "tiny-old")
    (root / "tiny-4").mkdir()  # nothing was begun there
    assert choose(experiment, None, True, root).name == "tiny-2"
