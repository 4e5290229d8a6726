import json
import random
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs import families
from graphs.edits import edited
from graphs.errors import UserError
from search_space.document import dump, read
from search_space.errors import SpaceError
from search_space.point import Answers, Point
from search_space.space import Row, Space

FULL = """\
space:
  depth: {low: 4, high: 8}
  families:
    residual: {}
    to_output: {}
    dense: {period: [1, 2]}
    hyper: {streams: [2, 4]}
    ancre: {temperature: {low: 0.01, high: 1.0, log: true}}
    wiring: {edges: {low: 2, high: 12}, in_degree: 4}
"""


@pytest.fixture(scope="module")
def parse(tmp_path_factory):
    path = tmp_path_factory.mktemp("space") / "file.yaml"

    def parse(text):
        path.write_text(text)
        return Space.parse(read(path))

    return parse


@pytest.fixture(scope="module")
def space(parse):
    return parse(FULL)


def changed(old, new):
    assert old in FULL
    return FULL.replace(old, new)


WRONG = [
    (changed("  depth:", "  dpeth:"), 2, "space.dpeth", "unknown key 'dpeth'; did you mean 'depth'? Valid: depth, fam"),
    ("space: {depth: 4}\n", 1, "space.families", "missing; add it, for example 'families: {residual: {}}'"),
    ("space: {depth: 4, families: {}}\n", 1, "space.families", "empty; must hold at least 1"),
    ("space: {depth: 4, families: [residual]}\n", 1, "space.families", "a list is not a single value; must be a mapp"),
    ("space: 3\n", 1, "space", "3 is a number; must be a mapping"),
    ("space:\n", 1, "space", "the value is empty (null); must be a mapping"),
    (changed("{low: 4, high: 8}", "0"), 2, "space.depth", "0 is too small; at least 1"),
    (changed("low: 4", "low: 0"), 2, "space.depth.low", "0 is too small; at least 1"),
    (changed("low: 4", "low: 9"), 2, "space.depth.low", "9 is above high (8)"),
    (changed("{low: 4, high: 8}", "[4, 8, 4]"), 2, "space.depth[2]", "4 is listed twice"),
    (changed("{low: 4, high: 8}", "four"), 2, "space.depth", '"four" is a text; must be a whole number'),
    (changed("high: 8", "high: 100_000"), 2, "space.depth", "4 .. 100000 is too deep; at most 1000"),
    (changed("to_output:", "to_ouput:"), 5, "space.families.to_ouput", "unknown family 'to_ouput'; did you mean 'to_o"),
    (changed("[2, 4]", "[2, 0]"), 7, "space.families.hyper.streams[1]", "streams is 0"),
    (
        changed("period", "perod"),
        6,
        "space.families.dense.perod",
        "unknown parameter of dense 'perod'; did you mean 'period'? Valid: inner, period",
    ),
    (FULL + "  edits: 2\n", 10, "space.edits", "2 is a number; must be a mapping"),
    (FULL + "  edits: {}\n", 10, "space.edits.edges", "missing; add it, for example 'edges: 2'"),
    (FULL + "  edits: {edges: 0}\n", 10, "space.edits.edges", "0 is out of range; must be at least 1"),
    (FULL + "  edits: {egdes: 1}\n", 10, "space.edits.egdes", "unknown key 'egdes'; did you mean 'edges'?"),
    (FULL + "  gates: {low: 2, high: 1}\n", 10, "space.gates.low", "2.0 is above high (1.0)"),
    (FULL + "  gates: 0.5\n", 10, "space.gates", "0.5 is a number; must be a mapping"),
    (
        "space:\n  depth: 4\n  families: {wiring: {edges: 2}}\n  edits: {edges: 1}\n",
        4,
        "space.edits",
        "nothing to edit: the edges of wiring are free already",
    ),
    (
        "space:\n  depth: 4\n  families: {residual: {}}\n  gates: {low: 0, high: 1}\n",
        4,
        "space.gates",
        "no edge to weigh; declare edits or the family wiring",
    ),
    (changed("low: 0.01", "low: 0"), 8, "space.families.ancre.temperature.low", "0.0 cannot be the low end with log"),
]


@pytest.mark.parametrize(("text", "line", "key", "message"), WRONG)
def test_refuses(parse, text, line, key, message):
    with pytest.raises(SpaceError) as caught:
        parse(text)
    assert f"file.yaml:{line}: {key}: {message}" in str(caught.value)


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_any_random_point_is_a_legal_topology_and_survives_json(space, seed):
    point = space.random(random.Random(seed))
    topology = space.topology(point)
    assert (topology.family, topology.depth) == (point.family, point.depth)
    assert 4 <= topology.depth <= 8
    read_back = Point.from_dict(json.loads(json.dumps(point.to_dict())))
    assert repr(read_back) == repr(point)
    if point.family == "wiring":
        edges = [tuple(map(int, edge.split("-"))) for edge in str(dict(topology.settings)["edges"]).split()]
        assert len(edges) <= point.to_dict()["wiring.edges"] <= 12
        assert max(Counter(j for _, j in edges).values(), default=0) + 1 <= 4


def test_random_points_are_the_same_for_the_same_seed_and_spread_evenly(space, parse):
    assert space.random(random.Random(1)) == space.random(random.Random(1))
    rng = random.Random(0)
    wiring = parse("space: {depth: 8, families: {wiring: {edges: {low: 0, high: 4}}}}\n")
    counts = Counter(len(str(dict(wiring.topology(wiring.random(rng)).settings)["edges"]).split()) for _ in range(400))
    # Stratified by the number of edges: 80 each, sd 8; by graphs nearly all would have 4.
    assert set(counts) == {0, 1, 2, 3, 4}
    assert all(abs(count - 80) < 48 for count in counts.values())


class Log:
    """Takes the first option and the low end of everything, and remembers the names."""

    def __init__(self, family=None):
        self.names, self.family = [], family

    def integer(self, name, low, high, *, log=False, step=1):
        self.names.append(name)
        return low

    def real(self, name, low, high, *, log=False):
        self.names.append(name)
        return low

    def choice(self, name, options):
        self.names.append(name)
        return self.family if name == "family" else options[0]


def test_only_the_chosen_family_is_asked_and_fixed_values_are_in_the_point(space):
    log = Log("dense")
    point = space.ask(log)
    assert log.names == ["family", "depth", "dense.period"]
    assert point.values == (
        ("family", "dense"),
        ("depth", 4),
        ("dense.inner", True),
        ("dense.period", 1),
        ("dense.dilation", 1),
        ("dense.every", 1),
    )


def test_wiring_asks_its_budget_and_an_edge_into_the_output_by_name(space):
    log = Log("wiring")
    space.ask(log)
    assert log.names[:4] == ["family", "depth", "wiring.edges", "wiring.priority.0-2"]
    assert log.names[-1] == "wiring.priority.3-out"
    assert len(log.names) == 3 + 10


def test_a_single_family_and_a_fixed_depth_are_not_asked(parse):
    log = Log()
    only = parse("space: {depth: 6, families: {to_output: {period: 2}}}\n")
    assert only.ask(log).to_dict() == {"family": "to_output", "depth": 6, "to_output.period": 2}
    assert log.names == []


def test_topology_decodes_the_edges_of_highest_priority(parse):
    wiring = parse("space: {depth: 3, families: {wiring: {edges: {low: 0, high: 3}}}}\n")
    point = wiring.ask(Answers({"wiring.edges": 2, "wiring.priority.1-out": 0.9, "wiring.priority.0-3": 0.8}, 0.1))
    assert dict(wiring.topology(point).settings)["edges"] == "0-3 1-4"


def without(data, name):
    return {key: value for key, value in data.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data | {"depth": 9}, "depth is 9; must be a whole number from 4 to 8"),
        (lambda data: data | {"dense.period": 3}, "dense.period is 3; must be one of 1, 2"),
        (lambda data: data | {"dense.period": True}, "dense.period is true; must be one of 1, 2"),
        (lambda data: without(data, "dense.period"), "dense.period is missing"),
        (lambda data: without(data, "dense.inner"), "dense.inner is missing"),
        (lambda data: data | {"dense.inner": False}, "dense.inner is False; this space fixes it at True"),
        (lambda data: data | {"dense.perod": 1}, "unknown name 'dense.perod'; did you mean 'dense.period'?"),
        (lambda data: data | {"hyper.streams": 2}, "unknown name 'hyper.streams'"),
        (lambda data: data | {"family": "dens"}, "unknown family 'dens'; did you mean 'dense'?"),
    ],
)
def test_topology_refuses_a_point_of_another_space(space, change, message):
    point = Point.from_dict(change(space.ask(Log("dense")).to_dict()))
    with pytest.raises(UserError) as caught:
        space.topology(point)
    assert str(caught.value).startswith(f"point: {message}")


def test_baselines_are_the_declared_designs_at_published_defaults_residual_first(parse):
    found = parse(
        "space: {depth: [4, 8], families: {dense: {}, hyper: {streams: [1, 2]}, residual: {}, wiring: {edges: 1}}}\n"
    )
    points = found.baselines()
    assert [point.family for point in points] == ["residual", "dense", "hyper"]
    assert {point.depth for point in points} == {8}
    assert points[2].to_dict()["hyper.streams"] == 2


def test_designs_go_from_the_deepest_to_the_shallowest(parse):
    text = "space: {depth: %s, families: {to_output: {}, hyper: {}, wiring: {edges: 1}}}\n"
    residual, to_output, hyper = parse(text % "{low: 3, high: 9, step: 2}").designs()
    assert [point.depth for point in residual] == [point.depth for point in hyper] == [9, 7, 5, 3]
    assert [point.depth for point in to_output] == [9, 7, 5, 3]
    assert [point.depth for point in parse(text % "[2, 9, 5]").designs()[0]] == [9, 5, 2]
    assert [point.depth for point in parse(text % "4").designs()[0]] == [4]


@pytest.fixture
def of_sublayers(tmp_path):
    def parse(text):
        (tmp_path / "file.yaml").write_text(text)
        return Space.parse(read(tmp_path / "file.yaml"), sublayers=2)

    return parse


def test_where_blocks_are_sublayers_a_site_left_out_is_two_of_them(of_sublayers):
    found = of_sublayers(
        "space: {depth: {low: 4, high: 9}, families: {dense: {}, hyper: {}, ancre: {period: [1, 2]}}}\n"
    )
    points = {point.family: point for point in found.baselines()}
    assert {name: point.depth for name, point in points.items()} == {"residual": 9, "dense": 8, "hyper": 9, "ancre": 8}
    assert points["dense"].to_dict()["dense.period"] == points["ancre"].to_dict()["ancre.period"] == 2
    assert Row("dense.period", "fixed", "2", "family = dense") in found.describe()
    for point in found.baselines():
        assert found.topology(point).depth == point.depth
    # Written out, the file no longer depends on the backbone.
    assert of_sublayers(dump({"space": found.to_dict()})) == found


def test_an_example_is_of_the_family_asked_for(space):
    for name in ("dense", "wiring"):
        points = {space.example(name, random.Random(seed)) for seed in range(9)}
        assert {point.family for point in points} == {name}
        assert len(points) > 1
        assert all(space.topology(point).depth == point.depth for point in points)
    assert space.example("wiring", random.Random(1)) == space.example("wiring", random.Random(1))


def test_the_residual_network_of_any_depth_is_a_point_of_the_space(space, parse):
    assert str(space.topology(space.residual(5))) == "residual(depth=5)"
    undeclared = parse("space: {depth: [4, 5], families: {hyper: {}}}\n")
    assert str(undeclared.topology(undeclared.residual(5))) == "residual(depth=5)"


def test_the_residual_network_is_a_baseline_even_if_undeclared(parse):
    found = parse("space: {depth: 4, families: {hyper: {}}}\n")
    first, second = found.baselines()
    assert (first.family, second.family) == ("residual", "hyper")
    assert str(found.topology(first)) == "residual(depth=4)"


def test_baselines_and_corners_are_points_of_the_space(space):
    for point in (*space.baselines(), *space.corners()):
        assert space.topology(point).depth == point.depth


def test_corners_take_families_in_turn_and_stop_at_the_limit(space):
    found = list(space.corners())
    assert [point.family for point in found[:6]] == ["residual", "to_output", "dense", "hyper", "ancre", "wiring"]
    assert {(point.family, point.depth) for point in found} == {
        (family.name, depth) for family in space.families for depth in (4, 8)
    }
    assert len(found) == len(set(found)) == 20
    assert list(space.corners(limit=3)) == found[:3]


def test_describe_says_what_is_asked_and_when(space, parse):
    rows = space.describe()
    assert rows[0] == Row("family", "choice", "residual | to_output | dense | hyper | ancre | wiring", "")
    assert rows[1] == Row("depth", "int", "4 .. 8", "")
    assert Row("dense.inner", "fixed", "true", "family = dense") in rows
    assert Row("ancre.temperature", "float", "[0.01, 1] log", "family = ancre") in rows
    assert rows[-2:] == (
        Row("wiring.edges", "int", "2 .. 12", "family = wiring"),
        Row("wiring.priority.I-J", "float", "[0, 1] for each optional edge", "family = wiring"),
    )
    assert parse("space: {depth: 4, families: {to_output: {}}}\n").describe() == (
        Row("family", "fixed", "to_output", ""),
        Row("depth", "fixed", "4", ""),
        Row("to_output.period", "fixed", "1", ""),
    )


@pytest.mark.parametrize(
    ("families", "size"),
    [
        ("{residual: {}}", 5),
        ("{residual: {}, hyper: {streams: [2, 4, 8]}}", 5 + 15),
        ("{residual: {}, ancre: {temperature: {low: 0.1, high: 1.0}}}", None),
        ("{wiring: {edges: 2}}", None),
    ],
)
def test_size(parse, families, size):
    assert parse(f"space: {{depth: {{low: 4, high: 8}}, families: {families}}}\n").size() == size


def test_to_dict_parses_to_an_equal_space(space, parse):
    assert parse(dump({"space": space.to_dict()})) == space


def test_needs_no_heavy_library():
    code = (
        "import sys, search_space; from search_space.space import Space;"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'optuna', 'ray', 'mlflow'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


LAYERS = """\
space:
  depth: {low: 3, high: 4}
  families: {residual: {}, hyper: {streams: 2}, wiring: {edges: {low: 1, high: 3}}}
  edits: {edges: 2}
  gates: {low: 0.5, high: 2.0, log: true}
"""


class TestLayers:
    """Edits and gates on top of families, each switched on by its own key."""

    @pytest.fixture
    def layered(self, parse):
        return parse(LAYERS)

    def test_what_is_asked_layer_by_layer(self, layered):
        point = layered.ask(Answers({"family": "hyper", "depth": 3, "edits.edges": 1, "edits.priority.1-3": 0.7}, 0.5))
        names = [name for name, _ in point.values]
        assert names[:4] == ["family", "depth", "hyper.streams", "hyper.dynamic"]
        edges = ("0-2", "0-3", "1-3", "0-out", "1-out", "2-out")
        assert names[-8:] == ["edits.edges", *(f"edits.priority.{edge}" for edge in edges), "gates.1-3"]

    def test_an_empty_edit_asks_no_more_and_is_the_family(self, layered, parse):
        point = layered.ask(Answers({"family": "residual", "depth": 3, "edits.edges": 0}))
        assert point.to_dict() == {"family": "residual", "depth": 3, "edits.edges": 0}
        assert layered.topology(point) == families.residual(3)

    def test_an_edit_is_on_top_and_its_gate_is_its_weight(self, layered):
        answers = {"family": "hyper", "depth": 3, "edits.edges": 1, "edits.priority.0-3": 1.0, "gates.0-3": 0.75}
        topology = layered.topology(layered.ask(Answers(answers, 0.0)))
        assert topology == edited(families.hyper(3, streams=2), {(0, 3): 0.75})
        answers |= {"family": "residual"}  # where the edge is: it goes, whatever its gate
        topology = layered.topology(layered.ask(Answers(answers, 0.0)))
        assert topology == edited(families.residual(3), {(0, 3): 1})

    def test_free_wiring_has_gates_and_no_edits(self, layered):
        answers = {"family": "wiring", "depth": 3, "wiring.edges": 1, "wiring.priority.0-out": 1.0, "gates.0-out": 1.5}
        point = layered.ask(Answers(answers, 0.0))
        assert not [name for name, _ in point.values if name.startswith("edits")]
        assert layered.topology(point) == families.wiring(3, edges=[(0, 4)], weights={(0, 4): 1.5})

    def test_baselines_are_unedited(self, layered):
        for point in layered.baselines():
            assert point.to_dict()["edits.edges"] == 0
            assert layered.topology(point) == getattr(families, point.family)(
                4, **({"streams": 2} if point.family == "hyper" else {})
            )

    def test_random_points_and_corners_have_topologies(self, layered):
        points = [layered.random(random.Random(i)) for i in range(60)] + list(layered.corners())
        assert {layered.topology(point).depth for point in points} == {3, 4}
        counts = Counter(point.to_dict().get("edits.edges") for point in points[:60])
        assert set(counts) == {0, 1, 2, None}
        gates = [value for point in points for name, value in point.values if name.startswith("gates.")]
        assert len(set(gates)) > 20
        assert all(0.5 <= value <= 2.0 for value in gates)

    def test_it_is_described_and_written_and_has_no_size(self, layered, tmp_path):
        rows = {row.name: row for row in layered.describe()}
        assert rows["edits.edges"] == Row("edits.edges", "int", "0 .. 2", "family = residual | hyper")
        assert rows["edits.priority.I-J"].domain == "[0, 1] for each optional edge"
        assert rows["gates.I-J"] == Row("gates.I-J", "float", "[0.5, 2] log", "for each free edge that is there")
        (tmp_path / "again.yaml").write_text(dump({"space": layered.to_dict()}))
        assert Space.parse(read(tmp_path / "again.yaml")) == layered
        assert layered.size() is None

    @pytest.mark.parametrize("layer", ["edits", "gates"])
    def test_each_layer_is_switched_on_alone(self, parse, layer):
        lines = [line for line in LAYERS.splitlines() if not line.startswith(f"  {layer}")]
        names = {
            name.partition(".")[0]
            for i in range(30)
            for name, _ in parse("\n".join(lines)).random(random.Random(i)).values
        }
        assert {"edits", "gates"} & names == {"edits", "gates"} - {layer}

    def test_a_gate_of_one_value_is_not_asked(self, parse):
        fixed = parse(LAYERS.replace("{low: 0.5, high: 2.0, log: true}", "{low: 0.5, high: 0.5}"))
        assert Space.to_dict(fixed)["gates"] == {"low": 0.5, "high": 0.5}
        answers = {"family": "wiring", "depth": 3, "wiring.edges": 1, "wiring.priority.0-2": 1.0}
        point = fixed.ask(Answers(answers, 0.0))
        assert point.to_dict()["gates.0-2"] == 0.5
        assert fixed.topology(point).matrix()[1, 0] == 0.5
