import json
import math
import os
import pickle
import stat
import time
from fractions import Fraction as F

import networkx as nx
import pytest
import yaml
from graph_samples import FAMILIES, numbers_in, sample

from graphs import Block, Constant, Mix, Parameter, Sum, Topology, TopologyError, families
from graphs.exchange import FORMAT, from_dict, from_networkx, read, to_dict, to_networkx, write_text
from graphs.topology import Norm
from graphs.weights import Bernoulli, Generated, Grain, Times, ones


def _exact_weights(topology):
    return {mix.writes: mix.weight for mix in topology.mixes}


def _same(one, other):
    assert other == one
    assert other.digest == one.digest
    assert _exact_weights(other) == _exact_weights(one)
    for writes, weight in _exact_weights(one).items():
        again = numbers_in(_exact_weights(other)[writes])
        assert list(map(type, again)) == list(map(type, numbers_in(weight)))
    assert set(other.ops) == set(one.ops)
    assert (other.depth, other.stem, other.output) == (one.depth, one.stem, one.output)
    assert (other.family, other.settings) == (one.family, one.settings)


def _all():
    yield from ((name, build()) for name, build in FAMILIES.items())
    yield from ((f"sample {seed}", sample(seed, uniform=False)) for seed in range(8))
    for seed in range(20, 40):
        yield f"sample {seed}", sample(seed, uniform=False, per_token=True, fine=seed % 2 == 0, normed=seed % 3 == 0)


ALL = [pytest.param(topology, id=name) for name, topology in _all()]
TWO_PORTS = Topology(
    (
        Block(1, ("s",), "y1", name="first"),
        Mix(("s", "y1"), ("a", "b"), Constant(((F(1, 3), 0.1), (1, 10**30)))),
        Block(2, ("a", "b", "a"), "y2", ("q", "k", "v")),
        Mix(("y2", "b"), ("o",), Parameter("p", ((1, 0),), ((True, False),), "slow")),
    ),
    "o",
    3,
    stem="s",
    family="mine",
    settings=(("a", 1), ("b", True), ("c", 0.5), ("d", "text")),
)


EVERYTHING = Topology(
    (
        Block(1, ("s",), "y1", hints=(("scale", F(1, 3)), ("rate", 0.5), ("left", 2))),
        Mix(
            ("s", "y1"),
            ("a",),
            Sum((Generated("g", (1, 2), (0, 1, 2), hidden=3), Parameter("p", ((1, F(1, 7)),), grain=Grain(4)))),
            ("y1", "s", "y1"),
            Norm("n", "layer"),
        ),
        Mix(("a", "s"), ("b",), Bernoulli("drop", ((F(1, 2), 1),))),
        Block(2, ("b", "b"), "y2", ("q", "k")),
        Mix(
            ("y2", "b"),
            ("o",),
            Times(Constant(((2,),)), Generated("e", (1, 2), (1, 0), each=True)),
            ("a", "b"),
            Norm("m"),
        ),
    ),
    "o",
    2,
    stem="s",
)


@pytest.mark.parametrize("topology", [*ALL, TWO_PORTS, EVERYTHING])
def test_json_round_trip(topology):
    _same(topology, from_dict(json.loads(json.dumps(to_dict(topology)))))


@pytest.mark.parametrize("topology", [*ALL, TWO_PORTS, EVERYTHING])
def test_saved_files_are_json_and_yaml(topology, tmp_path):
    path = topology.save(tmp_path / "topology.yaml")
    assert path == tmp_path / "topology.yaml"
    _same(topology, Topology.load(path))
    text = path.read_text()
    assert text.endswith("}\n")
    data = json.loads(text)
    assert data["format"] == FORMAT
    assert data["digest"] == topology.digest
    _same(topology, from_dict(yaml.safe_load(text)))
    assert list(tmp_path.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("topology", [*ALL, TWO_PORTS, EVERYTHING])
def test_networkx_round_trip(topology):
    graph = to_networkx(topology)
    assert isinstance(graph, nx.DiGraph)
    assert nx.is_directed_acyclic_graph(graph)
    _same(topology, from_networkx(graph))
    _same(topology, from_networkx(graph.copy()))
    shuffled = nx.DiGraph(**graph.graph)
    shuffled.add_nodes_from(reversed(list(graph.nodes(data=True))))
    shuffled.add_edges_from(reversed(list(graph.edges(data=True))))
    assert from_networkx(shuffled) == topology


def test_small_numbers_are_numbers_to_yaml_too(tmp_path):
    weights = Constant(((1e-05, -1e-05, 1.5e-07, 1e22, 2.5, 12, F(1, 3)),))
    sources = ("x0", *(f"y{n}" for n in range(1, 7)))
    ops = [Block(n, ("x0",), f"y{n}") for n in range(1, 7)]
    settings = (("rate", 1e-05), ("text", "2e-05"))
    topology = Topology((*ops, Mix(sources, ("o",), weights)), "o", 6, settings=settings)
    for small in (topology, families.ancre(3, temperature=1e-05)):
        text = small.save(tmp_path / "t.yaml").read_text()
        _same(small, from_dict(yaml.safe_load(text)))
        _same(small, from_dict(json.loads(text)))


def test_the_typed_graph_is_as_documented():
    graph = to_networkx(TWO_PORTS)
    assert graph.graph["settings"] == {"a": 1, "b": True, "c": 0.5, "d": "text"}
    assert graph.nodes["a"] == {"kind": "value"}
    assert graph.nodes["op", 0] == {"kind": "block", "number": 1, "name": "first", "ports": ("in",), "hints": ()}
    assert graph.nodes["op", 1]["weight"] == TWO_PORTS.mixes[0].weight
    assert graph.edges["b", ("op", 2)] == {"index": 1}
    assert graph.edges["a", ("op", 2)] == {"index": (0, 2)}, "one value at two ports"
    assert graph.edges[("op", 1), "b"] == {"index": 1}


def test_keys_norms_and_hints_in_the_typed_graph():
    graph = to_networkx(EVERYTHING)
    assert graph.nodes["op", 0]["hints"] == (("left", 2), ("rate", 0.5), ("scale", F(1, 3)))
    assert graph.nodes["op", 1]["norm"] == Norm("n", "layer")
    assert graph.nodes["op", 2]["norm"] is None
    assert graph.edges["y1", ("op", 1)] == {"index": 1, "key": (0, 2)}, "a source that is a key twice"
    assert graph.edges["s", ("op", 1)] == {"index": 0, "key": 1}
    assert graph.edges["a", ("op", 4)] == {"key": 0}, "a key alone"
    assert graph.edges["b", ("op", 3)] == {"index": (0, 1)}


def test_keys_norms_and_hints_in_the_form():
    ops = to_dict(EVERYTHING)["ops"]
    assert ops[0]["hints"] == {"left": 2, "rate": 0.5, "scale": "1/3"}
    assert ops[1]["keys"] == ["y1", "s", "y1"]
    assert ops[1]["norm"] == {"name": "n", "kind": "layer"}
    assert "keys" not in ops[2]
    assert "norm" not in ops[2]
    assert "hints" not in ops[3]
    data = to_dict(EVERYTHING)
    del data["ops"][4]["norm"]["kind"], data["digest"]
    assert from_dict(data) == EVERYTHING, "the kind of a norm is rms unless it says otherwise"


def test_the_form_leaves_out_what_has_a_default():
    data = to_dict(families.wiring(1))
    assert data["ops"] == [{"block": 1, "reads": ["x0"], "writes": "y1"}]
    blocks = [op for op in to_dict(TWO_PORTS)["ops"] if "block" in op]
    assert blocks[0]["name"] == "first"
    assert blocks[1]["ports"] == ["q", "k", "v"]
    minimal = {"ops": data["ops"], "output": "y1", "depth": 1}
    assert from_dict(minimal) == families.wiring(1)
    assert from_dict(minimal).family == "custom"


def _damaged(change):
    data = to_dict(families.dense(2))
    change(data)
    return data


def _set(*path, value):
    def change(data):
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


def _delete(*path):
    def change(data):
        for key in path[:-1]:
            data = data[key]
        del data[path[-1]]

    return change


DAMAGE = [
    (_delete("ops"), "the topology lacks ops"),
    (_delete("depth"), "the topology lacks depth"),
    (_set("extra", value=1), "the topology has the unknown key 'extra'"),
    (_set(3, value=1), "the topology has the unknown key '3'"),
    (_set("format", value="wireloom-topology-9"), "format is 'wireloom-topology-9'; this version reads"),
    (_set("ops", value={}), "ops is {}; a list was expected"),
    (_set("settings", value=[]), r"settings is \[\]; a dict was expected"),
    (_set("settings", "inner", value=None), "settings.inner is None; a plain value was expected"),
    (_set("settings", "inner", value=[1]), r"settings.inner is \[1\]"),
    (_set("output", value=3), "output is 3; a str was expected"),
    (_set("output", value="nowhere"), "the output 'nowhere' is written by nobody"),
    (_set("depth", value="2"), "depth is '2'; a int was expected"),
    (_set("depth", value=True), "depth is True; a int was expected"),
    (_set("depth", value=2.0), "depth is 2.0; a int was expected"),
    (_set("stem", value=None), "stem is None"),
    (_set("family", value=1), "family is 1"),
    (_set("ops", 0, value=7), r"ops\[0\]: an operation is a mapping with either 'block' or 'mix'; got 7"),
    (_set("ops", 0, value={"reads": []}), r"ops\[0\]: an operation is a mapping"),
    (_set("ops", 0, "mix", value=[]), r"ops\[0\]: an operation is a mapping with either"),
    (_delete("ops", 0, "reads"), r"ops\[0\] lacks reads"),
    (_delete("ops", 0, "writes"), r"ops\[0\] lacks writes"),
    (_set("ops", 0, "rank", value=1), r"ops\[0\] has the unknown key 'rank'"),
    (_set("ops", 0, "block", value="1"), r"ops\[0\].block is '1'; a int was expected"),
    (_set("ops", 0, "block", value=True), r"ops\[0\].block is True; a int was expected"),
    (_set("ops", 0, "reads", value="x0"), r"ops\[0\].reads is 'x0'; a list was expected"),
    (_set("ops", 0, "reads", value=[0]), r"ops\[0\].reads is 0; a str was expected"),
    (_set("ops", 0, "writes", value=["y1"]), r"ops\[0\].writes is \['y1'\]"),
    (_set("ops", 0, "ports", value="in"), r"ops\[0\].ports is 'in'"),
    (_set("ops", 0, "name", value=1), r"ops\[0\].name is 1"),
    (_set("ops", 0, "block", value=9), "block number 9 is outside 1..2"),
    (_delete("ops", 1, "weight"), r"ops\[1\] lacks weight"),
    (_set("ops", 1, "name", value="x"), r"ops\[1\] has the unknown key 'name'"),
    (_set("ops", 1, "mix", value="x1"), r"ops\[1\].mix is 'x1'; a list was expected"),
    (_set("ops", 1, "weight", value=1), r"ops\[1\].weight: a rule is a mapping"),
    (_set("ops", 1, "weight", "entries", value=[[1, "x"]]), r"ops\[1\].weight.entries: 'x' is not a number"),
    (_set("ops", 1, "weight", "entries", value=[[1, 2]]), "digest is '.*', but the program in this file has '"),
    (_set("digest", value="0" * 12), "the file was edited: remove the digest if that was meant"),
    (_set("digest", value=None), "digest is None"),
]


@pytest.mark.parametrize(("change", "says"), DAMAGE)
def test_damaged_data_names_the_place(change, says, tmp_path):
    data = _damaged(change)
    with pytest.raises(TopologyError, match=says):
        from_dict(data)
    path = tmp_path / "damaged.json"
    if all(isinstance(key, str) for key in data):
        path.write_text(json.dumps(data))
        with pytest.raises(TopologyError, match=f"damaged.json: .*{says}"):
            read(path)


EVERY_DAMAGE = [
    (_set("ops", 0, "hints", value=[]), r"ops\[0\].hints is \[\]; a dict was expected"),
    (_set("ops", 0, "hints", "rate", value=None), r"ops\[0\].hints.rate: None is not a number"),
    (_set("ops", 0, "hints", "rate", value="fast"), r"ops\[0\].hints.rate: 'fast' is not a number"),
    (_set("ops", 0, "hints", "rate", value=math.nan), r"block 1 has the hint rate: nan; a finite number"),
    (_set("ops", 0, "hints", "rate", value=10**400), r"block 1 has the hint rate: 1000.*; a finite number"),
    (_set("ops", 0, "hints", "a b", value=1), r"block 1 has the hint 'a b': 1; a word and a number"),
    (_set("ops", 0, "hints", "\x1b[2J", value=1), r"block 1 has the hint '\\x1b\[2J'"),
    (_set("ops", 1, "keys", value="y1"), r"ops\[1\].keys is 'y1'; a list was expected"),
    (_set("ops", 1, "keys", value=[1]), r"ops\[1\].keys is 1; a str was expected"),
    (_set("ops", 1, "keys", value=["y1"]), "the mix that writes a computes its weights from 3 keys, but lists 1"),
    (_delete("ops", 1, "keys"), "the mix that writes a computes its weights from 3 keys, but lists 0"),
    (_set("ops", 1, "keys", value=["y1", "s", "z"]), "the mix that writes a reads 'z', which nobody writes"),
    (_set("ops", 2, "keys", value=["y1"]), "the mix that writes b lists keys, but its weights are not computed"),
    (_set("ops", 1, "norm", value="rms"), r"ops\[1\].norm is 'rms'; a dict was expected"),
    (_set("ops", 1, "norm", value=None), r"ops\[1\].norm is None; a dict was expected"),
    (_set("ops", 1, "norm", value={}), r"ops\[1\].norm lacks name"),
    (_set("ops", 1, "norm", "name", value=3), r"ops\[1\].norm.name is 3; a str was expected"),
    (_set("ops", 1, "norm", "name", value="a b"), r"ops\[1\].norm: parameter name 'a b' is not a word"),
    (_set("ops", 1, "norm", "kind", value="batch"), r"ops\[1\].norm: norm n: kind 'batch'; rms or layer was expected"),
    (_set("ops", 1, "norm", "kind", value=None), r"ops\[1\].norm.kind is None"),
    (_set("ops", 1, "norm", "eps", value=0.1), r"ops\[1\].norm has the unknown key 'eps'"),
    (_set("ops", 1, "weight", "terms", 0, "hidden", value=1.5), r"ops\[1\].weight.terms\[0\].hidden: a whole number"),
    (_set("ops", 1, "weight", "terms", 1, "grain", value="x"), r"ops\[1\].weight.terms\[1\].grain: grain 'x'"),
    (_set("ops", 2, "weight", "keep", value=[[2, 1]]), r"ops\[2\].weight: a keep probability of 2; 0 to 1"),
    (_set("ops", 4, "weight", "right", "keys", value=[1]), r"ops\[4\].weight.right: generated weight e has 1 keys"),
    (_set("ops", 0, "keys", value=["s"]), r"ops\[0\] has the unknown key 'keys'"),
    (_set("ops", 1, "hints", value={}), r"ops\[1\] has the unknown key 'hints'"),
    (_set("settings", "a", value="\x1b[2J"), r"the setting a is '\\x1b\[2J', which has characters that cannot"),
    (_set("depth", value=10**9), "depth is 1000000000; at most 10000 blocks"),
]


@pytest.mark.parametrize(("change", "says"), EVERY_DAMAGE)
def test_damage_to_keys_norms_and_hints_names_the_place(change, says, tmp_path):
    data = to_dict(EVERYTHING)
    change(data)
    with pytest.raises(TopologyError, match=says):
        from_dict(data)
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(data))
    with pytest.raises(TopologyError, match=f"damaged.json: .*{says}"):
        read(path)


def test_numbers_of_thousands_of_digits_are_refused(tmp_path):
    path = tmp_path / "long.json"
    for digits in (350, 4000, 5000, 100_000):
        path.write_text(json.dumps(to_dict(families.residual(1))).replace("[[1, 1]]", f"[[1, {'9' * digits}]]"))
        start = time.perf_counter()
        with pytest.raises(TopologyError, match=r"long.json: "):
            read(path)
        assert time.perf_counter() - start < 1


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_loading_executes_nothing(tmp_path):
    sign, path = tmp_path / "sign", tmp_path / "trap.json"
    call = f"__import__('pathlib').Path({str(sign)!r}).touch()"
    path.write_bytes(pickle.dumps(Trap(sign)))
    texts = [f"!!python/object/apply:builtins.eval [{call!r}]", call, f"{{'depth': {call}}}"]
    for text in (None, *texts):
        if text is not None:
            path.write_text(text)
        with pytest.raises(TopologyError, match=r"trap.json"):
            Topology.load(path)
    data = to_dict(EVERYTHING)
    for place in (
        ("family",),
        ("ops", 0, "name"),
        ("ops", 1, "weight", "terms", 1, "initial"),
        ("ops", 1, "norm", "name"),
    ):
        changed = json.loads(json.dumps(data))
        _set(*place, value=call)(changed)
        changed.pop("digest")
        path.write_text(json.dumps(changed))
        if place in (("family",), ("ops", 0, "name")):
            assert Topology.load(path) == EVERYTHING, "a name is a name"
        else:
            with pytest.raises(TopologyError, match=r"trap.json: ops\[1\]"):
                Topology.load(path)
    assert not sign.exists()
    pickle.loads(pickle.dumps(Trap(sign))).close()
    assert sign.exists(), "the trap does work"


@pytest.mark.parametrize("data", [None, [], "text", 3])
def test_a_file_holds_a_mapping(data):
    with pytest.raises(TopologyError, match="a topology file holds a mapping, not"):
        from_dict(data)


def test_an_edited_program_loads_without_its_digest():
    data = _damaged(_set("ops", 1, "weight", "entries", value=[[1, 2]]))
    del data["digest"]
    assert from_dict(data) != families.dense(2)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(TopologyError, match=r"missing.json: cannot be read: No such file"):
        read(tmp_path / "missing.json")
    with pytest.raises(TopologyError, match="cannot be read: Is a directory"):
        read(tmp_path)
    bad = tmp_path / "bad.json"
    bad.write_text('{"ops": [],\n oops}')
    with pytest.raises(TopologyError, match=r"bad.json:2: not JSON \(.*\); hand-written YAML is read by"):
        read(bad)
    bad.write_text("")
    with pytest.raises(TopologyError, match="not JSON"):
        read(bad)
    bad.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TopologyError, match=r"bad.json: cannot be read"):
        read(bad)
    bad.write_text("[" * 100_000)
    with pytest.raises(TopologyError, match=r"bad.json"):
        read(bad)


def test_a_repeated_key_is_refused(tmp_path):
    file = tmp_path / "twice.yaml"
    file.write_text('{"depth": 1, "ops": [], "output": "x0", "depth": 2}')
    with pytest.raises(TopologyError, match=r"twice.yaml: the key 'depth' is there twice"):
        Topology.load(file)


def test_an_unwritable_target_leaves_nothing_behind(tmp_path):
    topology = families.residual(2)
    with pytest.raises(TopologyError, match=r"t.json: cannot be written: No such file"):
        topology.save(tmp_path / "missing" / "t.json")
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(TopologyError, match="folder: cannot be written"):
        topology.save(folder)
    assert list(tmp_path.iterdir()) == [folder]
    assert list(folder.iterdir()) == []


def test_an_old_file_survives_a_failed_write(tmp_path, monkeypatch):
    path = tmp_path / "t.json"
    path.write_text("old")

    def fails(*_args, **_kw):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", fails)
    with pytest.raises(TopologyError, match="No space left"):
        write_text(path, "new")
    monkeypatch.undo()
    monkeypatch.setattr(os, "fdopen", lambda handle, *_args, **_kw: os.close(handle) or fails())
    with pytest.raises(TopologyError, match="No space left"):
        write_text(path, "new")
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"


def test_a_plain_dag():
    topology = Topology.from_networkx(nx.DiGraph([(0, 1), (1, 2), (0, 2), (2, 3), (1, 3)]))
    assert topology.depth == 2
    assert topology.matrix().tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    assert topology == families.wiring(2, edges=[(0, 2), (1, 3)])
    assert topology.family == "custom"


def test_edge_weights_of_a_plain_dag():
    graph = nx.DiGraph()
    graph.add_edge(0, 1, weight=0.5)
    graph.add_edge(1, 2, weight=-2)
    graph.add_edge(0, 2, weight=F(1, 3))
    graph.add_edge(2, 3)
    graph.add_edge(0, 3, weight=0)
    topology = from_networkx(graph)
    assert topology.matrix().tolist() == [[0.5, 0, 0], [1 / 3, -2, 0], [0, 0, 1]]
    assert topology.producers["u2"].weight == Constant(((F(1, 3), -2),))
    assert from_networkx(nx.DiGraph([(0, 1), (1, 2)])) == families.wiring(1)


def _plain(*edges, **weights):
    graph = nx.DiGraph(edges)
    nx.set_edge_attributes(graph, weights)
    return graph


def _weighted(weight):
    graph = nx.DiGraph([(0, 1), (1, 2)])
    graph.edges[0, 1]["weight"] = weight
    return graph


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (_plain((0, 1), (1, 3)), "without a gap"),
        (_plain((0, 1)), "without a gap"),
        (_plain((1, 2), (2, 3)), "without a gap"),
        (_plain(("a", "b"), ("b", "c")), "integer nodes 0"),
        (nx.DiGraph(), "integer nodes 0"),
        (_plain((0, 1), (1, 2), (2, 1), (2, 3)), r"a cycle: (1 -> 2 -> 1|2 -> 1 -> 2); a topology has no loops"),
        (_plain((0, 1), (1, 1), (1, 2)), "a cycle: 1 -> 1"),
        (_plain((0, 2), (2, 1), (1, 3)), r"edge \(2, 1\) runs backwards"),
        (_plain((1, 0), (1, 2)), "node 0 is the stem and reads nothing"),
        (_plain((0, 1), (3, 2), (1, 2)), "node 3 is the output and nobody reads it"),
        (_plain((0, 2), (1, 2), (2, 3)), "node 1 has no predecessor"),
        (nx.DiGraph({0: [1], 1: [], 2: []}), "node 2 has no predecessor; every block and the output must be fed"),
        (nx.Graph([(0, 1), (1, 2)]), "a networkx.DiGraph was expected, not Graph; orient"),
        (nx.MultiDiGraph([(0, 1), (1, 2)]), "a networkx.DiGraph was expected, not MultiDiGraph"),
        ([(0, 1)], "not list"),
        (None, "not NoneType"),
        (_weighted(float("nan")), r"edge \(0, 1\): weight .* is nan; a finite number"),
        (_weighted(float("inf")), r"edge \(0, 1\): .*finite"),
        (_weighted("2"), r"edge \(0, 1\) has the weight '2'; a number was expected"),
        (_weighted(True), r"edge \(0, 1\) has the weight True"),
        (_weighted(None), r"edge \(0, 1\) has the weight None"),
    ],
)
def test_graphs_that_are_no_topology(graph, says):
    with pytest.raises(TopologyError, match=says):
        Topology.from_networkx(graph)


def _broken(change):
    graph = to_networkx(TWO_PORTS)
    change(graph)
    return graph


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda g: g.graph.pop("stem"), "a typed graph lacks the graph attribute stem"),
        (lambda g: (g.graph.pop("output"), g.graph.pop("depth")), "graph attribute depth, output"),
        (lambda g: g.add_edge("s", ("op", 9)), r"node \('op', 9\) .*index"),
        (lambda g: g.add_node("stray"), "node 'stray' has kind None and 0 outputs"),
        (lambda g: g.nodes["op", 0].update(kind="layer"), "has kind 'layer'"),
        (lambda g: g.add_edge(("op", 0), "more", index=1), r"node \('op', 0\) has kind 'block' and 2 outputs"),
        (lambda g: g.nodes["op", 0].pop("number"), r"node \('op', 0\) .* lacks the attribute 'number'"),
        (lambda g: g.nodes["op", 1].pop("weight"), r"node \('op', 1\) .* lacks the attribute 'weight'"),
        (lambda g: g.edges["s", ("op", 0)].pop("index"), r"node \('op', 0\) .* lacks the attribute 'index'"),
        (lambda g: g.remove_node("y1"), "block 2|reads|shape|sources|outputs"),
        (lambda g: g.nodes["op", 1].update(weight=0.5), "the mix that writes a, b has the weight 0.5; a weight rule"),
        (lambda g: g.nodes["op", 1].update(weight=[[1, 1]]), r"writes a, b has the weight \[\[1, 1\]\]"),
        (lambda g: g.nodes["op", 1].update(norm="rms"), "writes a, b has the norm 'rms'; a Norm or None"),
        (lambda g: g.nodes["op", 1].update(norm=Norm("n")), "writes a, b has a norm and 2 outputs"),
        (lambda g: g.nodes["op", 0].update(number="1"), "block number '1' is outside 1..3"),
        (lambda g: g.nodes["op", 0].update(name=7), "the name 7 is empty"),
        (lambda g: g.nodes["op", 0].update(hints=(("a", 1), ("a", 2))), "block 1 has the hint 'a' twice"),
        (lambda g: g.edges["s", ("op", 1)].update(key=0), "writes a, b lists keys, but its weights are not computed"),
        (lambda g: g.add_edge("y2", ("op", 1), index=2), "so its weight must have shape|a cycle"),
    ],
)
def test_typed_graphs_that_are_damaged(change, says):
    with pytest.raises(TopologyError, match=says):
        from_networkx(_broken(change))


def test_a_typed_graph_may_leave_out_where_it_came_from():
    graph = to_networkx(families.hyper(1, streams=2))
    del graph.graph["family"], graph.graph["settings"]
    assert from_networkx(graph) == families.hyper(1, streams=2)
    assert from_networkx(graph).family == "custom"
    bare = Topology((Block(1, ("x0",), "y1"), Mix(("y1",), ("o",), ones(1, 1))), "o", 1)
    assert from_networkx(to_networkx(bare)) == bare
