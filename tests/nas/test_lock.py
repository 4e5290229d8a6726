import json
import subprocess

import pytest

from nas.errors import RunFolderError
from nas.lock import environment, update

FACTS = {
    "python": "3.11.2",
    "platform": "Linux",
    "device": "cpu",
    "versions": {"torch": "2.5.1", "optuna": "4.0.0", "mlflow": None},
    "commit": "0123456789ab",
    "data_fingerprint": "00ff00ff00ff00ff",
}


@pytest.fixture
def path(tmp_path):
    """The lock of a run with trials."""
    assert update(tmp_path / "lock.json", FACTS, begun=False) is None
    return tmp_path / "lock.json"


def held(path):
    return json.loads(path.read_text())


def test_it_says_what_it_takes_to_run_this_again():
    facts = environment("0123456789abcdef", "cpu")
    assert set(facts) == set(FACTS)
    assert (facts["data_fingerprint"], facts["device"]) == ("0123456789abcdef", "cpu")
    assert facts["versions"]["torch"]
    assert facts["versions"]["wireloom"]


def test_files_that_were_read_are_kept_by_name():
    facts = environment("0123456789abcdef", "cpu", {"mine.npz": "ff" * 32})
    assert facts.pop("data_files") == {"mine.npz": "ff" * 32}
    assert facts == environment("0123456789abcdef", "cpu", {})


def test_outside_a_checkout_there_is_no_commit(monkeypatch):
    def absent(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", absent)
    assert environment("", "cpu")["commit"] is None


def test_the_same_again_changes_and_says_nothing(path):
    assert held(path) == FACTS
    before = path.read_bytes()
    assert update(path, FACTS, begun=True) is None
    assert path.read_bytes() == before


CHANGES = {
    "a version": ({"versions": FACTS["versions"] | {"torch": "2.6.0"}}, "torch was 2.5.1 and is 2.6.0"),
    "a library that was not there": ({"versions": FACTS["versions"] | {"mlflow": "3"}}, "mlflow was unknown and is 3"),
    "the commit": ({"commit": None}, "commit was 0123456789ab and is unknown"),
    "the device": ({"device": "a GPU"}, "device was cpu and is a GPU"),
    "two": ({"python": "3.12", "device": "tpu"}, "python was 3.11.2 and is 3.12; device was cpu and is tpu"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_differs_is_said_in_a_line_and_kept_beside_what_was(path, case):
    change, phrase = CHANGES[case]
    said = update(path, FACTS | change, begun=True)
    assert said == f"not what this run was last trained with: {phrase}; results may differ, lock.json keeps both"
    assert held(path) == FACTS | {"resumed": [FACTS | change]}
    # Said once for each change; going back is a change as well.
    assert update(path, FACTS | change, begun=True) is None
    assert "results may differ" in update(path, FACTS, begun=True)
    assert held(path) == FACTS | {"resumed": [FACTS | change, FACTS]}


def test_other_data_are_refused_and_nothing_is_written(path):
    other = FACTS | {"data_fingerprint": "1111111111111111", "device": "a GPU"}
    before = path.read_bytes()
    with pytest.raises(RunFolderError) as caught:
        update(path, other, begun=True)
    for part in (str(path.parent), "the data have changed", "1111111111111111", "00ff00ff00ff00ff", "another --out"):
        assert part in str(caught.value)
    assert path.read_bytes() == before


def test_a_missing_lock_is_written_and_missed_only_by_a_run_with_trials(tmp_path):
    path = tmp_path / "lock.json"
    assert "was missing, so nobody can tell whether data and versions" in update(path, FACTS, begun=True)
    assert held(path) == FACTS


DAMAGED = {
    "cut off": '{"python": ',
    "empty": "",
    "a list": "[1]",
    "no fingerprint": '{"python": "3.11"}',
    "resumed is no list": json.dumps(FACTS | {"resumed": {}}),
    "resumed holds a text": json.dumps(FACTS | {"resumed": ["x"]}),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_lock_is_not_written_over_and_the_advice_works(path, case):
    path.write_text(DAMAGED[case])
    with pytest.raises(RunFolderError, match=r"lock\.json is damaged; restore it from a copy, or delete it if"):
        update(path, FACTS, begun=True)
    assert path.read_text() == DAMAGED[case]
    path.unlink()
    assert update(path, FACTS, begun=True)
    assert held(path) == FACTS
