import re

import pytest

from nas.executors.serial import SerialExecutor
from nas.live import LivePage
from nas.run_folder import RunFolder
from nas.study import Study


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Looking:
    """Keeps every version of the page that a browser could have met."""

    def __init__(self, path):
        self.path = path
        self.seen = []

    def look(self, *_):
        text = self.path.read_text() if self.path.exists() else ""
        if not self.seen or self.seen[-1] != text:
            self.seen.append(text)

    asked = reported = finished = look


@pytest.fixture
def run(make, fake, wide, tmp_path):
    """A study, its live page and a clock that runs ``step`` seconds with every event."""

    def ran(step, **changes):
        experiment = make(space=wide, trials=10, **changes)
        folder = RunFolder.create(tmp_path / "run", experiment)
        clock = Clock()
        study = Study(experiment, folder, SerialExecutor(fake()))
        page = LivePage(folder, experiment, study.ledger, clock)
        looking = Looking(tmp_path / "run" / "report.html")

        class Ticking:
            def tick(self, *_):
                clock.now += step

            asked = reported = finished = tick

        study.observers = (Ticking(), page, looking)
        study.run()
        folder.log.close()
        return page, looking.seen

    return ran


def test_the_page_reloads_itself_and_shows_the_search(run):
    page, seen = run(step=5.0, report={"refresh": 20})
    assert len(seen) > 5
    assert all('<meta http-equiv="refresh" content="20">' in text for text in seen)
    middle = seen[len(seen) // 2]
    assert re.search(r"State at 20\d\d-.*: running; \d+ of 10 trials have finished", middle)
    for part in (
        "Driver: process",
        "<h2>Hypervolume</h2>",
        "<h2>Budget</h2>",
        "<h2>Running</h2>",
        "data:image/svg+xml",
    ):
        assert part in middle, part
    assert "<script" not in middle
    page.write(refresh=None)
    last = page._folder.joinpath("report.html").read_text()
    assert "http-equiv" not in last
    assert "interrupted" in last


def test_it_is_not_rewritten_more_often_than_asked_for(run):
    assert len(run(step=0.01)[1]) == 1


def test_a_page_that_cannot_be_written_does_not_end_the_search(run, tmp_path):
    (tmp_path / "run" / "report.html").mkdir(parents=True)
    with pytest.raises(Exception, match="is not empty"):  # so that the folder is made by the run itself
        run(step=5.0)
    (tmp_path / "run" / "report.html").rmdir()
    page, _ = run(step=5.0)
    (tmp_path / "run" / "report.html").unlink()
    (tmp_path / "run" / "report.html").mkdir()
    page.write(refresh=None)
