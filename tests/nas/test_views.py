import html
import json
import shlex
import shutil
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from graphs import Topology
from nas.errors import RunFolderError
from nas.experiment import Experiment
from nas.views import Views, topology_of
from search_space.document import read_topology


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy")


def test_a_finished_run_holds_what_is_promised(finished, rows):
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "experiment.yaml", "lock.json", "events.jsonl", "trials.csv", "pareto.csv", "pareto.png", "confirm.csv",
        "report.html", "winner", "weights", "confirm_seeds.csv", "hypervolume.csv",
    }  # fmt: skip
    experiment = Experiment.load(finished / "experiment.yaml")
    assert experiment == Experiment.load(finished.parent / "tiny.yaml")
    lock = json.loads((finished / "lock.json").read_text())
    assert set(lock) == {"python", "platform", "device", "versions", "commit", "data_fingerprint"}
    trials, front = rows(finished / "trials.csv"), rows(finished / "pareto.csv")
    assert [row["number"] for row in trials] == [str(number) for number in range(len(trials))]
    assert sum(row["status"] != "REJECTED" for row in trials) == experiment.trials == 8
    assert list(trials[0])[:6] == ["number", "status", "family", "digest", "seed", "budget_flops"]
    assert {"accuracy", "flops", "parameters"} <= set(trials[0])
    assert all(row in trials and row["status"] == "COMPLETE" for row in front)
    assert (finished / "pareto.png").read_bytes().startswith(b"\x89PNG")
    fresh = rows(finished / "confirm_seeds.csv")
    assert {row["seed"] for row in fresh} == {"4", "5"}
    assert {row["budget_share"] for row in fresh} == {"0.25", "0.5", "1.0", "2.0"}
    assert all(0.05 < float(row["test_accuracy"]) < 1 for row in fresh)
    confirmed = rows(finished / "confirm.csv")
    assert [row["role"] for row in confirmed[:2]] == ["winner", "baseline"]
    assert {row["digest"] for row in front} <= {row["digest"] for row in confirmed}
    assert all(row["n"] == "2" and row["mean"] and row["sd"] for row in confirmed)
    best = Views.open(finished).winner
    assert confirmed[0]["depth"] == confirmed[1]["depth"] == str(best.point["depth"])
    assert {path.name for path in (finished / "winner").iterdir()} == {"topology.yaml", "card.md", "importance.json"}
    assert best.digest in (finished / "winner" / "card.md").read_text()
    winner = read_topology(finished / "winner" / "topology.yaml")
    assert winner == Topology.load(finished / "winner" / "topology.yaml")
    assert winner.digest == front[0]["digest"]
    assert {path.name for path in (finished / "weights").iterdir()} == {
        f"trial-{int(row['number']):04d}.safetensors" for row in front
    }


def test_the_report_is_one_page_that_needs_nothing_else(finished):
    text = (finished / "report.html").read_text()

    class Links(HTMLParser):
        found: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag, attrs):
            self.found += [value for name, value in attrs if name in ("src", "href") and value]

    page = Links()
    page.feed(text)
    assert page.found
    assert all(link.startswith(("data:", "#")) for link in page.found)
    winner = read_topology(finished / "winner" / "topology.yaml")
    assert winner.digest in text
    assert f"wireloom compile {finished}" in text


def test_the_views_come_back_from_the_log_alone(copied, tree):
    before = tree(copied)
    for name in ("trials.csv", "pareto.csv", "pareto.png", "confirm.csv", "confirm_seeds.csv", "report.html"):
        (copied / name).unlink()
    shutil.rmtree(copied / "winner")
    Views.open(copied).write_all()
    after = tree(copied)
    assert set(after) == set(before)
    files = ("topology.yaml", "importance.json")
    for name in ("trials.csv", "pareto.csv", "confirm.csv", "events.jsonl", *(f"winner/{one}" for one in files)):
        assert after[name] == before[name], name


def test_an_unfinished_run_has_views_too(copied, rows):
    log = (copied / "events.jsonl").read_bytes().splitlines(keepends=True)
    first = next(i for i, line in enumerate(log) if json.loads(line)["event"] == "result")
    for lines in (1, 2, first, first + 1, first + 2):
        (copied / "events.jsonl").write_bytes(b"".join(log[:lines]) + b'{"seq": 99, "ev')
        views = Views.open(copied)
        views.write_all()
        assert len(rows(copied / "trials.csv")) == len(views.trials) == (lines > first)
        assert (views.winner is None) == (lines <= first)
        assert views.verdict == ""


def test_commands_can_be_typed_as_they_are_printed(copied, tmp_path):
    odd = copied.rename(tmp_path / "a b; $(c)")
    commands = [shlex.split(text) for _, text in Views.open(odd).commands()]
    assert commands == [
        ["wireloom", "compile", str(odd), "--out", f"{odd}/model"],
        ["wireloom", "search", f"{odd}/experiment.yaml"],
        ["wireloom", "show", f"{odd}/winner/topology.yaml"],
    ]
    Views.open(odd).write_all()
    assert "wireloom compile &#x27;" in (odd / "report.html").read_text()


def test_the_report_says_what_the_fresh_seeds_come_to(finished):
    views = Views.open(finished)
    assert "on 2 fresh seeds and the test split" in views.verdict
    text = (finished / "report.html").read_text()
    for sentence in views.findings.sentences():
        assert html.escape(sentence, quote=True) in text
    assert "test_accuracy" in text
    for title in (
        "Hypervolume", "Which edges of the winner matter", "What was not trained to its end, and why",
        "How much of the space was seen", "Do it again", "Learning curves",
    ):  # fmt: skip
        assert f"<h2>{title}</h2>" in text


def test_without_a_lock_the_report_says_less(copied):
    assert "versions torch" in Views.open(copied).facts()
    (copied / "lock.json").unlink()
    assert Views.open(copied).facts() == {}
    Views.open(copied).write_all()


def test_what_is_no_run_is_refused(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RunFolderError, match=r"is no run's folder: it has no events.jsonl"):
            Views.open(place)


def test_a_trial_without_a_topology_says_why(make, study):
    done = study(make(trials=1, train={"budget_gflops": 1e-6, "batch": 32, "lr": 1e-3, "warmup": 0.0}))
    with pytest.raises(RunFolderError, match=r"trial 0 has no topology: .*less than one training step"):
        topology_of(done.ledger.ordered()[0])


def test_drawings_are_pictures(finished):
    from graphs import draw

    best = Views.open(finished).winner
    assert ElementTree.fromstring(draw.picture(topology_of(best), kind="svg")).tag.endswith("svg")
