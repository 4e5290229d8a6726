"""Both sides of an executor that is driven from elsewhere, with a wire between them that is a queue."""

import pickle
import threading
import time
from pathlib import Path
from queue import SimpleQueue

import pytest
from odd_trials import job

from nas.errors import RunFolderError
from nas.executors import far
from nas.executors.cluster import ClusterError
from nas.executors.desk import Desk
from nas.executors.far import Engine, FarExecutor, landed
from nas.jobs import Outcome, Report
from nas.storage import StorageError

LONG = 30.0  # seconds after which a wait that should have ended is a failure
VERSIONS = {"python": "3"}


class There(Desk):
    """An executor whose far side the test plays."""

    slots = 3

    def __init__(self, away, say):
        super().__init__(say)
        self.away = away


class Line:
    """Calls in their order, one at a time, as plain data; nothing arrives after ``cut``."""

    def __init__(self, make=There):
        self.engine = Engine(self._made(make))
        self.there = None
        self.cut = threading.Event()
        self.called = []
        self._calls = SimpleQueue()
        threading.Thread(target=self._serve, daemon=True).start()

    def _made(self, make):
        def made(away, say):
            self.there = make(away, say)
            return self.there

        return made

    def _serve(self):
        while True:
            name, arguments, answers = self._calls.get()
            self.called.append(name)
            found = getattr(self.engine, name)(*pickle.loads(arguments))
            if not self.cut.is_set():
                answers.put(pickle.dumps(found))

    def tell(self, name, *arguments):
        if self.cut.is_set():
            raise ClusterError("the connection is lost")
        self._calls.put((name, pickle.dumps(arguments), SimpleQueue()))

    def ask(self, name, *arguments):
        answers = SimpleQueue()
        self._calls.put((name, pickle.dumps(arguments), answers))
        return pickle.loads(answers.get())


@pytest.fixture
def line():
    return Line()


def executor(line, folder=None, say=lambda text: None) -> FarExecutor:
    return FarExecutor(line, VERSIONS, folder=folder, say=say, lost=ClusterError)


def report(step=1, asks=False) -> Report:
    return Report(0, step, 1.0, 0.5, 0.7, asks)


def done(number=0, kind="complete") -> Outcome:
    return Outcome(number, kind, 9, 0.1)


def later(action) -> None:
    threading.Timer(0.05, action).start()


def test_jobs_go_there_and_messages_and_answers_come_back_in_order(line):
    subject = executor(line)
    assert subject.slots == 3
    subject.submit(job(0))
    subject.submit(job(1))
    line.there.put([report(1), report(2, asks=True)])
    assert [subject.next(), subject.next()] == [report(1), report(2, asks=True)]
    assert [line.there.take(block=True).number, line.there.take(block=True).number] == [0, 1]
    subject.answer(0, False)
    assert line.there.ask(0) is False
    line.there.slots = 5
    later(lambda: line.there.put([done()]))
    assert subject.next() == done()
    assert subject.slots == 5


def test_it_waits_for_as_long_as_there_is_nothing_to_hear(line, monkeypatch):
    monkeypatch.setattr(far, "WAIT", 0.01)
    subject = executor(line)
    subject.submit(job())
    later(lambda: line.there.put([done()]))
    assert subject.next() == done()
    assert line.called.count("next") > 1


def test_a_study_with_other_things_to_do_looks_whether_there_is_something(line, monkeypatch):
    monkeypatch.setattr(far, "WAIT", 0.01)
    subject = executor(line)
    subject.submit(job())
    assert not subject.ready(0.0)
    assert not subject.ready(0.05)
    later(lambda: line.there.put([report(), done()]))
    assert subject.ready(LONG)
    assert [subject.next(), subject.next()] == [report(), done()]
    line.there.fail(RunFolderError("no room"))
    assert subject.ready(LONG), "next() raises at once"


def test_paths_are_whole_and_the_folder_has_its_token_while_it_is_used(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    subject = executor(line, Path("run"))
    assert not (tmp_path / "run").exists()
    subject.submit(job(weights=Path("w"), keep=Path("k")))
    given = line.there.take(block=True)
    assert (given.weights, given.keep) == (tmp_path / "w", tmp_path / "k")
    assert (tmp_path / "run" / ".executor").read_text() == line.there.away.token
    assert line.there.away.versions == VERSIONS
    subject.leave()
    assert list((tmp_path / "run").iterdir()) == []


def test_weights_are_here_before_their_outcome_and_gone_there(line, tmp_path, monkeypatch):
    monkeypatch.setattr("nas.executors.worker.PIECE", 7)
    content = bytes(range(50))
    subject = executor(line)
    subject.submit(job(weights=tmp_path / "w"))
    subject.submit(job(1, weights=tmp_path / "shared"))
    landing = line.there.away.landing
    landed(landing, 0).write_bytes(content)
    line.there.put([done(0), done(1)])
    assert subject.next() == done(0)
    assert (tmp_path / "w").read_bytes() == content
    assert subject.next() == done(1), "whose weights the worker has written itself"
    assert [path.name for path in tmp_path.iterdir()] == ["w"]
    assert not subject.ready(0.0)  # behind what it was told before
    assert list(landing.iterdir()) == []
    landed(landing, 1).write_bytes(content)
    subject.close()
    assert list(landing.iterdir()) == []
    subject.leave()
    assert not landing.exists()


def test_a_disk_that_is_full_here_is_said_with_the_file(line, tmp_path):
    subject = executor(line)
    subject.submit(job(weights=tmp_path / "missing" / "w"))
    landed(line.there.away.landing, 0).write_bytes(b"x")
    line.there.put([done()])
    with pytest.raises(RunFolderError, match=r"missing/w: the trained weights cannot be written: .* --resume"):
        subject.next()


def test_what_there_is_to_say_is_said(line, monkeypatch):
    monkeypatch.setattr(far, "WAIT", 0.01)
    said = []
    subject = executor(line, say=said.append)
    subject.submit(job())
    line.there.say("waiting for a node")
    later(lambda: line.there.put([done()]))
    subject.next()
    assert said == ["waiting for a node"]


@pytest.mark.parametrize(
    ("fault", "kind"), [(RunFolderError("no room"), RunFolderError), (LookupError("what"), RuntimeError)]
)
def test_a_fault_there_is_raised_here_after_what_came_before_it(line, fault, kind):
    subject = executor(line)
    subject.submit(job())
    line.there.put([report()])
    line.there.fail(fault)
    assert subject.next() == report()
    for _ in range(2):
        with pytest.raises(kind, match=str(fault)):
            subject.next()


def test_what_a_job_cannot_be_taken_for_is_raised_where_somebody_waits(line, monkeypatch):
    subject = executor(line)

    def refused(job):
        raise ClusterError("a node has died")

    monkeypatch.setattr(line.there, "submit", refused)
    subject.submit(job())
    with pytest.raises(ClusterError, match="a node has died"):
        subject.next()
    assert subject.reached


def test_what_it_cannot_be_opened_for_is_raised():
    def refused(away, say):
        raise StorageError("it has no GPU")

    with pytest.raises(StorageError, match="it has no GPU"):
        executor(Line(refused))


def test_closing_ends_what_runs_and_more_can_be_submitted(line):
    subject = executor(line)
    subject.close()
    assert "close" not in line.called, "nothing was submitted"
    subject.submit(job())
    line.there.put([report()])
    subject.close()
    assert line.there.closed
    line.there.closed = False
    subject.submit(job(1))
    assert line.there.take(block=True).number == 1


def test_an_engine_that_does_not_answer_is_given_up_and_not_asked_again(line, monkeypatch, tmp_path):
    monkeypatch.setattr(far, "WAIT", 0.01)
    monkeypatch.setattr(far, "LOST", 0.2)
    subject = executor(line, tmp_path)
    subject.submit(job())
    line.cut.set()
    with pytest.raises(ClusterError, match=r"it has not answered for 0\.21 s"):
        subject.next()
    began = time.monotonic()
    subject.leave()
    assert time.monotonic() - began < LONG
    assert not subject.reached
    assert line.called[-1] == "next"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ClusterError, match="lost"):
        subject.answer(0, True)
