import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from typer.testing import CliRunner

import nas.search
from graphs import families
from nas.cli import app
from nas.events import EventLog
from nas.run_folder import RunFolder
from search_space.document import dump, read

COMMANDS = ("search", "show", "compile", "report")


def refused(ran, *parts):
    """One message for a person on stderr, status 2, and nothing else."""
    assert ran.status == 2, ran
    assert ran.out == ""
    assert ran.err.startswith("wireloom: ")
    assert ran.err.count("\nwireloom: ") == 0
    assert "Traceback" not in ran.err
    for part in parts:
        assert part in ran.err, ran.err
    return True


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_shows_an_example(wireloom, command, flag):
    ran = wireloom(*command, flag)
    assert ran.status == 0
    assert re.search(r"Example|Start with", ran.out)
    assert f"wireloom {' '.join(command)}" in ran.out
    assert ran.err == ""


def test_the_command_is_installed_under_both_names(tmp_path):
    beside = shutil.which("wireloom", path=str(Path(sys.executable).parent))
    for command in ([beside], [sys.executable, "-m", "nas"]):
        done = subprocess.run([*command, "search", "missing.yaml"], capture_output=True, text=True, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "wireloom: missing.yaml: there is no such file\n"
    assert list(tmp_path.iterdir()) == []


TEXTS = {
    "not YAML": ("name: [1, 2\nseed: 0", "not valid YAML"),
    "empty": ("", "the file is empty"),
    "a list": ("- name: x\n", "the file holds a list"),
    "duplicate key": ("name: a\nname: b\n", "duplicate key, first on line 1"),
    "a tab": ("name: a\n\tseed: 0\n", "tabs"),
    "bytes": (b"name: \xff\n", "not UTF-8"),
}


@pytest.mark.parametrize("case", TEXTS)
@pytest.mark.parametrize("command", ["search", "show"])
def test_a_file_that_cannot_be_read_is_refused(wireloom, tmp_path, case, command, tree):
    text, message = TEXTS[case]
    (tmp_path / "e.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    before = tree(tmp_path)
    assert refused(wireloom(command, "e.yaml"), "e.yaml", message)
    assert tree(tmp_path) == before


TRAIN = {"budget_gflops": 0.05, "batch": 32, "lr": 4.0e-3, "warmup": 0.1}


def space(depth=3, **declared):
    return {"space": {"depth": depth, "families": declared or {"residual": {}}}}


VALUES = {
    "unknown key": ({"trails": 5}, ("trails", "did you mean 'trials'")),
    "unknown key below": ({"train": TRAIN | {"epochs": 5}}, ("train.epochs",)),
    "missing key": ({"train": {"batch": 1}}, ("train.budget_gflops", "missing")),
    "wrong type": ({"trials": 2.5}, ("trials: 2.5", "a whole number")),
    "a text for a number": ({"train": TRAIN | {"lr": "1e-4"}}, ("train.lr", "1e-4", "a number")),
    "no for false": ({"search": {"baselines": "no"}}, ('search.baselines: "no" is a text', "write true or false")),
    "unknown family": (space(residuum={}), ("residuum", "did you mean 'residual'")),
    "low > high": (space(depth={"low": 8, "high": 4}), ("space.depth", "low")),
    "zero depth": (space(depth=0), ("space.depth", "at least 1")),
    "no streams": (space(hyper={"streams": 0}), ("hyper.streams", "at least 1")),
    "negative streams": (space(hyper={"streams": {"low": -1, "high": 2}}), ("hyper.streams", "at least 1")),
    "unknown metric": ({"objectives": [{"metric": "speed", "goal": "maximize"}]}, ("objectives[0].metric",)),
    "wrong way": ({"objectives": [{"metric": "flops", "goal": "maximize"}]}, ("objectives[0].goal", "minimize")),
    "unknown data": ({"data": {"kind": "digit"}}, ("data.kind", "did you mean 'digits'")),
    "a patch that does not fit": ({"backbone": {"kind": "mixer", "dim": 8, "patch": 3}}, ("backbone", "3")),
    "a limit nothing meets": ({"limits": {"parameters": 10}}, ("limits.parameters", "below every point tried")),
    "a budget below a step": ({"train": TRAIN | {"budget_gflops": 1e-6}}, ("less than one training step",)),
    "not finite": ({"train": TRAIN | {"lr": float("inf")}}, ("train.lr",)),
    "a budget beyond all": ({"train": TRAIN | {"budget_gflops": 1e300}}, ("train.budget_gflops", "at most 1e+15")),
    "a batch beyond all": ({"train": TRAIN | {"batch": 10**400}}, ("train.batch", "at most 65536")),
    "trials beyond all": ({"trials": 10**400}, ("trials", "at most 1000000")),
    "edges beyond all": (space(wiring={"edges": {"low": 1, "high": 10**400}}), ("wiring.edges.high", "at most 10000")),
    "a name that is a path": ({"name": "../up"}, ("name", "folder")),
}


@pytest.mark.parametrize("case", VALUES)
@pytest.mark.parametrize("dry", [True, False])
def test_an_experiment_that_cannot_be_run_is_refused(wireloom, write, tmp_path, tree, case, dry):
    changes, parts = VALUES[case]
    path = write(**changes)
    before = tree(tmp_path)
    assert refused(wireloom("search", path, "--out", "run", *(["--dry-run"] if dry else [])), "tiny.yaml", *parts)
    assert tree(tmp_path) == before


def test_plain_text_in_yaml_that_looks_like_a_value_is_refused(wireloom, write, tmp_path):
    text = write().read_text()
    cases = (
        ("lr: 0.004", "lr: '1e-4'", 'train.lr: "1e-4" is a text; must be a number'),
        ("random_share: 0.15", "baselines: no", 'search.baselines: "no" is a text'),
    )
    for old, new, part in cases:
        assert old in text
        (tmp_path / "e.yaml").write_text(text.replace(old, new))
        assert refused(wireloom("search", "e.yaml", "--dry-run"), part)
    (tmp_path / "e.yaml").write_text(text.replace("lr: 0.004", "lr: 1e-4"))
    assert wireloom("search", "e.yaml", "--dry-run").status == 0


def topology(**changes):
    return families.residual(depth=2).to_dict() | {"digest": None} | changes


def ops(*given):
    return topology(ops=list(given), output="y2")


def mix(*entries):
    rule = {"rule": "constant", "entries": [list(entries)]}
    return ops(
        {"block": 1, "reads": ["x0"], "writes": "y1"},
        {"mix": ["h1"], "reads": ["x0", "y1"], "weight": rule},
        {"block": 2, "reads": ["h1"], "writes": "y2"},
    )


TOPOLOGIES = {
    "a cycle": (
        ops({"block": 1, "reads": ["y2"], "writes": "y1"}, {"block": 2, "reads": ["y1"], "writes": "y2"}),
        "a cycle: ",
    ),
    "a block nobody feeds": (
        ops({"block": 1, "reads": [], "writes": "y1"}, {"block": 2, "reads": ["y1"], "writes": "y2"}),
        "block 1 reads nothing",
    ),
    "a value nobody writes": (
        ops({"block": 1, "reads": ["x0"], "writes": "y1"}, {"block": 2, "reads": ["x9"], "writes": "y2"}),
        "block 2 reads 'x9', which nobody writes",
    ),
    "NaN": (mix(float("nan"), 1), "nan"),
    "infinity": (mix(1, float("-inf")), "inf"),
    "zero depth": (topology(depth=0, ops=[], output="x0"), "at least one block"),
    "a weight of another shape": (mix(1, 1, 1), "shape"),
    "an unknown rule": (ops({"mix": ["y2"], "reads": ["x0"], "weight": {"rule": "magic"}}), "magic"),
}


@pytest.mark.parametrize("case", TOPOLOGIES)
@pytest.mark.parametrize("command", ["show", "compile"])
def test_a_topology_that_is_none_is_refused(wireloom, tmp_path, tree, case, command):
    data, message = TOPOLOGIES[case]
    (tmp_path / "t.yaml").write_text(dump({name: value for name, value in data.items() if value is not None}))
    before = tree(tmp_path)
    ran = wireloom(command, "t.yaml", *(["--out", "model"] if command == "compile" else ["--png", "t.png"]))
    assert refused(ran, "t.yaml", message)
    assert tree(tmp_path) == before


class TestFolders:
    @pytest.fixture
    def held(self, write, make, tmp_path):
        """A folder with a run of the experiment in tiny.yaml that has only just begun."""
        RunFolder.create(tmp_path / "held", make()).log.close()
        return tmp_path / "held"

    def test_that_hold_another_run(self, wireloom, write, held, tmp_path, tree):
        before = tree(tmp_path)
        assert refused(wireloom("search", write(), "--out", held), str(held), "holds a run already", "--resume")
        assert tree(tmp_path) == before

    def test_that_hold_other_files_or_are_none(self, wireloom, write, tmp_path, tree):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "notes.txt").write_text("mine")
        path = write()
        before = tree(tmp_path)
        for place, message in (
            ("mine", "is not empty"),
            (path, "is not a folder"),
            (path / "below", "cannot be written"),
            ("/proc/wireloom", "cannot be written"),
        ):
            assert refused(wireloom("search", path, "--out", place), message, "another --out")
        for place in (path / "below", "/proc/wireloom"):
            families.residual(depth=2).save(tmp_path / "mine" / "t.yaml")
            assert refused(wireloom("compile", tmp_path / "mine" / "t.yaml", "--out", place), "cannot be written")
            ran = wireloom("show", tmp_path / "mine" / "t.yaml", "--png", f"{place}/t.png")
            assert ran.status == 2
            assert ran.err.startswith("wireloom: ")
        (tmp_path / "mine" / "t.yaml").unlink()
        assert tree(tmp_path) == before

    def test_resumed_with_another_experiment(self, wireloom, write, held, tmp_path, tree):
        other = write(file="other.yaml", train=TRAIN | {"threads": 1, "lr": 1e-3})
        before = tree(tmp_path)
        ran = wireloom("search", other, "--out", held, "--resume")
        assert refused(ran, "holds another experiment", "train.lr is 0.004 there and 0.001 here")
        assert refused(wireloom("search", write(), "--out", held, "--resume", "--seed", 9), "seed is 3 there and 9")
        assert tree(tmp_path) == before

    def test_resumed_where_there_is_no_run(self, wireloom, write, tmp_path, tree):
        path = write()
        before = tree(tmp_path)
        assert refused(wireloom("search", path, "--out", "nowhere", "--resume"), "holds no run to resume")
        assert refused(wireloom("search", path, "--resume"), "no run of 'tiny' under runs/", "--out")
        assert tree(tmp_path) == before

    def test_in_use_by_another_driver(self, wireloom, write, held):
        other = EventLog(held / "events.jsonl")
        ran = wireloom("search", write(), "--out", held, "--resume")
        assert refused(ran, "another process is running this search", f"process {os.getpid()} of")
        other.close()

    @pytest.mark.parametrize("harm", ["bad JSON", "a missing line", "a wrong seq", "an impossible event"])
    @pytest.mark.parametrize("command", ["search", "report", "compile"])
    def test_whose_log_is_damaged(self, wireloom, write, finished, tmp_path, tree, command, harm):
        run = tmp_path / "run"
        run.mkdir()
        for name in ("experiment.yaml", "events.jsonl"):
            shutil.copy(finished / name, run / name)
        lines = (run / "events.jsonl").read_text().splitlines(keepends=True)
        if harm == "bad JSON":
            lines[5] = lines[5][:-4] + "\n"
        elif harm == "a missing line":
            del lines[5]
        elif harm == "a wrong seq":
            lines[5] = lines[5].replace('"seq":5', '"seq":6')
        else:
            lines.append(json.dumps({"seq": len(lines), "event": "result", "number": 99}) + "\n")
        (run / "events.jsonl").write_text("".join(lines))
        path = write()
        before = tree(tmp_path)
        arguments = {
            "search": ("search", path, "--out", run, "--resume"),
            "report": ("report", run),
            "compile": ("compile", run, "--out", "model"),
        }
        ran = wireloom(*arguments[command])
        ran = ran if harm != "an impossible event" or command != "search" else refreshed(ran)
        assert refused(ran, "the event log is damaged", "another --out")
        assert tree(tmp_path) == before

    def test_that_are_no_run(self, wireloom, tmp_path, tree):
        (tmp_path / "empty").mkdir()
        before = tree(tmp_path)
        for command in (("report", "empty"), ("report", "nowhere"), ("compile", "empty", "--out", "model")):
            assert refused(wireloom(*command), "is no run's folder")
        assert refused(wireloom("compile", "nowhere", "--out", "model"), "there is no such file")
        assert tree(tmp_path) == before

    def test_of_runs_without_a_complete_trial(self, wireloom, held, tmp_path):
        assert refused(wireloom("compile", held, "--out", "model"), "no complete trial yet", "--resume")
        assert not (tmp_path / "model").exists()
        assert wireloom("report", held).status == 0
        assert (held / "report.html").is_file()


def refreshed(ran):
    """A search says where it works before it reads what the log adds up to."""
    return type(ran)(ran.status, "" if ran.out.startswith("run folder: ") else ran.out, ran.err)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--executor", "dask"], ("'dask' is not one of: serial, ray",)),
        (["--executor", "serial", "--ray-address", "auto"], ("--ray-address goes with --executor ray",)),
        (["--ray-address", "10.0.0.1"], ("'10.0.0.1' is no address", "HOST:PORT")),
        (["--ray-address", "127.0.0.1:1"], ("127.0.0.1:1", "nothing answers there", "ray start --head")),
    ],
    ids=["unknown", "both", "malformed", "unreachable"],
)
def test_an_executor_that_cannot_be_had_is_refused_before_anything_is_written(
    wireloom, write, tmp_path, tree, options, said
):
    path = write()
    before = tree(tmp_path)
    assert refused(wireloom("search", path, *options), *said)
    assert tree(tmp_path) == before


def test_a_cluster_that_is_gone_ends_the_process_at_once_with_the_message(wireloom, write, monkeypatch):
    from nas.executors.cluster import ClusterGone

    def gone(*arguments):
        raise ClusterGone("the cluster is gone")

    class Ended(BaseException):
        pass

    def end(status):
        raise Ended(status)

    monkeypatch.setattr("nas.search.plan_of", gone)
    monkeypatch.setattr("os._exit", end)
    with pytest.raises(Ended, match="2"):
        wireloom("search", write())


def test_without_ray_it_says_how_to_get_it(wireloom, write, tmp_path, tree, monkeypatch):
    path = write()
    before = tree(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    for name in [name for name in sys.modules if name.startswith("nas.executors.ray")]:
        monkeypatch.delitem(sys.modules, name)
    assert refused(wireloom("search", path, "--executor", "ray"), "not installed", "pip install 'wireloom[search]'")
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "arguments", [["search"], ["nothing"], ["search", "x.yaml", "--trials", "0"], ["search", "x.yaml", "--seed", "-1"],
                  ["search", "x.yaml", "--trials", "many"], ["compile", "x.yaml"], ["report"], ["show", "--bogus"]]
)  # fmt: skip
def test_wrong_usage_is_status_2_without_a_traceback(wireloom, arguments):
    ran = wireloom(*arguments)
    assert (ran.status, ran.out) == (2, "")
    assert "Usage: wireloom" in ran.err
    assert "Traceback" not in ran.err


def test_a_seed_too_large_is_refused(wireloom, write):
    assert refused(wireloom("search", write(), "--seed", 2**32), "seed")


def test_a_full_disk_is_one_message(wireloom, write, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device", "trials.csv")

    monkeypatch.setattr(nas.search, "run_search", full)
    ran = wireloom("search", write(), "--out", "run")
    assert (ran.status, ran.err) == (2, "wireloom: trials.csv: No space left on device\n")


@pytest.mark.parametrize("command", ["show", "compile", "report", "search"])
def test_a_file_that_may_not_grow_is_named(finished, tmp_path, command):
    """A limit on the size of files makes write() fail with an error that names none."""
    resource = pytest.importorskip("resource")
    families.residual(depth=2).save(tmp_path / "t.yaml")
    shutil.copytree(finished, tmp_path / "run")
    arguments, named = {
        "show": (["t.yaml", "--png", "t.png"], "t.png"),
        "compile": (["t.yaml", "--out", "model"], "model/model.safetensors"),
        "report": (["run"], "run/trials.csv"),
        "search": (["run/experiment.yaml", "--out", "new"], "new: cannot be written"),
    }[command]
    code = (
        "import resource, sys\nfrom nas.cli import main\nimport nas.artifact, nas.views\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (10, {resource.RLIM_INFINITY}))\n"
        f"sys.argv = {['wireloom', command, *arguments]!r}\nmain()"
    )
    done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"wireloom: {named}")
    assert "File too large" in done.stderr


class TestAReaderThatLeaves:
    """As ``| head`` does: other tools end by SIGPIPE, without a word, and the shell says 141."""

    def run(self, arguments, cwd, environment=()):
        import os

        read_end, write_end = os.pipe()
        os.close(read_end)
        try:
            return subprocess.run(
                [sys.executable, "-m", "nas", *arguments], stdout=write_end, stderr=subprocess.PIPE, text=True, cwd=cwd,
                env=os.environ | {"WIRELOOM_TRACKING": "off"} | dict(environment), check=False,
            )  # fmt: skip
        finally:
            os.close(write_end)

    @pytest.mark.parametrize("buffered", ["", "1"])
    @pytest.mark.parametrize(
        "arguments",
        [
            ["show", "t.yaml"],
            ["show", "t.yaml", "--json"],
            ["--help"],
            ["report", "run"],
            ["search", "e.yaml", "--dry-run"],
        ],
        ids=lambda arguments: "-".join(arguments),
    )
    def test_commands_that_print(self, finished, write, tmp_path, arguments, buffered):
        families.residual(depth=2).save(tmp_path / "t.yaml")
        write(file="e.yaml")
        if "run" in arguments:
            shutil.copytree(finished, tmp_path / "run")
        done = self.run(arguments, tmp_path, {"PYTHONUNBUFFERED": buffered})
        assert (done.returncode, done.stderr) == (141, "")

    def test_a_search_can_be_continued(self, write, finished, tmp_path, wireloom, rows):
        done = self.run(["search", str(write()), "--out", "run"], tmp_path)
        assert (done.returncode, done.stderr) == (141, "")
        assert wireloom("search", write(), "--out", "run", "--resume").status == 0
        assert rows(tmp_path / "run" / "trials.csv") == rows(finished / "trials.csv")


def test_our_own_mistakes_are_not_hidden(wireloom, write, monkeypatch):
    monkeypatch.setattr(nas.search, "run_search", lambda *_: int("a bug"))
    with pytest.raises(ValueError, match="invalid literal"):
        wireloom("search", write(), "--out", "run")


class TestDryRun:
    def test_it_shows_the_space_and_its_cost_and_writes_nothing(self, wireloom, write, tmp_path, tree):
        path = write(limits={"flops": 6000})
        before = tree(tmp_path)
        ran = wireloom("search", path, "--dry-run", "--trials", 5)
        assert ran.status == 0
        assert tree(tmp_path) == before
        for part in ("space of tiny", "wiring.edges", "parameters", "6,000", "training steps"):
            assert part in ran.out
        assert "5 trials of 0.05 training GFLOPs: 0.25 in all" in ran.out
        assert wireloom("search", path, "--dry-run", "--out", path / "below").status == 0

    def test_it_says_of_each_baseline_whether_it_runs(self, wireloom, write):
        declared = {"depth": {"low": 2, "high": 9}, "families": {"dense": {}, "hyper": {"streams": 2}}}
        out = wireloom("search", write(space=declared, limits={"traffic": 20}), "--dry-run").out
        assert re.search(r"residual depth=3 +runs; not deeper: at depth 4 traffic \d+ is over the limit 20", out)
        assert re.search(r"dense depth=2 period=2 .*runs; not deeper: at depth 4 traffic \d+ is over the limit 20", out)
        assert re.search(r"hyper depth=2 streams=2 .*left out: at depth 2 traffic \d+ is over the limit 20", out)
        out = wireloom("search", write(space=declared), "--dry-run", "--trials", 2).out
        assert re.search(r"residual depth=9 +runs *\n", out)
        assert re.search(r"hyper depth=9 streams=2 .*left out: the search has 2 trials", out)
        out = wireloom("search", write(space=declared, search={"baselines": False}), "--dry-run").out
        assert "no baselines: search.baselines is false" in out

    def test_it_warns_of_a_space_with_fewer_points_than_trials(self, wireloom, write):
        words = "the space has {} points, fewer than the {} trials: the search will stop short"
        for declared, points in (({"residual": {}}, 2), ({"hyper": {"streams": [2, 3]}}, 5)):
            path = write(**space(depth=[2, 3], **declared))
            assert words.format(points, points + 1) in wireloom("search", path, "--dry-run", "--trials", points + 1).out
            assert "stop short" not in wireloom("search", path, "--dry-run", "--trials", points).out
        path = write(search={"baselines": False}, **space(depth=[2, 3], hyper={"streams": [2, 3]}))
        assert words.format(4, 5) in wireloom("search", path, "--dry-run", "--trials", 5).out
        assert "stop short" not in wireloom("search", write(trials=1000), "--dry-run").out  # nobody can count it

    def test_it_needs_no_torch(self, write, tmp_path):
        code = (
            "import sys\nfrom nas.cli import main\n"
            f"sys.argv = ['wireloom', 'search', {str(write())!r}, '--dry-run']\n"
            "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
            "print(sorted({'torch', 'optuna', 'mlflow', 'matplotlib', 'sklearn'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
        assert done.stdout.splitlines()[-1] == "[]"


class TestSearch:
    @pytest.fixture
    def quick(self, write):
        return write(trials=2, confirm=None)

    def test_it_says_where_what_and_what_next(self, wireloom, quick, tmp_path, rows):
        ran = wireloom("search", quick, "--trials", 3, "--seed", 5, "--out", "a [b] c")
        assert (ran.status, ran.err) == (0, "")
        run = tmp_path / "a [b] c"
        assert ran.out.startswith("run folder: a [b] c  (Ctrl-C stops")
        assert "Pareto front" in ran.out
        assert "next: wireloom compile 'a [b] c' --out 'a [b] c/model'\n" in ran.out
        after = shlex.split(ran.out.splitlines()[-1].removeprefix("next: "))
        made = wireloom(*after[1:])
        assert made.status == 0
        assert "next: python 'a [b] c/model/load.py' " in made.out
        assert "MLflow" not in ran.out
        held = read(run / "experiment.yaml").data
        assert (held["trials"], held["seed"]) == (3, 5)
        assert [row["seed"] for row in rows(run / "trials.csv")] == ["5"] * 3

    def test_default_folders_are_numbered_and_the_newest_is_resumed(self, wireloom, quick, tmp_path, rows):
        assert wireloom("search", quick).out.startswith("run folder: runs/tiny ")
        assert wireloom("search", quick).out.startswith("run folder: runs/tiny-2 ")
        first, second = (rows(tmp_path / "runs" / name / "trials.csv") for name in ("tiny", "tiny-2"))
        assert first == second
        ran = wireloom("search", quick, "--resume", "--trials", 3)
        assert ran.out.startswith("run folder: runs/tiny-2 ")
        assert rows(tmp_path / "runs" / "tiny" / "trials.csv") == first
        longer = rows(tmp_path / "runs" / "tiny-2" / "trials.csv")
        assert longer[:2] == first
        assert len(longer) == 3

    def test_resuming_a_finished_run_is_fine_and_changes_nothing(self, wireloom, quick, tmp_path):
        wireloom("search", quick, "--out", "run")
        before = (tmp_path / "run" / "trials.csv").read_bytes()
        ran = wireloom("search", quick, "--out", "run", "--resume")
        assert (ran.status, ran.err) == (0, "")
        assert (tmp_path / "run" / "trials.csv").read_bytes() == before

    def test_a_small_space_says_that_it_ran_out(self, wireloom, write):
        path = write(trials=3, confirm=None, **space(depth=2, residual={}))
        ran = wireloom("search", path, "--out", "run")
        assert ran.status == 0
        assert (
            "stopped after 60 asks with 1 of 3 trials: 59 asks repeated an earlier topology, 0 were reject" in ran.out
        )
        path = write(trials=3, confirm=None, limits={"parameters": 700}, **space(depth=[2, 9], residual={}))
        ran = wireloom("search", path, "--out", "other")
        assert ran.status == 0, ran.err
        assert re.search(r"60 asks with 1 of 3 trials: 58 asks repeated an earlier topology, 1 were rejected", ran.out)

    def test_trials_count_all_and_the_advice_works(self, wireloom, quick, tmp_path, rows):
        assert wireloom("search", quick, "--out", "run").status == 0
        before = (tmp_path / "run" / "trials.csv").read_bytes()
        ran = wireloom("search", quick, "--out", "run", "--resume", "--trials", 1)
        assert refused(
            ran, "run holds 2 trials, which --trials 1 cannot take back: it counts them all", "--trials 3 adds"
        )
        ran = wireloom("search", quick, "--out", "run", "--resume", "--trials", 2)
        assert (ran.status, ran.err) == (0, "")
        assert (tmp_path / "run" / "trials.csv").read_bytes() == before
        ran = wireloom("search", quick, "--out", "run", "--resume", "--trials", 3)
        assert "3 trials in all from now on, instead of 2" in ran.out
        assert len(rows(tmp_path / "run" / "trials.csv")) == 3
        ran = wireloom("search", quick, "--out", "run", "--resume")  # the file says 2
        assert (ran.status, ran.err) == (0, "")
        assert "3 trials in all, as it was before; the file now says 2" in ran.out
        assert len(rows(tmp_path / "run" / "trials.csv")) == 3

    def test_ctrl_c_says_how_to_go_on_and_that_works(self, wireloom, write, finished, tmp_path, monkeypatch, rows):
        from nas.study import Study

        outcome = Study._outcome
        monkeypatch.setattr(Study, "_outcome", lambda self, _: (_ for _ in ()).throw(KeyboardInterrupt))
        path = write(file="tiny file.yaml", trials=7)
        ran = wireloom("search", path, "--out", "my run", "--trials", 8, "--seed", 3)
        assert (ran.status, ran.err) == (130, "")
        assert "interrupted; nothing is lost. Continue with:" in ran.out
        command = shlex.split(ran.out.splitlines()[-1])
        assert command[:2] == ["wireloom", "search"]
        assert command[2:] == [str(path), "--out", "my run", "--resume", "--trials", "8", "--seed", "3"]
        monkeypatch.setattr(Study, "_outcome", outcome)
        assert wireloom(*command[1:]).status == 0
        assert rows(tmp_path / "my run" / "trials.csv") == rows(finished / "trials.csv")

    @pytest.mark.parametrize("name", ["plan_of", "run_search"])
    def test_ctrl_c_at_the_start(self, wireloom, quick, monkeypatch, tmp_path, name):
        with monkeypatch.context() as patch:
            patch.setattr(nas.search, name, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            ran = wireloom("search", quick, "--out", "run")
        assert (ran.status, ran.err) == (130, "")
        assert ("--resume" in ran.out) == (tmp_path / "run").exists() == (name == "run_search")

    def test_ctrl_c_while_the_folder_is_made(self, wireloom, quick, monkeypatch, tmp_path):
        with monkeypatch.context() as patch:
            patch.setattr("nas.run_folder.EventLog", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
            ran = wireloom("search", quick, "--out", "run")
        assert ran.status == 130
        assert wireloom(*shlex.split(ran.out.splitlines()[-1])[1:]).status == 0
        with monkeypatch.context() as patch:
            patch.setattr(RunFolder, "create", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            ran = wireloom("search", quick, "--out", "other")
        assert ran.status == 130
        assert "interrupted before the run began; the same command starts it" in ran.out
        assert not (tmp_path / "other").exists()


class TestShow:
    def test_a_topology(self, wireloom, tmp_path):
        topology = families.hyper(depth=3, streams=2)
        topology.save(tmp_path / "t.yaml")
        ran = wireloom("show", "t.yaml")
        assert (ran.status, ran.err) == (0, "")
        assert topology.digest in ran.out
        assert "connection matrix" in ran.out
        (shown,) = json.loads(wireloom("show", "t.yaml", "--json").out)
        assert (shown["digest"], shown["depth"]) == (topology.digest, 3)
        assert shown["matrix"] == topology.matrix().tolist()
        assert shown["plan"]
        assert all(line in ran.out for line in shown["plan"])
        assert f"wiring parameters: {shown['wiring_parameters']}\n" in ran.out
        each = shown["wiring_flops_per_element"]
        assert f"wiring FLOPs: {each} per channel of a token, so {256 * each:,} a token at dim 256\n" in ran.out
        assert not {"flops", "parameters"} & set(shown)

    def test_a_topology_with_the_backbone_of_an_experiment(self, wireloom, write, tmp_path, finished, rows):
        best = rows(finished / "pareto.csv")[0]
        topology = finished / "winner" / "topology.yaml"
        ran = wireloom("show", topology, "--experiment", finished / "experiment.yaml")
        (shown,) = json.loads(wireloom("show", topology, "--experiment", finished / "experiment.yaml", "--json").out)
        assert (shown["flops"], shown["parameters"]) == (float(best["flops"]), int(best["parameters"]))
        assert f"FLOPs of a sample: {float(best['flops']) / 1e6:.3f} MFLOPs, of which wiring" in ran.out
        assert f"parameters: {int(best['parameters']):,}, of which wiring {shown['wiring_parameters']}\n" in ran.out
        assert f"training: {shown['training_steps']:,} steps of 32 samples for 0.05 training GFLOPs\n" in ran.out
        assert "limits: kept\n" in ran.out
        strict = write(limits={"parameters": 600})
        ran = wireloom("show", topology, "--experiment", strict)
        assert f"limits: parameters {int(best['parameters']):,} is over the limit 600" in ran.out
        assert refused(wireloom("show", strict, "--experiment", strict), "is no topology; --experiment goes with one")

    def test_an_experiment_shows_one_of_each_family(self, wireloom, write, tmp_path):
        shown = json.loads(wireloom("show", write(), "--json").out)
        assert [one["topology"].split("(")[0] for one in shown] == ["residual", "dense", "hyper", "wiring"]
        assert all(one["flops"] > 0 and one["parameters"] > 0 for one in shown)
        ran = wireloom("show", write(), "--png", "all.png")
        assert ran.status == 0
        assert sorted(path.name for path in tmp_path.glob("*.png")) == [f"all-{i}.png" for i in range(4)]
        assert "--- residual: baseline, runs ---" in ran.out
        assert "--- wiring: a random example (seed 3) ---" in ran.out
        assert wireloom("show", write()).out == wireloom("show", write()).out

    def test_an_experiment_says_why_a_family_is_there_that_it_does_not_declare(self, wireloom, write):
        undeclared = space(hyper={"streams": 2})
        ran = wireloom("show", write(**undeclared))
        assert "--- residual, not declared but always in the race: baseline, runs ---" in ran.out
        ran = wireloom("show", write(**undeclared, search={"baselines": False}))
        assert "--- residual" not in ran.out
        assert "--- hyper: at its published settings ---" in ran.out

    @pytest.mark.parametrize("kind", ["png", "svg"])
    def test_pictures(self, wireloom, tmp_path, kind):
        families.residual(depth=2).save(tmp_path / "t.yaml")
        assert "drawn: t." in wireloom("show", "t.yaml", "--png", f"t.{kind}").out
        content = (tmp_path / f"t.{kind}").read_bytes()
        if kind == "png":
            assert content.startswith(b"\x89PNG")
        else:
            assert ElementTree.fromstring(content).tag.endswith("svg")
        ran = wireloom("show", "t.yaml", "--png", f"u.{kind}", "--json")
        assert json.loads(ran.out)
        assert ran.err == f"drawn: u.{kind}\n"

    def test_another_kind_of_picture_is_refused(self, wireloom, tmp_path, tree):
        families.residual(depth=2).save(tmp_path / "t.yaml")
        before = tree(tmp_path)
        assert wireloom("show", "t.yaml", "--png", "t.doc").status == 2
        assert tree(tmp_path) == before


class TestCompile:
    def test_a_run(self, wireloom, finished, tmp_path, rows):
        ran = wireloom("compile", finished, "--out", "model")
        assert (ran.status, ran.err) == (0, "")
        best = rows(finished / "pareto.csv")[0]
        assert f"validation accuracy {best['accuracy']}, as the run logged" in ran.out
        assert "next: python model/load.py" in ran.out
        made = json.loads(wireloom("compile", finished, "--out", "model", "--json").out)
        assert (made["digest"], repr(made["accuracy"])) == (best["digest"], best["accuracy"])
        assert 0.1 < made["test_accuracy"] < 1

    def test_a_topology(self, wireloom, tmp_path):
        topology = families.residual(depth=2)
        topology.save(tmp_path / "t.yaml")
        assert "wires your blocks" in wireloom("compile", "t.yaml", "--out", "model").out
        assert json.loads(wireloom("compile", "t.yaml", "--out", "model", "--json").out)["digest"] == topology.digest
        assert {path.name for path in (tmp_path / "model").iterdir()} == {
            "topology.yaml", "model.safetensors", "card.md", "load.py",
        }  # fmt: skip

    def test_over_itself(self, wireloom, tmp_path, tree):
        families.residual(depth=2).save(tmp_path / "topology.yaml")
        before = tree(tmp_path)
        assert refused(wireloom("compile", "topology.yaml", "--out", "."), "would be written over", "another --out")
        assert tree(tmp_path) == before

    def test_into_a_folder_with_other_files(self, wireloom, tmp_path, tree):
        families.residual(depth=2).save(tmp_path / "t.yaml")
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "notes.txt").write_text("mine")
        before = tree(tmp_path)
        assert refused(wireloom("compile", "t.yaml", "--out", "mine"), "holds other files (notes.txt)", "another --out")
        assert tree(tmp_path) == before


def test_a_report_for_people_and_for_programs(wireloom, finished, tmp_path, rows):
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "report.html").unlink()
    ran = wireloom("report", run)
    assert (ran.status, ran.err) == (0, "")
    assert "Pareto front" in ran.out
    assert (run / "report.html").is_file()
    summary = json.loads(wireloom("report", run, "--json").out)
    assert isinstance(summary, dict)
    assert rows(run / "pareto.csv")[0]["digest"] in json.dumps(summary)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_show_takes_every_family(tmp_path, name):
    topology = families.FAMILIES[name](8)
    topology.save(tmp_path / "t.yaml")
    shown = CliRunner().invoke(app, ["show", str(tmp_path / "t.yaml"), "--json"])
    assert shown.exit_code == 0, shown.output
    (data,) = json.loads(shown.stdout)
    assert (data["digest"], data["depth"]) == (topology.digest, 8)
    assert data["residual_at_start"] in ("yes", "scaled", "no", "unknown")
    matrices = data["matrix"] if isinstance(data["matrix"], dict) else {"in": data["matrix"]}
    assert set(matrices) == {port for block in topology.blocks for port in block.ports}
    assert all(matrix is None or len(matrix) == 9 for matrix in matrices.values())
    plain = CliRunner().invoke(app, ["show", str(tmp_path / "t.yaml"), "--png", str(tmp_path / "t.svg")])
    assert plain.exit_code == 0, plain.output
    assert "at the start: " in plain.stdout
    assert (tmp_path / "t.svg").read_text(encoding="utf-8").startswith("<?xml")


def test_a_dry_run_says_what_a_super_network_costs(wireloom, write):
    done = wireloom("search", write(search={"gates": {"budget": 0.5}}), "--dry-run")
    assert done.status == 0
    assert "for a super-network of depth 3, read for its gates" in done.out
