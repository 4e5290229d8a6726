import json
import shutil

import pytest

from nas.errors import ExperimentError
from nas.events import read
from nas.executors.serial import SerialExecutor
from nas.front import pareto
from nas.ledger import Ledger
from nas.records import Status
from nas.run_folder import RunFolder
from nas.spending import spending
from nas.study import Study
from nas.views import Views
from nas.warm import RERUN, earlier, take

SPACE = {
    "depth": 3,
    "families": {"residual": {}, "wiring": {"edges": {"low": 1, "high": 4}}, "hyper": {"streams": [2, 3]}},
}
DATA = "0123456789abcdef"


def lock(folder, data=DATA):
    (folder / "lock.json").write_text(json.dumps({"data_fingerprint": data}))


@pytest.fixture
def before(make, study, tmp_path):
    """An earlier run of 12 trials, some of which did not come to their end."""
    done = study(
        make(space=SPACE, trials=12, seed=1, confirm=None, search={"sampler": "random"}),
        folder=tmp_path / "before",
    )
    lock(tmp_path / "before")
    Views(tmp_path / "before", done.experiment, done.ledger).write_tables()
    return tmp_path / "before"


@pytest.fixture
def again(make, before):
    """The experiment of a search that starts from it."""

    def build(**search):
        settings = {"sampler": "random", "warm_start": [str(before)]} | search
        return make(space=SPACE, trials=6, seed=2, confirm=None, search=settings)

    return build


@pytest.fixture
def search(tmp_path, fake):
    def run(experiment, folder="run"):
        path = tmp_path / folder
        begun = (path / "events.jsonl").exists()
        held = RunFolder.resume(path, experiment) if begun else RunFolder.create(path, experiment)
        said = []
        try:
            study = Study(experiment, held, SerialExecutor(fake()))
            take(study, DATA, said.append)
            study.run()
        finally:
            held.log.close()
        return study, said

    return run


def test_what_was_found_is_history_and_no_trial(again, search, before):
    study, said = search(again())
    old = [trial for trial in Ledger.replay(read(before / "events.jsonl")).ordered() if trial.status is Status.COMPLETE]
    history = study.ledger.history()
    warm = [told for told in history if told.source == "warm"]
    assert [told.digest for told in warm] == [trial.digest for trial in old]
    assert [told.values for told in warm] == [tuple(trial.objectives.values()) for trial in old]
    assert history[: len(warm)] == warm  # before all that is asked
    assert said == [f"warm start: {len(warm)} of {len(old)} trials of {before} are known to the sampler"]
    assert study.ledger.trained == 6 == len(study.ledger.trials)
    assert {trial.source for trial in study.ledger.ordered()} == {"baseline", "random"}
    assert all(trial.number < 6 for trial in pareto(study.ledger.ordered(), study.experiment.objectives))
    assert sum(spending(study.ledger).values()) == sum(trial.spent_flops for trial in study.ledger.ordered())


def test_samplers_use_it(again, search, before):
    """Local search has its ten complete trials at once, and moves by edges from the first ask on."""
    study, _ = search(again(sampler="local", random_share=0.0))
    assert next(ask.source for ask in study.ledger.asks if ask.source != "baseline") == "local"
    old = {trial.digest for trial in Ledger.replay(read(before / "events.jsonl")).ordered()}
    assert not {ask.digest for ask in study.ledger.asks if ask.source == "local"} & old
    cold, _ = search(again(sampler="local", random_share=0.0, warm_start=[]), "cold")
    assert "local" not in {ask.source for ask in cold.ledger.asks}


def test_tpe_is_told_it(again, search):
    study, _ = search(again(sampler="tpe", random_share=0.0))
    cold, _ = search(again(sampler="tpe", random_share=0.0, warm_start=[]), "cold")
    assert [ask.digest for ask in study.ledger.asks] != [ask.digest for ask in cold.ledger.asks]


def test_the_best_are_run_again_first(again, search, before):
    study, _ = search(again(rerun=2))
    asks = [ask for ask in study.ledger.asks if ask.source != "baseline"]
    assert [ask.source for ask in asks[:3]] == [RERUN, RERUN, "random"]
    old = Ledger.replay(read(before / "events.jsonl")).ordered()
    front = pareto(old, study.experiment.objectives)
    assert [ask.digest for ask in asks[:2]] == [trial.digest for trial in front[:2]]


def test_a_resumed_search_needs_the_earlier_run_no_more(again, search, before, tmp_path):
    experiment = again(rerun=1, sampler="local")
    whole, _ = search(experiment)
    log = tmp_path / "run" / "events.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    shutil.rmtree(before)
    for cut in (2, 5, 12):
        log.write_text("".join(lines[:cut]))
        resumed, said = search(experiment)
        assert said == []
        assert [(ask.source, ask.digest) for ask in resumed.ledger.asks] == [
            (ask.source, ask.digest) for ask in whole.ledger.asks
        ]
        assert resumed.ledger.ordered() == whole.ledger.ordered()


ACCURACY, FLOPS = {"metric": "accuracy", "goal": "maximize"}, {"metric": "flops", "goal": "minimize"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": {"kind": "mixer", "dim": 16, "patch": 4}}, "backbone.dim was 8 there and is 16 here"),
        ({"train": {"budget_gflops": 0.1, "batch": 32, "lr": 4.0e-3, "warmup": 0.1}}, "train.budget_gflops was 0.05"),
        ({"train": {"budget_gflops": 0.05, "batch": 32, "lr": 1.0e-3, "warmup": 0.1}}, "train.lr was 0.004"),
        (
            {"objectives": [{"metric": "loss", "goal": "minimize"}]},
            "objectives were accuracy, flops there and are loss",
        ),
        ({"objectives": [ACCURACY | {"epsilon": 0.1}, FLOPS]}, "differ in their options"),
    ],
)
def test_what_differs_is_said(make, before, changes, message):
    with pytest.raises(ExperimentError, match=r"cannot be compared") as caught:
        earlier(before, make(space=SPACE, **changes), DATA)
    assert message in str(caught.value)


def test_other_threads_are_no_difference(make, before):
    train = {"budget_gflops": 0.05, "batch": 32, "lr": 4.0e-3, "warmup": 0.1, "threads": 2}
    assert earlier(before, make(space=SPACE, train=train), DATA).told


def test_other_data_are_refused(again, before):
    with pytest.raises(ExperimentError, match=f"fingerprint was {DATA} there and is other here"):
        earlier(before, again(), "other")
    (before / "lock.json").write_text("{")
    with pytest.raises(ExperimentError, match=r"lock\.json.* is missing or damaged"):
        earlier(before, again(), DATA)


def test_points_of_another_space_are_left_out_and_counted(make, before):
    narrow = make(space={"depth": 3, "families": {"residual": {}, "hyper": {"streams": 2}}})
    found = earlier(before, narrow, DATA)
    families = {told["point"]["family"] for told in found.told}
    assert families <= {"residual", "hyper"}
    assert "outside this space" in found.said


def test_the_table_beside_a_log_stands_for_its_run(again, before):
    assert earlier(before / "trials.csv", again(), DATA) == earlier(before, again(), DATA)


def test_a_bare_table_is_matched_by_digest_as_far_as_possible(make, again, before, tmp_path):
    table = tmp_path / "trials.csv"
    rows = (before / "trials.csv").read_text()
    stranger = next(line for line in rows.splitlines() if ",wiring," in line)
    digest = stranger.split(",")[3]
    table.write_text(rows + stranger.replace(digest, "f" * 12) + "\n")
    found = earlier(table, again(), DATA)
    whole = earlier(before, again(), DATA)
    assert {told["digest"] for told in found.told} <= {told["digest"] for told in whole.told}
    assert len(found.told) >= 3
    by_digest = {told["digest"]: told["values"] for told in whole.told}
    assert all(told["values"] == by_digest[told["digest"]] for told in found.told)
    assert "not found by their digests" in found.said
    assert "nobody can tell from a table" in found.said
    other = make(space=SPACE, train={"budget_gflops": 0.1, "batch": 32, "lr": 4.0e-3, "warmup": 0.1})
    with pytest.raises(ExperimentError, match="have 1e"):
        earlier(table, other, DATA)
    table.write_text("a,b\n1,2\n")
    assert earlier(table, again(), DATA).told == ()
    table.write_text("status,a\nCOMPLETE,2\n")
    with pytest.raises(ExperimentError, match="has not the columns status, family, digest"):
        earlier(table, again(), DATA)


def test_a_path_to_nothing_is_named(again, tmp_path):
    with pytest.raises(ExperimentError, match="neither a run's folder nor its"):
        earlier(tmp_path / "nothing", again(), DATA)


def test_paths_are_relative_to_the_file(make, tmp_path):
    experiment = make(search={"warm_start": ["runs/a", "/b"]})
    assert experiment.search.warm_start == (str(tmp_path / "runs" / "a"), "/b")


def test_a_rerun_of_nothing_is_an_error(make):
    with pytest.raises(ValueError, match=r"search\.rerun: there is nothing to run again"):
        make(search={"rerun": 2})


@pytest.mark.slow
def test_by_the_command(wireloom, write, finished):
    file = write(trials=4, confirm=None, search={"warm_start": [str(finished)], "rerun": 1})
    done = wireloom("search", file, "--out", "second")
    assert done.status == 0, done.err
    assert "warm start: " in done.out
