import json
import os
import random
from collections import Counter, defaultdict

import pytest

from graphs import Topology
from graphs.dag import dag, edges_of
from nas import open_door
from nas.executors.serial import SerialExecutor
from nas.files import replace_file
from nas.front import pareto
from nas.jobs import Outcome
from nas.open_door import DoorKeeper, OpenDoor
from nas.proposal import Later, Proposal
from nas.records import Status
from nas.run_folder import RunFolder
from nas.study import Study
from search_space.document import dump

DEPTH = 3
PLACES = [(i, j) for j in range(1, DEPTH + 2) for i in range(j)]
OPEN = {"sampler": "random", "open": {"share": 0.5}}


def put(folder, name, data):
    """Propose as a stranger does: write elsewhere, rename."""
    (folder / "proposals").mkdir(parents=True, exist_ok=True)
    draft = folder / "proposals" / ".draft"
    draft.write_bytes(data if isinstance(data, bytes) else dump(data).encode())
    draft.rename(folder / "proposals" / f"{name}.yaml")


def graph(seed, **more):
    """Edges of a random DAG that is no point of the space: the last block reads no neighbour."""
    rng = random.Random(seed)
    edges = [[0, 1], [1, 2], [0, 3], [2, 4], [3, 4]] + [
        [i, j] for i, j in [(0, 2), (1, 3), (0, 4), (1, 4)] if rng.random() < 0.5
    ]
    return {"depth": DEPTH, "edges": [[*edge, round(rng.uniform(0.5, 2), 3)] for edge in edges], **more}


@pytest.fixture
def search(tmp_path, fake):
    """Run a study with its keeper in the folder ``run`` and give it."""

    def run(experiment, trainer=None):
        path = tmp_path / "run"
        begun = (path / "events.jsonl").exists()
        held = RunFolder.resume(path, experiment) if begun else RunFolder.create(path, experiment)
        try:
            study = Study(experiment, held, SerialExecutor(trainer or fake()))
            keeper = DoorKeeper(experiment, path, study.ledger, pytest.fail)
            keeper.start()
            study.observers = (keeper,)
            study.run()
        finally:
            held.log.close()
        return study

    return run


@pytest.fixture
def run(tmp_path):
    return tmp_path / "run"


def result(folder, name):
    return json.loads((folder / "results" / f"{name}.json").read_text())


def begin(make, search, run, **changes):
    """A search of the baselines alone, to be made longer."""
    settings = {
        "space": {
            "depth": DEPTH,
            "families": {"residual": {}, "hyper": {"streams": [2, 3]}, "wiring": {"edges": {"low": 1, "high": 4}}},
        }
    }
    experiment = make(trials=2, search=OPEN | changes, confirm=None, **settings)
    search(experiment)
    return lambda trials: make(trials=trials, search=OPEN | changes, confirm=None, **settings)


def test_proposals_are_taken_by_name_after_the_baselines_and_keep_to_their_share(make, search, run):
    longer = begin(make, search, run)
    for number, name in enumerate(["c", "a", "b", "d", "e", "f", "g", "h"]):
        put(run, name, graph(number))
    asks = search(longer(10)).ledger.asks
    sources = [ask.source for ask in asks]
    assert sources[:2] == ["baseline", "baseline"]
    mine = [source for source in sources if source.startswith("open:")]
    assert mine == [f"open:{name}" for name in "abcdefgh"[: len(mine)]]
    assert len(mine) == 4  # of the 8 trials that are no baselines
    trials = [ask for ask in asks if ask.verdict == "job" and ask.source != "baseline"]
    for end in range(1, len(trials) + 1):
        assert sum(ask.source.startswith("open:") for ask in trials[:end]) <= end / 2


def test_what_is_refused_costs_asks_and_is_no_way_to_use_up_a_search(make, search, run):
    longer = begin(make, search, run)
    for number in range(60):
        put(run, f"bad-{number:02d}", {"depth": DEPTH, "edges": [[0, number + 5]]})
    study = search(longer(8))
    assert study.ledger.trained == 8
    mine = [ask for ask in study.ledger.asks if ask.source.startswith("open:")]
    assert 0 < len(mine) <= len(study.ledger.asks) / 2
    assert {ask.verdict for ask in mine} == {"rejected"}
    refused = result(run, "bad-00")
    assert (refused["status"], refused["digest"]) == ("REJECTED", None)
    assert "edge (0, 5)" in refused["reason"]


def test_every_end_has_its_result(make, search, run, fake):
    longer = begin(make, search, run)
    put(run, "a-good", graph(1, note="trust me"))
    put(run, "b-again", graph(1))
    put(run, "c-residual", {"depth": DEPTH, "edges": [list(edge) for edge in PLACES]})
    put(run, "d-wrong", b"depth: {")
    put(run, "e-deep", {"depth": 40, "edges": [[i, i + 1] for i in range(41)]})
    study = search(longer(16))
    good, again, residual = result(run, "a-good"), result(run, "b-again"), result(run, "c-residual")
    assert good["status"] == "COMPLETE"
    assert good["objectives"] == dict(study.ledger.trials[good["trial"]].objectives)
    assert good["flops"] > 0
    assert (again["status"], again["twin"], again["trial"]) == ("DUPLICATE", good["trial"], None)
    assert again["objectives"] == good["objectives"]
    assert (residual["status"], residual["twin"]) == ("DUPLICATE", 0)
    assert result(run, "d-wrong")["status"] == result(run, "e-deep")["status"] == "REJECTED"
    assert "depth 40 is not one of this search" in result(run, "e-deep")["reason"]
    ask = next(event for event in study.folder.log.events if event.get("source") == "open:a-good")
    assert ask["proposal"]["note"] == "trust me"
    assert ask["proposal"]["text"] == dump(graph(1, note="trust me"))


def test_limits_hold_for_strangers(make, search, run):
    put(run.parent / "early", "dear", graph(3))
    experiment = make(trials=2, search=OPEN | {"baselines": False, "open": {"share": 1.0}}, limits={"traffic": 15.0})
    held = RunFolder.create(run, experiment)
    held.log.close()
    (run.parent / "early" / "proposals").rename(run / "proposals")
    study = search(experiment)
    assert result(run, "dear")["status"] == "REJECTED"
    assert "traffic" in result(run, "dear")["reason"]
    assert "over the limit" in result(run, "dear")["reason"]
    assert study.ledger.trained == 2


def test_the_front_is_there_for_programs(make, search, run):
    study = search(make(trials=6, search=OPEN, confirm=None))
    front = json.loads((run / "results" / "_front.json").read_text())
    assert front
    assert [one["front"] for one in front] == list(range(1, len(front) + 1))
    for one in front:
        trial = study.ledger.trials[one["trial"]]
        assert one["objectives"] == dict(trial.objectives)
        topology = Topology.from_dict(one["topology"])
        assert topology.digest == trial.digest
        if one["edges"] is not None:
            assert dag(one["depth"], one["edges"]).digest == trial.digest
        else:
            assert edges_of(topology) is None


def test_the_page_states_the_protocol_the_space_and_the_baselines(make, search, run):
    study = search(make(trials=3, search=OPEN, confirm=None))
    page = (run / "proposals" / "README.md").read_text()
    for words in ("proposals/NAME.yaml", "hyper.streams", "wiring.priority.I-J", "50%", "| 0 | residual"):
        assert words in page, words
    assert page.count("COMPLETE |") == sum(trial.source == "baseline" for trial in study.ledger.ordered())


def test_a_resumed_search_takes_nothing_twice_and_needs_no_file_again(make, search, run, fake):
    longer = begin(make, search, run)
    for number in range(4):
        put(run, f"p{number}", graph(number))
    whole = search(longer(10))
    events = list(whole.folder.log.events)

    for cut in (6, 9, 14, 20):
        lines = "".join(json.dumps(event) + "\n" for event in events[:cut])
        (run / "events.jsonl").write_text(lines)
        for number in range(4):
            if f'"open:p{number}"' in lines:
                put(run, f"p{number}", b"changed: since\n")
            else:
                put(run, f"p{number}", graph(number))
        again = search(longer(10))
        assert [(ask.source, ask.digest, ask.verdict) for ask in again.ledger.asks] == [
            (ask.source, ask.digest, ask.verdict) for ask in whole.ledger.asks
        ]
        assert [trial.objectives for trial in again.ledger.ordered()] == [
            trial.objectives for trial in whole.ledger.ordered()
        ]


def test_it_waits_for_its_turn_and_then_goes_on(make, run):
    now = [0.0]
    experiment = make(trials=4, search=OPEN | {"baselines": False, "open": {"share": 1.0, "wait": 10.0}}, confirm=None)
    folder = RunFolder.create(run, experiment)
    study = Study(experiment, folder, SerialExecutor())
    door = OpenDoor(experiment, run, clock=lambda: now[0])
    first = door.propose(study.ledger)
    assert isinstance(first, Later)
    assert 0 < first.seconds <= 1
    now[0] = 9.9
    assert isinstance(door.propose(study.ledger), Later)
    put(run, "late", graph(1) | {"depth": 3})
    found = door.propose(study.ledger)
    assert isinstance(found, Proposal)
    assert found.source == "open:late"
    study._ask(found)
    assert isinstance(door.propose(study.ledger), Later)  # and waits ten seconds more from here
    now[0] = 19.8
    assert isinstance(door.propose(study.ledger), Later)
    now[0] = 19.95
    assert door.propose(study.ledger) is None
    folder.log.close()


def test_a_waiting_search_ends_with_its_trials(make, search, run):
    """Nobody proposes: each turn costs the wait, and the sampler has it then."""
    study = search(make(trials=5, search=OPEN | {"open": {"share": 1.0, "wait": 0.02}}, confirm=None))
    assert study.ledger.trained == 5
    assert study.times["waiting"] > 0


def test_links_pipes_folders_and_other_names_are_not_looked_into(make, search, run, tmp_path):
    longer = begin(make, search, run)
    secret = tmp_path / "secret.yaml"
    secret.write_text(dump(graph(1)))
    (run / "proposals" / "link.yaml").symlink_to(secret)
    (run / "proposals" / "folder.yaml").mkdir()
    os.mkfifo(run / "proposals" / "pipe.yaml")
    for name in (".hidden.yaml", "_under.yaml", "a b.yaml", "x.yml", "x.json"):
        (run / "proposals" / name).write_text(dump(graph(2)))
    study = search(longer(5))
    assert not [ask for ask in study.ledger.asks if ask.source.startswith("open:")]


def test_a_result_loses_its_place_when_it_is_beaten(make, search, run, fake):
    longer = begin(make, search, run)
    put(run, "a", graph(1))
    study = search(longer(14))
    found = result(run, "a")
    places = {one["trial"]: one["front"] for one in json.loads((run / "results" / "_front.json").read_text())}
    assert found["front"] == places.get(found["trial"])
    assert study.ledger.trials[found["trial"]].status is Status.COMPLETE


def test_what_an_event_did_not_change_is_not_written_again(make, search, run, monkeypatch):
    """Of thousands of proposals whatever each event does with all of them takes longer than the search."""
    longer, count = begin(make, search, run), 40
    for number in range(count):
        put(run, f"p{number:02d}", graph(number))
    written = Counter()

    def counted(path, data):
        written[path.name] += 1
        replace_file(path, data)

    monkeypatch.setattr("nas.open_door.replace_file", counted)
    monkeypatch.setattr("nas.open_door.result", counted_calls := Calls(open_door.result))
    study = search(longer(2 * count))
    mine = [f"{name}.json" for ask in study.ledger.asks if (name := open_door.name_of(ask))]
    assert len(mine) > count / 2
    assert counted_calls.count == sum(written[name] for name in mine)
    # Taken, ended, and now and then to another place on the front.
    assert counted_calls.count <= 5 * len(mine)
    assert written["README.md"] == 1, "the baselines had ended before"
    assert written["_front.json"] < len(study.ledger.trials)


class Calls:
    """Counts the calls of a function."""

    def __init__(self, function):
        self.function = function
        self.count = 0

    def __call__(self, *arguments, **options):
        self.count += 1
        return self.function(*arguments, **options)


class Looker:
    """Beside the keeper: every result at every event, by proposal, without repetitions."""

    def __init__(self, run):
        self.run = run
        self.seen = defaultdict(list)

    def look(self):
        for path in sorted(self.run.glob("results/[!_]*.json")):
            found = json.loads(path.read_text())
            if self.seen[found["name"]][-1:] != [found]:
                self.seen[found["name"]].append(found)

    def asked(self, ask, reason):
        self.look()

    def reported(self, report, steps):
        self.look()

    def paused(self, trial):
        self.look()

    def finished(self, trial):
        self.look()


PROMOTION = {"sampler": "random", "open": {"share": 1.0}, "halving": {"form": "promotion", "rungs": 3, "keep": 0.34}}


def test_of_a_trial_that_waits_the_last_word_is_yet_to_come(make, fake, run):
    experiment = make(trials=30, search=PROMOTION, confirm=None)
    RunFolder.create(run, experiment).log.close()
    for number in range(30):
        put(run, f"p{number:02d}", graph(number))
    put(run, "p20-twin", graph(3))  # of one that waits, runs or is over by then
    looker = Looker(run)
    held = RunFolder.resume(run, experiment)
    done = Study(experiment, held, SerialExecutor(fake()))
    keeper = DoorKeeper(experiment, run, done.ledger, pytest.fail)
    keeper.start()
    done.observers = (keeper, looker)
    done.run()
    held.log.close()
    stories = {name: [(one["status"], one["final"]) for one in found] for name, found in looker.seen.items()}
    waited = {name for name, story in stories.items() if ("WAITING", False) in story}
    promoted = {name for name in waited if ("RUNNING", False) in stories[name][2:]}
    assert promoted
    assert waited - promoted
    for name, story in stories.items():
        assert [final for _, final in story] == sorted(final for _, final in story), "after the last word comes none"
        assert story[-1][1], name
        assert looker.seen[name][-1] == result(run, name)
        if name in waited:
            at_rung = next(one for one in looker.seen[name] if one["status"] == "WAITING")
            assert at_rung["objectives"]
            assert at_rung["reason"].startswith("waits after ")


def test_a_proposal_is_seen_while_other_trials_run(make, run):
    """Two slots: one trial runs and says nothing; the other slot waits for the stranger."""
    experiment = make(trials=2, search=OPEN | {"baselines": False, "open": {"share": 1.0, "wait": 20.0}}, confirm=None)
    folder = RunFolder.create(run, experiment)
    put(run, "first", graph(1))
    events = []

    class Two:
        slots = 2

        def submit(self, job):
            events.append(f"submit {job.number}")

        def ready(self, seconds):
            assert 0 < seconds <= 2
            events.append("nothing to say")
            if len(events) == 3:
                put(run, "second", graph(2))
            return False

        def next(self):
            events.append("next")
            number = events.count("next") - 1
            return Outcome(number, "failed", 0, 0.0, reason="made to fail")

    study = Study(experiment, folder, Two())
    study.run()
    folder.log.close()
    assert events == ["submit 0", "nothing to say", "nothing to say", "submit 1", "next", "next"]
    assert [ask.source for ask in study.ledger.asks] == ["open:first", "open:second"]


def test_samplers_that_move_by_edges_live_with_strangers(make, search, run):
    for sampler in ("local", "evolution", "nsga2", "tpe", "stratified"):
        experiment = make(
            name=sampler, trials=14, confirm=None, search={"sampler": sampler, "population": 4, "open": {"share": 0.5}},
            space={"depth": DEPTH, "families": {"wiring": {"edges": {"low": 1, "high": 4}}, "residual": {}}},
        )  # fmt: skip
        for number in range(8):
            put(run.parent / "waiting", f"p{number}", graph(number))
        if run.exists():
            run.rename(run.with_name(f"run-before-{sampler}"))
        held = RunFolder.create(run, experiment)
        (run / "proposals").mkdir()
        for file in (run.parent / "waiting" / "proposals").iterdir():
            (run / "proposals" / file.name).write_bytes(file.read_bytes())
        held.log.close()
        study = search(experiment)
        assert study.ledger.trained == 14
        assert sum(ask.point.family == "custom" for ask in study.ledger.asks) >= 5


def test_a_folder_that_cannot_be_written_is_said_once_and_ends_nothing(make, study, run):
    experiment = make(trials=3, search=OPEN, confirm=None)
    done = study(experiment)
    said = []
    (run / "results").write_text("in the way")
    keeper = DoorKeeper(experiment, run, done.ledger, said.append)
    keeper.start()
    keeper.finished(done.ledger.trials[0])
    assert len(said) == 1
    assert "the search goes on" in said[0]
    (run / "results").unlink()
    keeper.finished(done.ledger.trials[1])
    front = json.loads((run / "results" / "_front.json").read_text())
    assert {one["trial"] for one in front} == {
        one.number for one in pareto(done.ledger.ordered(), experiment.objectives)
    }
