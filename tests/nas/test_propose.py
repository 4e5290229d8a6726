import json
import subprocess
import sys
from pathlib import Path

import pytest

from nas.errors import RunFolderError
from nas.open_door import RESULTS
from nas.propose import _ended, propose, sentence, wait
from search_space.document import dump

ROOT = Path(__file__).parents[2]
GOOD = {"depth": 3, "edges": [[0, 1], [1, 2], [0, 3], [2, 3], [3, 4], [1, 4, 0.5]]}


@pytest.fixture
def run(make, study, tmp_path):
    study(make(trials=3, search={"sampler": "random", "open": {}}, confirm=None))
    return tmp_path / "run"


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "my idea.yaml"
    path.write_text(dump(GOOD))
    return path


def test_it_is_put_there_under_a_name_of_its_own(run, mine):
    first, second = propose(run, mine), propose(run, mine)
    assert (first.name, second.name) == ("my-idea", "my-idea-2")
    assert first.file == run / "proposals" / "my-idea.yaml"
    assert first.file.read_bytes() == mine.read_bytes()
    assert first.read() is None


@pytest.mark.parametrize(
    ("data", "message"),
    [({"depth": 3}, "this has none"), ({"depth": 7, "edges": []}, "reads nothing"), ("x", "single value")],
)
def test_what_would_be_refused_is_refused_at_once(run, mine, data, message):
    mine.write_text(dump(data))
    with pytest.raises(RunFolderError, match=message):
        propose(run, mine)
    assert not list(run.glob("proposals/*.yaml"))


def test_a_search_without_a_door_says_how_to_have_one(make, study, mine, tmp_path):
    study(make(trials=2, confirm=None), folder=tmp_path / "closed")
    with pytest.raises(RunFolderError, match=r"takes no proposals.*search: \{open: "):
        propose(tmp_path / "closed", mine)
    with pytest.raises(RunFolderError, match="no run's folder"):
        propose(tmp_path / "nowhere", mine)


def test_waiting_gives_the_final_result(run, mine):
    proposed = propose(run, mine)
    said = iter(["RUNNING", "COMPLETE"])

    def sleep(_):
        proposed.result.parent.mkdir(exist_ok=True)
        proposed.result.write_text(json.dumps({"name": proposed.name, "status": next(said)}))

    assert wait(run, proposed, sleep=sleep)["status"] == "COMPLETE"
    assert next(said, None) is None


def test_waiting_is_for_the_last_word(run, mine):
    proposed = propose(run, mine)
    said = iter([("WAITING", False), ("DUPLICATE", False), ("RUNNING", False), ("PRUNED", True)])

    def sleep(_):
        status, final = next(said)
        proposed.result.parent.mkdir(exist_ok=True)
        proposed.result.write_text(json.dumps({"name": proposed.name, "status": status, "final": final}))

    assert wait(run, proposed, sleep=sleep)["status"] == "PRUNED"
    proposed.result.write_text(json.dumps({"name": proposed.name, "status": "WAITING", "final": False}))
    with pytest.raises(RunFolderError, match="no last word, but WAITING, after 0 s"):
        wait(run, proposed, seconds=0, sleep=lambda _: None)


def test_waiting_ends_with_the_search(run, mine):
    proposed = propose(run, mine)
    with (run / "events.jsonl").open("a") as log:
        lines = len((run / "events.jsonl").read_text().splitlines())
        log.write(json.dumps({"seq": lines, "event": "end", "trained": 3, "asks": 3}) + "\n")
    with pytest.raises(RunFolderError, match="ended without taking it"):
        wait(run, proposed)
    assert not proposed.file.exists()


@pytest.mark.parametrize("line", ['{"seq": 9}', "[]", "{", '"end"'])
def test_a_last_line_that_is_no_end_is_none(run, line):
    with (run / "events.jsonl").open("a") as log:
        log.write(line + "\n")
    assert not _ended(run)


def test_waiting_can_have_an_end_of_its_own(run, mine):
    with pytest.raises(RunFolderError, match="no result after 0 s"):
        wait(run, propose(run, mine), seconds=0, sleep=lambda _: None)


def test_a_result_in_words():
    found = {"name": "a", "status": "COMPLETE", "trial": 4, "reason": None, "objectives": {"accuracy": 0.5}, "front": 2}
    assert sentence(found) == "a: COMPLETE as trial 4; accuracy 50.00 %; on the front, place 2"
    assert sentence({"name": "a", "status": "REJECTED", "trial": 4, "reason": "no"}) == "a: REJECTED as trial 4: no"


def test_the_command(run, mine, wireloom):
    done = wireloom("propose", run, mine, "--json")
    assert done.status == 0
    assert json.loads(done.out)["name"] == "my-idea"
    refused = wireloom("propose", run, run / "experiment.yaml")
    assert refused.status == 2
    assert refused.err.startswith("wireloom: ")


@pytest.mark.slow
def test_a_stranger_proposes_to_a_real_search_by_files_alone(write, tmp_path):
    """The sample proposer beside a search that really trains: everything it knows it has from files."""
    file = write(
        trials=9, confirm=None,
        search={"sampler": "random", "open": {"share": 1.0, "wait": 60.0}},
        space={"depth": 3, "families": {"residual": {}, "to_output": {}}},
    )  # fmt: skip
    run = tmp_path / "run"
    command = [sys.executable, "-m", "nas", "search", str(file), "--out", str(run)]
    search = subprocess.Popen(command, cwd=ROOT, env={"WIRELOOM_TRACKING": "off", "PATH": "/usr/bin:/bin"},
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
    script = [
        sys.executable,
        str(ROOT / "experiments" / "propose_by_edges.py"),
        str(run),
        "--count",
        "4",
        "--seed",
        "1",
    ]
    try:
        stranger = subprocess.run(
            [*script, "--timeout", "120"], cwd=tmp_path, capture_output=True, text=True, timeout=180
        )
        assert stranger.returncode == 0, stranger.stderr
    finally:
        search.kill()
        search.communicate()
    results = [json.loads(path.read_text()) for path in sorted((run / RESULTS).glob("[!_]*.json"))]
    assert len(results) == 4
    assert {one["status"] for one in results} <= {"COMPLETE", "DUPLICATE"}
    assert any(one["status"] == "COMPLETE" for one in results)
