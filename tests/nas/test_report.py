import base64
import json
import re
from dataclasses import dataclass, replace
from html.parser import HTMLParser

import pytest

from nas.front import pareto, winner
from nas.page import MOST_OPEN
from nas.records import CurvePoint, Status, Trial
from nas.report import MOST_ROWS, residual_baseline, summary, write_report


@dataclass(frozen=True)
class Objective:
    metric: str
    goal: str


OBJECTIVES = (Objective("accuracy", "maximize"), Objective("flops", "minimize"))
CURVE = tuple(CurvePoint(step, step * 1e9, 2.0 / step, 1 - 1 / step, 1.0 / step) for step in range(1, 6))
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>'
PNG = b"\x89PNG\r\n\x1a\n picture"
HOSTILE = "<script>alert('reason')</script>"


def trial(number: int, family: str, quality: float, *, depth: int = 4, status=Status.COMPLETE, **fields) -> Trial:
    made = Trial(
        number, status, "tpe", family, {"family": family, "depth": depth}, f"{number:02}" * 16, 0, 1e12, 5e11,
        1e6 * (1 + quality), 5000, 9.0, {"accuracy": quality, "flops": 1e6 * (1 + quality)}, quality, 0.1, 2.0,
        None, CURVE,
    )  # fmt: skip
    return replace(made, **fields)


TRIALS = [
    trial(0, "residual", 0.5, source="baseline"),
    trial(1, "hyper", 0.75),
    trial(2, HOSTILE, 0.4, status=Status.PRUNED, reason="stopped at step 9"),
    trial(
        3, "wiring", 0.1, status=Status.REJECTED, objectives={}, curve=(), seconds=None, spent_flops=0.0, reason=HOSTILE
    ),
    trial(4, "residual", 0.6, depth=8),
    trial(5, "dense", 0.2, status=Status.FAILED, objectives={}, accuracy=None, reason='"quoted" & more'),
]


class Page(HTMLParser):
    """Tags in order, all attributes, the visible text; a tag closed out of order fails."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.attributes, self.parts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []
        self.text = " ".join("".join(self.parts).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.parts.append(data + ("" if self.open[-1:] == ["code"] else " "))


def report(folder, trials=TRIALS, **fields) -> Page:
    drawings = {TRIALS[1].digest: SVG, "other": PNG}
    given = {
        "name": "digits <b>", "trials": trials, "objectives": OBJECTIVES, "front": pareto(trials, OBJECTIVES),
        "winner": winner(trials, OBJECTIVES), "facts": {"torch": "2.13", "data <i>": "abcd"}, "drawings": drawings,
        "commands": [("run it again", "wireloom search 'a & b.yaml'")],
    }  # fmt: skip
    path = write_report(folder, **(given | fields))
    assert path == folder / "report.html"
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Page:
    return report(tmp_path_factory.mktemp("report"))


def test_it_is_one_file_that_loads_and_runs_nothing(page):
    assert not {"script", "link", "iframe", "object", "svg"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "action", "data", "srcset"):
            assert (tag, value[:11]) == ("img", "data:image/")
        else:
            assert "://" not in (value or "")


def test_pictures_are_inside_with_their_kind(page):
    images = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    kinds = [re.match(r"data:image/([a-z+]+);base64,(.*)", value).groups() for value in images]
    assert [kind for kind, _ in kinds] == ["png", "svg+xml", "png", "png"]
    assert base64.b64decode(kinds[1][1]) == SVG


def test_styles_fetch_nothing(tmp_path):
    report(tmp_path)
    style = re.search(r"<style>(.*?)</style>", (tmp_path / "report.html").read_text(), re.S).group(1)
    assert "url(" not in style
    assert "@import" not in style
    assert "prefers-color-scheme: dark" in style


def test_text_of_others_is_shown_not_interpreted(page):
    assert page.text.count(HOSTILE) >= 2
    for text in ("digits <b>", '"quoted" & more', "wireloom search 'a & b.yaml'", "data <i>"):
        assert text in page.text
    assert "b" not in page.tags
    assert "i" not in page.tags


def test_every_trial_is_there_with_status_and_reason(page, tmp_path):
    titles = [value for tag, name, value in page.attributes if (tag, name) == ("code", "title")]
    assert {one.digest for one in TRIALS} <= set(titles)
    for status in Status:
        assert status in page.text
    assert "stopped at step 9" in page.text


def test_headline_compares_with_the_residual_network_of_the_same_seed_and_depth(page):
    assert "hyper depth=4 came first: validation accuracy 75.00 %, inference cost per sample 1.750 MFLOPs." in page.text
    same = "The residual network of the same depth, with the same seed and training budget: validation accuracy 50.00 %"
    assert same in page.text
    assert "Difference in validation accuracy: +25.00 points." in page.text
    assert "This is one seed, and the luckiest of many is picked: confirm it before you believe it." in page.text
    assert " better" not in page.text.split("Quality against cost")[0]


def test_other_headlines(tmp_path):
    assert "No trial is complete yet" in report(tmp_path, TRIALS[2:4]).text
    assert "No trial is complete yet" in report(tmp_path, [], drawings={}, commands=[], facts={}).text
    assert "nothing to compare with" in report(tmp_path, TRIALS[1:4]).text
    assert "nothing to compare with" in report(tmp_path, [replace(TRIALS[0], seed=1), TRIALS[1]]).text
    assert "of another depth (residual depth=8)" in report(tmp_path, [TRIALS[1], TRIALS[4]]).text
    assert "That is the residual network itself" in report(tmp_path, TRIALS[:1]).text
    lost = report(
        tmp_path, [TRIALS[1], replace(TRIALS[0], objectives={"accuracy": 0.8, "flops": 9e6})], winner=TRIALS[1]
    )
    assert "Difference in validation accuracy: -5.00 points." in lost.text


def test_confirmed_figures_are_shown_and_pointed_to(tmp_path):
    rows = [{"digest": "ab", "n": 3, "interval": "[-0.1, 0.2]"}]
    page = report(tmp_path, confirmation=rows)
    assert "go by the fresh seeds below" in page.text
    assert "confirm it before you believe it" not in page.text
    assert "[-0.1, 0.2]" in page.text


def test_the_cost_counts_every_trial(page):
    assert "2,500.00 GFLOPs of training over 6 trials, failures included; 10.0 s in all." in page.text


def test_the_baseline_must_share_seed_and_budget_and_be_complete():
    best = TRIALS[1]
    unfair = [
        replace(TRIALS[0], seed=1), replace(TRIALS[0], budget_flops=1.0), replace(TRIALS[0], status=Status.PRUNED),
        replace(TRIALS[0], family="dense"), replace(TRIALS[0], objectives={}),
    ]  # fmt: skip
    assert residual_baseline(unfair, best) is None
    searched = replace(TRIALS[0], number=7, source="tpe")
    assert residual_baseline([TRIALS[4], searched, TRIALS[0], *unfair], best) is TRIALS[0]
    assert residual_baseline([TRIALS[4]], best) is TRIALS[4]
    assert residual_baseline([replace(TRIALS[4], source="baseline"), searched], best) is searched


def test_summary_is_json_and_agrees_with_the_trials():
    found = json.loads(json.dumps(summary(TRIALS, OBJECTIVES), allow_nan=False))
    assert found["winner"]["number"] == 1
    assert found["baseline"]["number"] == 0
    assert [one["number"] for one in found["front"]] == [1, 4, 0]
    assert found["counts"] == {"COMPLETE": 3, "PRUNED": 1, "REJECTED": 1, "DIVERGED": 0, "FAILED": 1}
    assert found["cost"] == {"training_flops": 2.5e12, "seconds": 10.0}
    assert found["objectives"][1] == {"metric": "flops", "goal": "minimize"}
    empty = summary([], OBJECTIVES)
    assert (empty["winner"], empty["baseline"], empty["front"]) == (None, None, [])


def test_of_thousands_of_trials_the_best_are_listed(tmp_path):
    def searched(count):
        return [trial(number, "hyper", 0.5 + ((number * 7) % count) / (2 * count)) for number in range(count)]

    few = report(tmp_path, trials=searched(MOST_ROWS), front=(), winner=None)
    assert "trials.csv has all of them" not in few.text
    assert few.tags.count("tr") > MOST_ROWS
    many = report(tmp_path, trials=searched(4 * MOST_ROWS), front=(), winner=None)
    assert f"The best {MOST_ROWS} of 1,200 trials" in many.text
    assert many.tags.count("tr") - few.tags.count("tr") in range(-2, 3)


def test_of_a_long_front_the_end_is_folded(tmp_path):
    trials = [trial(number, "hyper", 0.5 + number / 100) for number in range(MOST_OPEN + 5)]
    assert len(pareto(trials, OBJECTIVES)) == len(trials)
    page = report(tmp_path, trials=trials)
    assert "the other 5 trials" in page.text
    assert page.tags.count("details") == 1
    assert "details" not in report(tmp_path, trials=trials[:MOST_OPEN]).tags
