"""The whole report of a run that really trained: in a browser, as JSON, and on a disk that is full."""

import html
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from nas import page, views
from nas.errors import RunFolderError
from nas.events import EventLog, read
from nas.experiment import Experiment
from nas.run_folder import RunFolder
from nas.search import run_search
from nas.views import Views

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser", "chrome"))), None)


def browse(path, tmp_path, *options):
    """What headless Chromium makes of a page; the network is out of its reach."""
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}", *options, path.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on this machine")
def test_a_browser_opens_it_and_shows_every_section(finished, tmp_path):
    done = browse(finished / "report.html", tmp_path, "--dump-dom")
    for title in (
        "Quality against cost", "The front", "Confirmed on fresh seeds", "Hypervolume", "Topologies",
        "Learning curves", "What the search cost", "Which edges of the winner matter",
        "What was not trained to its end, and why", "How much of the space was seen", "All trials", "Do it again",
    ):  # fmt: skip
        assert f"<h2>{title}</h2>" in done.stdout, title
    assert "CONSOLE" not in done.stderr  # no error, no refused address
    shot = tmp_path / "shot.png"
    browse(finished / "report.html", tmp_path, f"--screenshot={shot}", "--window-size=1100,4000")
    assert shot.read_bytes().startswith(b"\x89PNG")
    assert len(shot.read_bytes()) > 20_000  # more than an empty page


@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on this machine")
def test_every_picture_is_one_that_a_browser_can_show(finished, tmp_path):
    text = (finished / "report.html").read_text()
    script = (
        "<script>document.title = [...document.images].map(i => i.complete && i.naturalWidth > 99).join(' ')</script>"
    )
    (tmp_path / "r.html").write_text(text.replace("</body>", f"{script}</body>"))
    shown = browse(tmp_path / "r.html", tmp_path, "--dump-dom", "--virtual-time-budget=5000").stdout
    title = shown[shown.index("<title>") + 7 : shown.index("</title>")]
    assert set(title.split()) == {"true"}, title
    assert len(title.split()) == text.count("<img ")


def test_the_report_as_json_has_all_of_it(finished, tmp_path, wireloom):
    run = shutil.copytree(finished, tmp_path / "run")
    done = wireloom("report", run, "--json")
    assert done.status == 0
    data = json.loads(done.out)
    assert {
        "winner", "baseline", "front", "counts", "cost", "confirmation", "coverage", "training_flops", "hypervolume",
        "reasons", "importance", "verdict", "audit", "trainings", "reproduce", "experiment", "facts",
    } <= set(data)  # fmt: skip
    ledger = Views.open(run).ledger
    events = read(run / "events.jsonl")
    spent = [one["spent_flops"] for one in events if one["event"] in ("result", "confirm", "curve")]
    assert data["training_flops"]["total"] == pytest.approx(sum(spent))
    assert data["confirmation"]["test_openings"] == 1
    assert data["confirmation"]["test_measurements"] == len(ledger.confirmed) + len(ledger.budgets)
    assert {one["digest"] for one in data["confirmation"]["networks"]} == {digest for digest, _ in ledger.confirmed}
    assert data["importance"]["edges"]
    assert data["hypervolume"]["value"] > 0
    assert (
        sum(one["asked"] for one in data["coverage"]["marginals"] if one["parameter"] == "family")
        == (data["coverage"]["asks"])
    )
    assert data["confirmation"]["said"][0] in html.unescape((run / "report.html").read_text())


@pytest.mark.parametrize("failing", ["confirm.csv", "confirm_seeds.csv", "importance.json", "card.md", "report.html"])
def test_a_disk_that_fills_during_the_report_loses_nothing(finished, tmp_path, wireloom, monkeypatch, tree, failing):
    run = shutil.copytree(finished, tmp_path / "run")
    if failing == "importance.json":
        (run / "winner" / failing).unlink()
    before = tree(run)
    place = run / failing if (run / failing).exists() else run / "winner" / failing

    write = Path.write_bytes

    def full(self, data):
        if failing in self.name:
            raise OSError(28, "No space left on device")
        return write(self, data)

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_bytes", full)
        done = wireloom("report", run)
    assert done.status == 2
    assert done.err == f"wireloom: {place}: No space left on device\n"
    after = tree(run)
    assert after.keys() == before.keys()
    assert after["events.jsonl"] == before["events.jsonl"]
    assert wireloom("report", run).status == 0


def test_a_disk_that_fills_during_confirmation_loses_nothing(finished, tmp_path, monkeypatch, rows):
    from rich.console import Console

    monkeypatch.setenv("WIRELOOM_TRACKING", "off")
    run = shutil.copytree(finished, tmp_path / "run")
    lines = (run / "events.jsonl").read_bytes().splitlines(keepends=True)
    first = next(n for n, line in enumerate(lines) if json.loads(line)["event"] == "confirm")
    (run / "events.jsonl").write_bytes(b"".join(lines[: first + 1]))
    experiment = Experiment.load(run / "experiment.yaml")
    append = EventLog.append

    def full(self, event, **fields):
        if event == "confirm":
            raise RunFolderError(f"{self.path}: cannot be written: No space left on device; free space and continue")
        return append(self, event, **fields)

    def search():
        folder = RunFolder.resume(run, experiment)
        try:
            run_search(experiment, folder, Console(quiet=True))
        finally:
            folder.log.close()

    with monkeypatch.context() as patch:
        patch.setattr(EventLog, "append", full)
        with pytest.raises(RunFolderError, match="No space left on device"):
            search()
    added = read(run / "events.jsonl")[first + 1 :]
    assert {one["event"] for one in added} == {"fresh"}, "the training under way is reported, and not its result"
    assert len({(one["digest"], one["seed"]) for one in added}) == 1
    search()
    for table in ("trials.csv", "confirm.csv", "confirm_seeds.csv"):
        assert rows(run / table) == rows(finished / table)
    assert sum(one["event"] == "open" for one in read(run / "events.jsonl")) == 1


def test_a_log_of_before_openings_and_the_curve_still_has_a_report(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    kept = [one for one in read(run / "events.jsonl") if one["event"] not in ("open", "curve")]
    text = "".join(json.dumps(one | {"seq": seq}) + "\n" for seq, one in enumerate(kept))
    (run / "events.jsonl").write_text(text)
    found = Views.open(run)
    found.write_all()
    assert found.findings.openings == 1
    assert found.findings.curve == ()


def test_folded_parts_and_paragraphs_are_escaped():
    assert page.details("<b>", "<i>x</i>") == "<details><summary>&lt;b&gt;</summary><i>x</i></details>"
    assert page.paragraphs(["a < b", "c"]) == "<p>a &lt; b</p><p>c</p>"
    assert views.DRAWN >= 8  # as many as are confirmed
