import json
import shutil
import uuid

import pytest

from nas import doctor
from nas.errors import RunFolderError
from nas.events import EventLog
from nas.mirror import mirrored, place_of
from search_space.document import dump


@pytest.fixture
def run(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def test_a_healthy_run_is_told_and_left_alone(finished, wireloom, tree):
    before = tree(finished)
    ran = wireloom("doctor", finished)
    assert (ran.status, ran.out) == (0, "healthy\n")
    assert json.loads(wireloom("doctor", finished, "--json").out)["problems"] == []
    assert tree(finished) == before


def test_what_is_wrong_is_listed_mended_and_gone(run, finished, wireloom, tree):
    with (run / "events.jsonl").open("ab") as file:
        file.write(b'{"seq": 99')
    (run / "trials.csv").write_text("nonsense")
    (run / "report.html").unlink()
    (run / "weights" / "trial-0777.safetensors").write_bytes(b"")
    (run / "driver.json").write_text("{}")
    before = tree(run)
    ran = wireloom("doctor", run)
    assert ran.status == 2
    assert tree(run) == before
    assert ran.out.endswith("5 disagreements with the event log\n")
    for line in ("log: the last line was cut off by a crash", f"  {run}/trials.csv", "  --repair does: delete it"):
        assert line in ran.out
    assert [one["kind"] for one in json.loads(wireloom("doctor", run, "--json").out)["problems"]].count("views") == 2
    mended = wireloom("doctor", run, "--repair")
    assert mended.status == 0, mended.out
    assert mended.out.count("mended: ") == 5
    assert mended.out.endswith("healthy\n")
    assert wireloom("doctor", run).status == 0
    assert tree(run).keys() == tree(finished).keys()
    for name in ("events.jsonl", "trials.csv", "pareto.csv"):
        assert (run / name).read_bytes() == (finished / name).read_bytes()


def test_what_nothing_can_mend_is_left_and_said(run, wireloom):
    (run / "lock.json").unlink()
    for flags in ((), ("--repair",)):
        ran = wireloom("doctor", run, *flags)
        assert ran.status == 2
        assert "--repair does: nothing: restore it from a copy, or --resume" in ran.out


def test_a_repair_that_fails_says_why(run):
    def full():
        raise OSError(28, "No space left on device")

    problem = doctor.Problem("views", "it is missing", "x", "make it anew", full)
    assert doctor._mend([problem, problem]) == {("views", "it is missing", "x"): "[Errno 28] No space left on device"}


def test_rebuild_makes_every_view_from_the_log(run, finished, wireloom, tree):
    held = {"events.jsonl", "experiment.yaml", "lock.json"}
    for path in run.iterdir():
        if path.is_file() and path.name not in held:
            path.unlink()
    shutil.rmtree(run / "winner")
    ran = wireloom("doctor", run, "--rebuild")
    assert ran.status == 0, ran.out
    assert tree(run).keys() == tree(finished).keys()


def test_beside_a_driver_it_looks_and_repairs_nothing(run, wireloom):
    lines = (run / "events.jsonl").read_bytes().splitlines(keepends=True)
    (run / "events.jsonl").write_bytes(b"".join(lines[:20]))
    log = EventLog(run / "events.jsonl")
    try:
        ran = wireloom("doctor", run)
        assert "a driver is at work (process" in ran.out
        assert ran.out.endswith("healthy\n")
        assert ran.status == 0
        refused = wireloom("doctor", run, "--repair")
        assert refused.status == 2
        assert "another process is running this search: process" in refused.err
    finally:
        log.close()


def test_a_damaged_log_is_not_touched(run, wireloom):
    lines = (run / "events.jsonl").read_bytes().splitlines(keepends=True)
    (run / "events.jsonl").write_bytes(b"".join(lines[:3] + lines[4:]))
    before = (run / "events.jsonl").read_bytes()
    for flags in ((), ("--repair",), ("--rebuild",)):
        ran = wireloom("doctor", run, *flags)
        assert ran.status == 2
        assert "events.jsonl:4: the event log is damaged" in ran.err
    assert (run / "events.jsonl").read_bytes() == before


def test_no_run_at_all(tmp_path):
    with pytest.raises(RunFolderError, match="is no run's folder"):
        doctor.repair(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_mirror_is_compared_and_brought_up_to_date(run, wireloom):
    store = f"memory://{uuid.uuid4().hex}"
    with (run / "experiment.yaml").open("a") as file:
        file.write(dump({"storage": store}))
    with mirrored(run, store, print):
        pass
    assert doctor.diagnose(run).healthy
    whole = (run / "events.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    place_of(store, run).put_bytes(b"".join(lines[:-2]), "events.jsonl")
    (one,) = doctor.diagnose(run).found
    assert (one.kind, one.what) == ("mirror", "the mirror lacks the last 2 events")
    assert doctor.repair(run).healthy
    assert place_of(store, run).read("events.jsonl") == whole
    place_of(store, run).put_bytes(b"another\n", "events.jsonl")
    assert "is no mirror of" in doctor.repair(run).found[0].what
