import pickle
import re
import subprocess
import sys

import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphs.errors import UserError
from nas.experiment import Experiment, Halving, Search
from nas.metrics import GOALS
from search_space.document import dump
from search_space.errors import SpaceError

FULL = """\
name: digits
seed: 0
trials: 24
data: {kind: digits}
backbone: {kind: mixer, dim: 48, patch: 2}
space:
  depth: {low: 4, high: 8}
  families:
    residual: {}
    to_output: {}
    dense: {period: [1, 2]}
    hyper: {streams: [2, 4]}
    ancre: {temperature: {low: 0.01, high: 1.0, log: true}}
    wiring: {edges: {low: 2, high: 12}, in_degree: 4}
objectives:
  - {metric: accuracy, goal: maximize}
  - {metric: flops, goal: minimize}
limits: {parameters: 200_000}
train: {budget_gflops: 300, batch: 64, lr: 2.0e-3, warmup: 0.1}
search: {sampler: tpe, halving: {rungs: 3, keep: 0.34}, baselines: true, random_share: 0.15}
confirm: {seeds: 3}
"""

LEAST = """\
name: least
seed: 0
trials: 1
data: {kind: digits}
backbone: {kind: mixer, dim: 48, patch: 2}
space: {depth: 4, families: {residual: {}}}
objectives: [{metric: accuracy_per_gflop, goal: maximize}]
train: {budget_gflops: 1, batch: 64, lr: 2e-3, warmup: 0}
"""


@pytest.fixture
def load(tmp_path):
    def load(text):
        path = tmp_path / "file.yaml"
        path.write_text(text)
        return Experiment.load(path)

    return load


def changed(old, new, text=FULL):
    assert text.count(old) == 1
    return text.replace(old, new)


def test_the_contracts_file_is_read(load):
    experiment = load(FULL)
    assert (experiment.name, experiment.seed, experiment.trials) == ("digits", 0, 24)
    assert (experiment.data.kind, experiment.backbone.kind, experiment.backbone.dim) == ("digits", "mixer", 48)
    assert [(one.metric, one.goal, one.floor) for one in experiment.objectives] == [
        ("accuracy", "maximize", None),
        ("flops", "minimize", None),
    ]
    assert experiment.limits == {"parameters": 200_000}
    assert (experiment.train.budget_gflops, experiment.train.lr, experiment.train.warmup) == (300, 2e-3, 0.1)
    assert experiment.search == Search(halving=Halving(rungs=3, keep=0.34))
    assert experiment.confirm is not None
    assert experiment.confirm.seeds == 3
    assert experiment.space.families[0].name == "residual"


def test_defaults(load):
    experiment = load(LEAST)
    assert experiment.limits == {}
    assert experiment.confirm is None
    assert experiment.objectives[0].floor == 0.5
    train, search, backbone = experiment.train, experiment.search, experiment.backbone
    assert (train.weight_decay, train.clip, train.threads) == (0.01, 1.0, None)
    assert (search.sampler, search.halving, search.baselines, search.random_share) == ("tpe", None, True, 0.15)
    assert (backbone.token_hidden, backbone.channel_hidden) == (None, None)


def test_is_frozen_and_survives_pickling(load):
    experiment = load(FULL)
    with pytest.raises(pydantic.ValidationError):
        experiment.trials = 3
    assert pickle.loads(pickle.dumps(experiment)) == experiment


OBJECTIVE = "{metric: flops, goal: minimize}"
WRONG = [
    ("name: digits", "nmae: digits", 1, "nmae", "unknown key 'nmae'; did you mean 'name'? Valid: name, seed, trials"),
    ("objectives:", "objective:", 15, "objective", "unknown key 'objective'; did you mean 'objectives'?"),
    ("seed: 0\n", "", 1, "seed", "missing; add it, for example 'seed: 0'"),
    ("seed: 0\n", "seed: 0\nseed: 1\n", 3, "seed", "duplicate key, first on line 2; keep one"),
    ("name: digits", "name: a/b", 1, "name", "'a/b' cannot name a folder; write at most 100 letters"),
    ("name: digits", "name: ..", 1, "name", "'..' cannot name a folder"),
    ("name: digits", 'name: "a\\n"', 1, "name", "'a\\n' cannot name a folder"),
    ("name: digits", 'name: ""', 1, "name", "'' cannot name a folder"),
    ("name: digits", "name: 2024", 1, "name", "2024 is a number; must be a text: write it in quotes"),
    ("seed: 0", "seed: -1", 2, "seed", "-1 is out of range; must be at least 0"),
    ("seed: 0", "seed: 1e3", 2, "seed", "1000.0 is a number; must be a whole number: write 1000"),
    ("seed: 0", f"seed: {2**32}", 2, "seed", "4294967296 is out of range; must be less than 4294967296"),
    ("trials: 24", "trials: 0", 3, "trials", "0 is out of range; must be at least 1"),
    ("trials: 24", 'trials: "24"', 3, "trials", '"24" is a text; must be a whole number: write 24 without quotes'),
    ("{kind: digits}", "{kind: digts}", 4, "data.kind", "unknown data kind 'digts'; did you mean 'digits'? Valid: dig"),
    ("{kind: digits}", "digits", 4, "data", '"digits" is a text; must be a mapping'),
    ("kind: mixer", "kind: mixr", 5, "backbone.kind", "unknown backbone kind 'mixr'; did you mean 'mixer'?"),
    ("dim: 48", "dmi: 48", 5, "backbone.dmi", "unknown key 'dmi'; did you mean 'dim'? Valid: kind, dim, patch"),
    ("dim: 48", "dim: 0", 5, "backbone.dim", "0 is out of range; must be at least 1"),
    ("patch: 2", "patch: 3", 5, "backbone", "patch 3 does not divide the image 8 x 8"),
    ("low: 4", "low: 0", 7, "space.depth.low", "0 is too small; at least 1"),
    ("[2, 4]", "[0, 4]", 12, "space.families.hyper.streams[0]", "streams is 0"),
    ("metric: flops", "metric: flop", 17, "objectives[1].metric", "unknown value 'flop'; did you mean 'flops'? Valid:"),
    ("goal: minimize", "goal: minimise", 17, "objectives[1].goal", "unknown value 'minimise'; did you mean 'minimi"),
    ("goal: minimize", "goal: maximize", 17, "objectives[1].goal", "'maximize' is the wrong way for flops; write mini"),
    ("goal: maximize", "goal: minimize", 16, "objectives[0].goal", "'minimize' is the wrong way for accuracy; write m"),
    (OBJECTIVE, "{metric: flops}", 17, "objectives[1].goal", "missing; add it, for example 'goal: maximize'"),
    (OBJECTIVE, "flops", 17, "objectives[1]", '"flops" is a text; must be a mapping'),
    (
        OBJECTIVE,
        "{metric: accuracy, goal: maximize}",
        17,
        "objectives[1].metric",
        "'accuracy' is listed twice; keep one of them",
    ),
    (
        OBJECTIVE,
        "{metric: flops, goal: minimize, floor: 0.5}",
        17,
        "objectives[1].floor",
        "0.5 has no meaning here; only accuracy_per_gflop takes a floor",
    ),
    (
        OBJECTIVE,
        "{metric: accuracy_per_gflop, goal: maximize, floor: 1}",
        17,
        "objectives[1].floor",
        "1 is out of range; must be less than 1",
    ),
    # Contradictory objectives: one metric both ways, in either order.
    (
        OBJECTIVE,
        "{metric: accuracy, goal: minimize}",
        17,
        "objectives[1].goal",
        "'minimize' is the wrong way for accur",
    ),
    (OBJECTIVE, "{metric: mnas, goal: maximize}", 17, "objectives[1].target", "missing; add the cost aimed at, such"),
    (
        OBJECTIVE,
        "{metric: compute_to_target, goal: minimize}",
        17,
        "objectives[1].target",
        "missing; add an accuracy, such as 0.9",
    ),
    (
        OBJECTIVE,
        "{metric: compute_to_target, goal: minimize, target: 90}",
        17,
        "objectives[1].target",
        "90 is no accuracy; write a share of at most 1",
    ),
    (
        OBJECTIVE,
        "{metric: flops, goal: minimize, target: 90}",
        17,
        "objectives[1].target",
        "90.0 has no meaning here; only mnas and compute_to_target take a target",
    ),
    (
        OBJECTIVE,
        "{metric: mnas, goal: maximize, target: 90, cost: seconds}",
        17,
        "objectives[1].cost",
        "unknown value 'seconds'",
    ),
    (
        OBJECTIVE,
        "{metric: mnas, goal: maximize, target: 90, weight: 0.07}",
        17,
        "objectives[1].weight",
        "0.07 is out of range; must be less than 0",
    ),
    (
        OBJECTIVE,
        "{metric: auc_log_compute, goal: maximize, high_gflops: 301}",
        17,
        "objectives[1].high_gflops",
        "301 is beyond train.budget_gflops, 300; a curve is not extrapolated",
    ),
    (
        OBJECTIVE,
        "{metric: auc_log_compute, goal: maximize, low_gflops: 200, high_gflops: 100}",
        17,
        "objectives[1].low_gflops",
        "the area must begin (200) below its end (100)",
    ),
    (
        OBJECTIVE,
        "{metric: auc_log_compute, goal: maximize, high_gflops: 20}",
        17,
        "objectives[1].high_gflops",
        "the area must begin (30) below its end (20)",
    ),
    (
        OBJECTIVE,
        "{metric: loss, goal: minimize, epsilon: 0}",
        17,
        "objectives[1].epsilon",
        "0 is out of range; must be",
    ),
    ("parameters: 200_000", "params: 200_000", 18, "limits.params", "unknown key 'params'; did you mean 'parameters'?"),
    ("parameters: 200_000", "parameters: 0", 18, "limits.parameters", "0 is out of range; must be more than 0"),
    ("parameters: 200_000", "parameters: .inf", 18, "limits.parameters", "inf is not finite"),
    ("parameters: 200_000", "parameters: 200k", 18, "limits.parameters", '"200k" is a text; must be a number'),
    ("lr: 2.0e-3", 'lr: "2e-3"', 19, "train.lr", '"2e-3" is a text; must be a number: write 2e-3 without quotes'),
    ("lr: 2.0e-3", "lr: .nan", 19, "train.lr", "nan is not finite; must be an ordinary number"),
    ("lr: 2.0e-3", "lr: 0", 19, "train.lr", "0 is out of range; must be more than 0"),
    ("warmup: 0.1", "warmup: 1", 19, "train.warmup", "1 is out of range; must be less than 1"),
    ("warmup: 0.1", "warmup: 0, clip: 0", 19, "train.clip", "0 is out of range; must be more than 0"),
    ("warmup: 0.1", "warmup: 0, threads: 0", 19, "train.threads", "0 is out of range; must be at least 1"),
    ("warmup: 0.1", "warmup: 0, weight_decay: -1", 19, "train.weight_decay", "-1 is out of range; must be at least 0"),
    ("budget_gflops: 300, ", "", 19, "train.budget_gflops", "missing; add it, for example 'budget_gflops: 300'"),
    ("budget_gflops: 300", "budget_gflops: 0", 19, "train.budget_gflops", "0 is out of range; must be more than 0"),
    ("trials: 24", "trials: 1_000_000_000", 3, "trials", "1000000000 is out of range; must be at most 1000000"),
    ("seed: 0", f"seed: {2**70}", 2, "seed", "1180591620717411303424 is out of range; must be less than 4294967296"),
    (
        "budget_gflops: 300",
        "budget_gflops: 1e300",
        19,
        "train.budget_gflops",
        "1e+300 is out of range; must be at most 1",
    ),
    ("batch: 64", "batch: 10_000_000", 19, "train.batch", "10000000 is out of range; must be at most 65536"),
    ("lr: 2.0e-3", "lr: .inf", 19, "train.lr", "inf is not finite; must be an ordinary number"),
    ("lr: 2.0e-3", "lr: 1e999", 19, "train.lr", "inf is not finite; must be an ordinary number"),
    ("warmup: 0.1", "warmup: 0, threads: 5000", 19, "train.threads", "5000 is out of range; must be at most 1024"),
    ("dim: 48", f"dim: {10**400}", 5, "backbone.dim", f"{'1' + 56 * '0'}... is out of range; must be at most 1000000"),
    (
        "patch: 2",
        "patch: 2, token_hidden: 2_000_000",
        5,
        "backbone.token_hidden",
        "2000000 is out of range; must be at",
    ),
    ("patch: 2", "patch: 2, channel_hidden: 2_000_000", 5, "backbone.channel_hidden", "2000000 is out of range; must"),
    (
        "high: 12",
        f"high: {10**20}",
        14,
        "space.families.wiring.edges.high",
        f"{10**20} is out of range; must be at most",
    ),
    ("sampler: tpe", "sampler: TPE", 20, "search.sampler", "unknown value 'TPE'; Valid: tpe, random"),
    ("baselines: true", "baselines: no", 20, "search.baselines", '"no" is a text in YAML 1.2; write true or false'),
    ("rungs: 3", "rungs: 1", 20, "search.halving.rungs", "1 is out of range; must be at least 2"),
    ("rungs: 3", "rungs: 7", 20, "search.halving.rungs", "7 is out of range; must be at most 6"),
    ("keep: 0.34", "keep: 1.0", 20, "search.halving.keep", "1.0 is out of range; must be less than 1"),
    ("random_share: 0.15", "random_share: 15%", 20, "search.random_share", '"15%" is a text; must be a number'),
    ("seeds: 3", "seeds: 21", 21, "confirm.seeds", "21 is out of range; must be at most 20"),
]


@pytest.mark.parametrize(("old", "new", "line", "key", "message"), WRONG)
def test_refuses_with_file_line_key_and_hint(load, old, new, line, key, message):
    with pytest.raises(SpaceError) as caught:
        load(changed(old, new))
    assert f"file.yaml:{line}: {key}: {message}" in str(caught.value)


def test_the_greatest_numbers_are_planned_without_a_word(load):
    """Beyond them arithmetic would give out: what is checked here used to end in a traceback."""
    from nas.search import check_reachable

    greatest = {
        "trials: 24": "trials: 1_000_000", "seed: 0": f"seed: {2**32 - 1}", "dim: 48": "dim: 1_000_000",
        "patch: 2": "patch: 2, token_hidden: 1_000_000, channel_hidden: 1_000_000",
        "budget_gflops: 300": "budget_gflops: 1e15", "batch: 64": "batch: 65536", "lr: 2.0e-3": "lr: 1.0e+300",
        "parameters: 200_000": "parameters: 1e300",
        "high: 12": "high: 1_000_000_000", "in_degree: 4": f"in_degree: {10**20}",
    }  # fmt: skip
    text = FULL
    for old, new in greatest.items():
        text = changed(old, new, text)
    experiment = load(text)
    assert min(item.steps for item in check_reachable(experiment)) > 0
    assert load(dump(experiment.resolved())) == experiment


def test_needs_a_space_and_an_objective(load):
    with pytest.raises(SpaceError, match=r"file.yaml:1: space: missing; add it, for example 'space: \{depth: 8"):
        load(re.sub(r"space:.*\n", "", LEAST))
    with pytest.raises(SpaceError, match=r"file.yaml:7: objectives: empty; must hold at least 1"):
        load(re.sub(r"objectives:.*\n", "objectives: []\n", LEAST))


@pytest.mark.parametrize("text", ["", "- a\n", "a: [\n"])
def test_files_that_hold_no_experiment(load, text):
    with pytest.raises(SpaceError, match=r"file\.yaml"):
        load(text)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SpaceError, match=r"absent\.yaml: there is no such file"):
        Experiment.load(tmp_path / "absent.yaml")


def test_numbers_as_users_write_them(load):
    assert load(changed("lr: 2.0e-3", "lr: 1e-4")).train.lr == 1e-4


def test_replace_checks_the_new_value(load):
    experiment = load(FULL)
    assert experiment.replace(trials=3, seed=7) == load(
        changed("trials: 24", "trials: 3").replace("seed: 0", "seed: 7")
    )
    assert experiment.trials == 24
    with pytest.raises(UserError, match=r"^trials: 0 is out of range; must be at least 1$"):
        experiment.replace(trials=0)
    with pytest.raises(UserError, match="unknown key 'trails'; did you mean 'trials'"):
        experiment.replace(trails=3)


@pytest.mark.parametrize("text", [FULL, LEAST])
def test_resolved_loads_to_an_equal_experiment_in_the_files_order(load, text):
    experiment = load(text)
    resolved = experiment.resolved()
    assert load(dump(resolved)) == experiment
    assert list(resolved)[:6] == ["name", "seed", "trials", "data", "backbone", "space"]


def test_resolved_fills_defaults_in(load):
    resolved = load(LEAST).resolved()
    assert resolved["train"]["weight_decay"] == 0.01
    search = {"sampler": "tpe", "population": 20, "tournament": 5, "baselines": True, "random_share": 0.15}
    search |= {"retries": 3, "checkpoint_seconds": 60.0, "warm_start": [], "rerun": 0}
    assert resolved["search"] == search
    assert resolved["objectives"] == [{"metric": "accuracy_per_gflop", "goal": "maximize", "floor": 0.5}]
    assert resolved["limits"] == {}


POSITIVE = st.floats(1e-9, 1e12) | st.integers(1, 10**6)
NEEDS = {"mnas": {"target": 1e6}, "compute_to_target": {"target": 0.9}}
EXPERIMENTS = st.fixed_dictionaries(
    {
        "name": st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True),
        "seed": st.integers(0, 2**32 - 1),
        "trials": st.integers(1, 10**6),
        "data": st.just({"kind": "digits"}),
        "backbone": st.fixed_dictionaries(
            {"kind": st.just("mixer"), "dim": st.integers(1, 512), "patch": st.sampled_from([1, 2, 4, 8])},
            optional={"token_hidden": st.integers(1, 99), "channel_hidden": st.integers(1, 99)},
        ),
        "space": st.fixed_dictionaries(
            {
                "depth": st.sampled_from(
                    [4, [4, 6], {"low": 4, "high": 8, "step": 2}, {"low": 1, "high": 8, "log": True}]
                ),
                "families": st.dictionaries(
                    st.sampled_from(["residual", "to_output", "dense", "hyper", "ancre"]), st.just({}), min_size=1
                ),
            }
        ),
        "objectives": st.lists(st.sampled_from(sorted(GOALS)), min_size=1, unique=True).map(
            lambda metrics: [{"metric": metric, "goal": GOALS[metric]} | NEEDS.get(metric, {}) for metric in metrics]
        ),
        "train": st.fixed_dictionaries(
            {"budget_gflops": POSITIVE, "batch": st.integers(1, 999), "lr": POSITIVE, "warmup": st.floats(0, 0.99)},
            optional={"weight_decay": st.floats(0, 1), "clip": POSITIVE, "threads": st.integers(1, 64)},
        ),
    },
    optional={
        "limits": st.dictionaries(st.sampled_from(["flops", "parameters", "traffic"]), POSITIVE),
        "search": st.fixed_dictionaries(
            {},
            optional={
                "sampler": st.sampled_from(["tpe", "random", "nsga2", "stratified"]),
                "population": st.integers(2, 99),
                "tournament": st.integers(1, 9),
                "halving": st.just({})
                | st.builds(lambda rungs: {"rungs": rungs}, st.integers(2, 6))
                | st.builds(lambda audit: {"form": "promotion", "audit": audit}, st.integers(0, 99)),
                "baselines": st.booleans(),
                "random_share": st.floats(0, 1),
            },
        ),
        "confirm": st.fixed_dictionaries({}, optional={"seeds": st.integers(1, 20)}),
    },
)


def test_what_an_objective_is_told_has_defaults(load):
    text = LEAST.replace("metric: accuracy_per_gflop", "metric: mnas, target: 2.0e+6")
    (mnas,) = load(text).objectives
    assert (mnas.target, mnas.weight, mnas.cost, mnas.floor, mnas.epsilon) == (2e6, -0.07, "flops", None, None)
    text = LEAST.replace("accuracy_per_gflop", "accuracy, epsilon: 0.005")
    assert load(text).objectives[0].epsilon == 0.005


@given(EXPERIMENTS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_legal_experiment_loads_and_survives_resolution(load, data):
    experiment = load(dump(data))
    assert load(dump(experiment.resolved())) == experiment


def test_needs_no_heavy_library():
    code = (
        "import sys, nas.experiment;"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'optuna', 'ray', 'mlflow'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
