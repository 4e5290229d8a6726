"""A search on a real MLflow server with PostgreSQL behind it, with the driver and the server killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from servers import MlflowServer, postgres

pytest.importorskip("mlflow")
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings(
        # mlflow 3 maps a relation with a loader that SQLAlchemy 2.1 calls deprecated.
        "ignore:The ``noload`` loader strategy is deprecated:sqlalchemy.exc.SADeprecationWarning"
    ),
]

DEADLINE = 300.0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    with postgres() as database:
        subject = MlflowServer(folder, database)
        try:
            subject.start()
            yield subject
        finally:
            subject.stop()


@pytest.fixture(scope="module")
def client(server):
    from mlflow.tracking import MlflowClient

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        yield MlflowClient(server.uri)


class Driver:
    """``wireloom search`` in a process of its own, its output in a file."""

    def __init__(self, uri: str, experiment: Path, run: Path, *options: str) -> None:
        self.output, self.log = run.with_suffix(".out"), run / "events.jsonl"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
        environment |= {"MLFLOW_TRACKING_URI": uri, "WIRELOOM_TRACKING": "", "COLUMNS": "400"}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "nas", "search", str(experiment), "--out", str(run), *options],
                stdout=output, stderr=output, cwd=run.parent, env=environment,
            )  # fmt: skip

    def wait_for(self, done) -> None:
        deadline = time.monotonic() + DEADLINE
        while not done():
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.01)

    @property
    def lines(self) -> int:
        return self.log.read_bytes().count(b"\n") if self.log.exists() else 0

    def ends_well(self) -> str:
        self.process.wait(timeout=DEADLINE)
        text = self.output.read_text()
        assert self.process.returncode == 0, text
        return text


@pytest.fixture
def driver():
    started: list[Driver] = []

    def start(*arguments) -> Driver:
        started.append(Driver(*arguments))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


@pytest.fixture(scope="module")
def searched(server, client, tmp_path_factory, tiny_file):
    """A search whose driver was killed half way, in the middle of its writing, and resumed: experiment, run folder."""
    folder = tmp_path_factory.mktemp("killed")
    experiment = tiny_file(folder / "killed.yaml", name="killed")
    first = Driver(server.uri, experiment, folder / "run")
    try:
        first.wait_for(lambda: first.lines >= 45 and found_runs(client, "killed"))
    finally:
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
    assert "RUNNING" in {run.info.status for run in found_runs(client, "killed")}
    second = Driver(server.uri, experiment, folder / "run", "--resume")
    try:
        text = second.ends_well()
    finally:
        second.process.kill()
        second.process.wait()
    assert "tracking" not in text, text
    assert f"MLflow: {server.uri}" in text
    return folder / "run"


def found_runs(client, name):
    experiment = client.get_experiment_by_name(name)
    return [] if experiment is None else list(client.search_runs([experiment.experiment_id], max_results=1000))


def check(client, name, run, rows):
    """One run per trial and none RUNNING, nested as search > topology > seed."""
    found = {one.data.tags["wireloom.key"]: one for one in found_runs(client, name)}
    assert len(found) == len(found_runs(client, name))
    trials = {int(row["number"]): row for row in rows(run / "trials.csv")}
    seeds = {int(one.data.tags["number"]): one for one in found.values() if "number" in one.data.tags}
    assert set(seeds) == set(trials)
    assert sum("number" in one.data.tags for one in found.values()) == len(trials)
    confirmed = run / "confirm_seeds.csv"
    fresh = [one for one in found.values() if one.data.tags.get("source") == "confirmation"]
    assert len(fresh) == (len(rows(confirmed)) if confirmed.exists() else 0)
    assert {one.info.status for one in found.values()} == {"FINISHED"}
    ids = {one.info.run_id: one for one in found.values()}
    (search,) = (one for one in found.values() if "mlflow.parentRunId" not in one.data.tags)
    for number, one in seeds.items():
        topology = ids[one.data.tags["mlflow.parentRunId"]]
        assert topology.data.tags["mlflow.parentRunId"] == search.info.run_id
        assert topology.data.tags["digest"] == one.data.tags["digest"] == trials[number]["digest"]
        assert one.data.tags["status"] == trials[number]["status"]
        assert one.data.metrics["flops"] == float(trials[number]["flops"])
    return search, seeds


def curves(run):
    """What the log says that each trial reported, a later report of a step in place of an earlier one."""
    found: dict[int, dict[int, float]] = {}
    for line in (run / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "report":
            found.setdefault(event["number"], {})[event["point"]["step"]] = event["point"]["train_loss"]
    return found


def test_a_killed_and_resumed_search_has_one_run_per_trial(searched, client, rows):
    search, seeds = check(client, "killed", searched, rows)
    assert {each.path for each in client.list_artifacts(search.info.run_id)} >= {
        "experiment.yaml", "report.html", "pareto.png", "trials.csv", "confirm.csv",
    }  # fmt: skip
    reported = curves(searched)
    assert set(reported) <= set(seeds)
    for number, curve in reported.items():
        history = client.get_metric_history(seeds[number].info.run_id, "train_loss")
        assert sorted((point.step, point.value) for point in history) == sorted(curve.items())  # none of them twice


def test_the_winner_is_in_the_registry_and_loads(searched, client, tmp_path, rows):
    import mlflow

    from nas import accuracy_of, load_model

    (version,) = client.search_model_versions("name = 'killed'")
    winner = next(row for row in rows(searched / "trials.csv") if row["number"] == version.tags["number"])
    assert version.tags["digest"] == winner["digest"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
        folder = mlflow.artifacts.download_artifacts(version.source, dst_path=str(tmp_path))
    names = {path.name for path in Path(folder).iterdir()}
    assert names == {"topology.yaml", "model.safetensors", "experiment.yaml", "card.md"}
    model, experiment = load_model(Path(folder))
    accuracy, _ = accuracy_of(model, experiment.data.source)
    assert str(accuracy) == version.tags["accuracy"]


def test_the_server_is_away_for_a_while(server, client, driver, tmp_path, tiny_file, rows):
    experiment = tiny_file(tmp_path / "away.yaml", name="away", trials=12)
    subject = driver(server.uri, experiment, tmp_path / "run")
    subject.wait_for(lambda: subject.lines >= 20 and found_runs(client, "away"))
    server.stop()
    try:
        subject.wait_for(lambda: "tracking waits: " in subject.output.read_text())
        before = subject.lines
        subject.wait_for(lambda: subject.lines > before)  # the search goes on
    finally:
        # Stopped, so that the search cannot end before the server is up, however long that takes.
        subject.process.send_signal(signal.SIGSTOP)
        server.start()
        subject.process.send_signal(signal.SIGCONT)
    text = subject.ends_well()
    assert text.count("tracking waits: ") == text.count("tracking goes on: ") == 1, text
    check(client, "away", tmp_path / "run", rows)
    assert len(client.search_model_versions("name = 'away'")) == 1


def test_a_server_that_stays_away_costs_seconds_and_is_completed_later(
    server, client, driver, tmp_path, tiny_file, rows
):
    experiment = tiny_file(tmp_path / "gone.yaml", name="gone", trials=3, confirm=None)
    subject = driver("http://127.0.0.1:9", experiment, tmp_path / "run")  # nobody listens at the discard port
    text = subject.ends_well()
    assert "tracking is not complete: " in text
    assert "--resume writes what is missing" in text
    assert found_runs(client, "gone") == []
    driver(server.uri, experiment, tmp_path / "run", "--resume").ends_well()
    check(client, "gone", tmp_path / "run", rows)


def test_the_page_shows_the_runs(searched, server, client, tmp_path):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    experiment = client.get_experiment_by_name("killed").experiment_id
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,900",
            "--virtual-time-budget=60000", "--dump-dom", f"{server.uri}/#/experiments/{experiment}/runs",
        ],
        capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    search = next(run for run in found_runs(client, "killed") if "mlflow.parentRunId" not in run.data.tags)
    assert search.info.run_name == "run"
    assert search.info.run_id in done.stdout  # the link to it
    assert "matching run" in done.stdout
