import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs import Topology, families
from nas.experiment import Experiment
from nas.proposal_file import MAX_BYTES, MAX_NOTE, read_proposal
from search_space.document import dump

CHAIN = [[0, 1], [1, 2], [2, 3]]


@pytest.fixture
def take(make):
    experiment = make()
    return lambda data: read_proposal(data if isinstance(data, bytes) else dump(data).encode(), "mine", experiment)


@pytest.fixture(scope="module")
def small(tmp_path_factory, wide):
    path = tmp_path_factory.mktemp("small") / "small.yaml"
    train = {"budget_gflops": 0.05, "batch": 32, "lr": 4.0e-3, "warmup": 0.1}
    fixed = {"name": "small", "seed": 0, "trials": 2, "data": {"kind": "digits"}, "space": wide, "train": train}
    rest = {
        "backbone": {"kind": "mixer", "dim": 8, "patch": 4},
        "objectives": [{"metric": "accuracy", "goal": "maximize"}],
    }
    path.write_text(dump(fixed | rest))
    return Experiment.load(path)


def test_edges_are_a_topology(take):
    found = take({"depth": 2, "edges": [*CHAIN, [0, 3, 0.5]], "note": "a hunch", "parent": 7})
    assert found.problem is None
    assert found.source == "open:mine"
    assert found.topology is not None
    assert found.topology.digest == families.wiring(2, edges=[(0, 3)], weights={(0, 3): 0.5}).digest
    assert found.point.to_dict() == {"family": "custom", "depth": 2, "proposal": "mine"}
    said = found.extra["proposal"]
    assert (said["name"], said["note"], said["parent"]) == ("mine", "a hunch", "7")
    assert "edges" in said["text"]


def test_the_text_in_the_log_makes_the_same_proposal_again(take):
    first = take({"depth": 3, "edges": [*CHAIN, [3, 4]], "note": "ü"})
    again = take(first.extra["proposal"]["text"].encode())
    assert again.topology == first.topology
    assert again.extra == first.extra


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("family", [families.hyper(3, streams=2), families.dense(2), families.attnres(3)])
def test_a_topology_in_its_own_text(take, family, wrapped):
    data = family.to_dict()
    found = take({"topology": data} if wrapped else data | {"note": "as saved"})
    assert found.problem is None
    assert found.topology == family
    assert (found.topology.family, found.topology.settings) == ("custom", ())  # what it says of itself is dropped


def test_json_is_yaml(take):
    assert take(json.dumps({"depth": 2, "edges": CHAIN}).encode()).problem is None


def test_a_point_of_the_space_is_that_point(take, make):
    point = next(point for point in make().space.baselines() if point.family == "hyper")
    found = take({"point": point.to_dict()})
    assert (found.point, found.topology, found.problem) == (point, None, None)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"depth": 2}, "one of edges, topology, ops .* and point; this has none"),
        ({"depth": 2, "edges": CHAIN, "point": {}}, "this has edges and point"),
        ({"depth": 2, "edges": CHAIN, "nota": "x"}, "mine.yaml:.*unknown key 'nota'; did you mean 'note'"),
        ({"depth": 9, "edges": [[i, i + 1] for i in range(10)]}, "depth 9 is not one of this search.*2 to 3"),
        ({"depth": 2, "edges": [[0, 1]]}, "edges: block 2 reads nothing"),
        ({"depth": "2", "edges": CHAIN}, "write 'depth: N'"),
        ({"depth": 2, "edges": 7}, "a list of edges was expected"),
        ({"depth": 2, "edges": CHAIN, "learned": 1}, "true or false was expected"),
        ({"depth": 2, "edges": CHAIN, "note": "x" * (MAX_NOTE + 1)}, "note: 2,001 characters"),
        ({"depth": 2, "edges": CHAIN, "note": ["x"]}, "note: a text was expected"),
        ({"point": {"family": "residual", "depth": 99}}, "point: .*depth is 99"),
        ({"point": {"family": "hyper", "depth": 2}}, "hyper.streams is missing"),
        ({"point": 3}, "values of a point by name"),
        ({"topology": {"ops": []}}, "topology: .*lacks"),
        ({"topology": 3}, "a topology file holds a mapping"),
        (b"depth: 2\nedges: [[0, 1]\n", "mine.yaml:.*not valid YAML"),
        (b"a: &x 1\nb: *x\n", "anchors and aliases"),
        (b"edges: !!python/object/apply:os.system [x]\n", "is not allowed"),
        (b"\xff\xfe", "not UTF-8"),
        (b"", "the file is empty"),
        (b"#" * (MAX_BYTES + 1), "262,145 bytes; a proposal has at most 262,144"),
    ],
)
def test_what_is_wrong_is_its_problem_and_no_exception(take, data, message):
    found = take(data)
    assert found.topology is None
    assert found.problem is not None
    assert re.search(message, found.problem), found.problem
    assert found.source == "open:mine"
    assert found.point.family == "custom"


def test_few_letters_cannot_stand_for_much_work(take):
    data = families.mhc(2, streams=2).to_dict()
    text = json.dumps(data)
    assert '"rule": "sinkhorn"' in text
    huge = json.loads(
        text, object_hook=lambda one: one | ({"iterations": 10**9} if one.get("rule") == "sinkhorn" else {})
    )
    huge.pop("digest")
    found = take({"topology": huge})
    assert found.problem is not None
    assert "a size of 1,000,000,000; at most 1,024" in found.problem


def test_a_digest_that_is_not_its_own_is_refused(take):
    found = take({"topology": Topology.to_dict(families.residual(2)) | {"digest": "0" * 12}})
    assert found.problem is not None
    assert "digest" in found.problem


@given(st.binary(max_size=60))
def test_no_bytes_whatever_raise(small, data):
    assert read_proposal(data, "mine", small).source == "open:mine"
