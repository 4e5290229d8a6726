import shutil

import pytest
import torch

import graphs
from graphs import Topology
from nas.edges import Importance
from nas.evaluate import accuracy_of, build_model, dataset
from nas.importance import importance
from trainers import checkpoint
from trainers.metrics import evaluate as measure

BACKBONE = {"kind": "mixer", "dim": 8, "patch": 4}


def model_of(topology):
    return build_model(topology, BACKBONE, seed=0, **dataset("digits").facts)


def test_dropping_an_edge_is_the_topology_without_it():
    # Node 3 is the output; every edge has weight 1, so that without 0-2 it is the other topology.
    import networkx as nx

    edges = [(0, 1), (1, 2), (0, 2), (2, 3), (1, 3)]
    whole = Topology.from_networkx(nx.DiGraph(edges))
    model = model_of(whole)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = importance(model, whole, "digits")
    assert found.accuracy == accuracy_of(model, "digits")[0]
    assert found.samples == 748
    assert len(found.edges) == 5
    for edge in found.edges:
        reader = edge.reader or 3
        less = [pair for pair in edges if pair != (edge.source, reader)]
        if {node for node, _ in less} != {0, 1, 2} or {node for _, node in less} != {1, 2, 3}:
            continue  # a node would be left without a reader or with nothing to read
        other = model_of(Topology.from_networkx(nx.DiGraph(less)))
        accuracy, loss = measure(other, dataset("digits").validation)
        assert found.accuracy + edge.accuracy == pytest.approx(accuracy, abs=1e-9), edge
        assert measure(model, dataset("digits").validation)[1] + edge.loss == pytest.approx(loss, abs=1e-5), edge
    assert {str(edge) for edge in found.edges} == {"stem to 1", "1 to 2", "stem to 2", "2 to output", "1 to output"}
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model.body._forward_hooks
    assert [edge.accuracy for edge in found.edges] == sorted(edge.accuracy for edge in found.edges)


def test_trained_weights_count_and_streams_are_looked_through():
    topology = graphs.families.hyper(depth=2, streams=2)
    model = model_of(topology)
    with torch.no_grad():
        for parameter in model.body.weights.parameters():
            parameter += 0.25
    found = importance(model, topology, "digits")
    matrix = model.body.matrix()
    for edge in found.edges:
        assert edge.weight == matrix[(edge.reader or 3) - 1][edge.source]


def test_where_edges_have_no_one_weight_it_says_so():
    for topology in (graphs.families.attnres(depth=2), graphs.families.layerscale(depth=2)):
        found = importance(model_of(topology), topology, "digits")
        assert found.edges == ()
        assert found.problem.startswith("edges cannot be taken out one by one: ")


def test_it_is_kept_for_its_topology_alone(tmp_path):
    topology = graphs.families.residual(depth=2)
    found = importance(model_of(topology), topology, "digits")
    found.save(tmp_path / "i.json")
    assert Importance.load(tmp_path / "i.json", topology.digest) == found
    assert Importance.load(tmp_path / "i.json", "another") is None
    (tmp_path / "i.json").write_text('{"digest": 3}')
    assert Importance.load(tmp_path / "i.json", topology.digest) is None
    assert Importance.load(tmp_path / "no.json", topology.digest) is None


@pytest.mark.parametrize("harm", ["cut off", "another's", "gone"])
def test_weights_that_are_not_whole_are_one_message_and_the_rest_is_written(finished, tmp_path, wireloom, harm):
    run = shutil.copytree(finished, tmp_path / "run")
    log = (run / "events.jsonl").read_bytes()
    (run / "winner" / "importance.json").unlink()
    (run / "report.html").unlink()
    for path in (run / "weights").iterdir():
        content = path.read_bytes()
        path.unlink()
        if harm == "cut off":
            path.write_bytes(content[:100])
        elif harm == "another's":
            checkpoint.save(path, {"x": torch.zeros(1)}, {"digest": "0" * 12})
    done = wireloom("report", run)
    assert (run / "report.html").is_file()
    assert (run / "events.jsonl").read_bytes() == log
    if harm == "gone":  # tidied away on purpose, perhaps
        assert done.status == 0
        assert "weights are not in the run" in (run / "report.html").read_text()
        return
    assert done.status == 2
    assert done.err.startswith("wireloom: ")
    assert done.err.count("\n") == 1
    assert "trial-" in done.err
    assert "Traceback" not in done.err
    assert not (run / "winner" / "importance.json").exists()
