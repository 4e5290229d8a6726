"""What plans beside the driver: the same points in the same order, and nothing but time depends on it."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from nas import ahead as module
from nas import planner as planning
from nas.ahead import MANY, _foresee, _Teller, ahead
from nas.collector import spared
from nas.events import read
from nas.jobs import Outcome, Report
from nas.ledger import Ledger
from nas.planner import Planner
from nas.proposal import Proposal
from nas.run_folder import RunFolder
from nas.study import Study
from search_space.document import dump

SPACE = {  # in which points repeat, are illegal, and of one digest
    "depth": {"low": 2, "high": 7},
    "families": {"residual": {}, "hyper": {"streams": [1, 2]}, "wiring": {"edges": {"low": 0, "high": 9}}},
}


class Enough(Exception):
    pass


class Heard:
    """A connection that keeps what is sent."""

    def __init__(self, most=10_000):
        self.sent, self.most = [], most

    def poll(self):
        return False

    def send(self, message):
        if len(self.sent) == self.most:
            raise Enough
        self.sent.append(message)


def arrived(study):
    assert study.planner.elsewhere.args[0].poll(60), "nobody plans"


class Workers:
    """An executor whose jobs end in the order in which they began, each once ``wait`` returns."""

    def __init__(self, slots):
        self.slots, self.jobs, self.said = slots, [], False
        self.wait = lambda: None

    def submit(self, job):
        self.jobs.append(job)

    def next(self):
        self.said = not self.said
        if self.said:
            job = self.jobs[0]
            return Report(job.number, job.steps, 1.0, job.number / 1000, 1.0, False)
        self.wait()
        job = self.jobs.pop(0)
        return Outcome(job.number, "complete", job.steps, 1.0, job.number / 1000, 1.0)


@pytest.fixture
def experiment(make):
    search = {"sampler": "stratified", "halving": None, "random_share": 0.2}
    return make(space=SPACE, trials=150, limits={"flops": 10_500}, search=search)


@pytest.fixture
def search(experiment, tmp_path, monkeypatch):
    """A search by an executor: its events, and the points that the driver planned itself."""

    def run(name, executor):
        planned, judge = [], planning.judge

        def watched(experiment, point):
            planned.append(point)
            return judge(experiment, point)

        with monkeypatch.context() as patch:
            patch.setattr(planning, "judge", watched)
            path = tmp_path / name
            folder = RunFolder.resume(path, experiment) if path.exists() else RunFolder.create(path, experiment)
            study = Study(experiment, folder, executor)
            if executor.slots >= MANY:  # trials that take as long as plans do
                executor.wait = lambda: isinstance(study.planner.elsewhere, partial) and arrived(study)
            study.run()
            folder.log.close()
        return [event | {"at": 0} for event in read(folder.path / "events.jsonl")[1:]], planned, study

    return run


@pytest.mark.parametrize("asks", [0, 1, 60])
def test_what_is_foreseen_is_what_the_driver_plans(experiment, search, asks, tmp_path):
    events, planned, study = search("run", Workers(4))
    assert {ask.verdict for ask in study.ledger.asks} == {"job", "duplicate", "rejected"}
    ledger = Ledger()
    if asks:  # of a search that goes on behind so many
        last = next(event["seq"] for event in events if event["event"] == "ask" and event["ask"] == asks - 1)
        log = tmp_path / "run" / "events.jsonl"
        log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[: last + 1]))
        ledger = Ledger.replay(read(log))
        _, planned, study = search("run", Workers(4))
    heard = Heard(80)
    with pytest.raises(Enough):
        _foresee(experiment, study.baselines, list(ledger.told), _Teller(experiment, heard, asks))
    assert [point for point, _ in heard.sent] == planned[:80]
    assert all("digest" in vars(found.topology) for _, found in heard.sent if found.topology is not None)


def test_a_driver_of_many_has_its_plans_from_elsewhere_and_finds_the_same(search, monkeypatch):
    events, planned, _ = search("helped", Workers(MANY))
    monkeypatch.setattr(module, "MANY", 10_000)
    alone, own, _ = search("alone", Workers(MANY))
    assert events == alone
    assert len(planned) < 0.75 * len(own), "the first jobs are placed before the other process is there"


def test_a_process_that_dies_costs_time_alone(search, monkeypatch):
    alone, own, _ = search("alone", Workers(4))
    monkeypatch.setattr(module, "MANY", 4)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    events, planned, _ = search("dead", Workers(4))
    assert (events, planned) == (alone, own)


def test_few_workers_and_other_samplers_have_none(experiment, make):
    for asked, workers in ((experiment, MANY - 1), (make(trials=5), MANY)):
        with ahead(Planner(asked), (), Ledger(), workers) as process:
            assert process is None


def _alive(process):
    with suppress(OSError):
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_it_ends_with_the_block_and_with_the_driver(experiment, tmp_path):
    with spared(), ahead(Planner(experiment), (), Ledger(), MANY) as process:
        assert _alive(process)
    assert not _alive(process)
    script = (
        "import time; from nas.ahead import ahead; from nas.experiment import Experiment\n"
        "from nas.ledger import Ledger\n"
        "from nas.planner import Planner\n"
        f"with ahead(Planner(Experiment.load({str(tmp_path / 'e.yaml')!r})), (), Ledger(), 64) as process:\n"
        "    print(process, flush=True); time.sleep(60)\n"
    )
    (tmp_path / "e.yaml").write_text(dump(experiment.resolved()))
    driver = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    process = int(driver.stdout.readline())
    assert _alive(process)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    end = time.monotonic() + 30
    while _alive(process):
        assert time.monotonic() < end, "it stays for ever"
        time.sleep(0.1)


def test_what_is_behind_a_point_is_left_for_later(experiment):
    first, second, third = (experiment.space.residual(depth) for depth in (2, 3, 4))
    found = planning.judge(experiment, first)

    def arrived():
        yield second, found
        yield first, found
        raise AssertionError("it would push out what is asked for before it")

    planner = Planner(experiment)
    planner.elsewhere = arrived
    assert planner.judge(Proposal(first, "")) is found
    planner.elsewhere = tuple
    assert planner.judge(Proposal(second, "")) is found
    assert planner.judge(Proposal(third, "")).topology.depth == 4
