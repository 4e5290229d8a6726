import json
from types import SimpleNamespace

from nas.coverage import coverage
from nas.ledger import Ask
from search_space.document import read
from search_space.point import Answers
from search_space.space import Space

SPACE = """
space:
  depth: [2, 3]
  families:
    residual: {}
    ancre: {temperature: {low: 0.01, high: 1.0, log: true}}
    hyper: {streams: [2, 4]}
    wiring: {edges: {low: 1, high: 3}}
"""


def asks(space, *answers):
    """Asks of points: a source, a verdict and answers each."""
    found = []
    for index, (source, verdict, given) in enumerate(answers):
        point = space.ask(Answers(given, otherwise=0.0))
        found.append(Ask(index, point, source, verdict, str(index), index))
    return SimpleNamespace(asks=found)


def test_counts_by_hand(tmp_path):
    (tmp_path / "s.yaml").write_text(SPACE)
    space = Space.parse(read(tmp_path / "s.yaml"))
    ledger = asks(
        space,
        ("baseline", "job", {"family": "residual", "depth": 3}),
        ("tpe", "job", {"family": "hyper", "depth": 2, "hyper.streams": 4}),
        ("tpe", "rejected", {"family": "hyper", "depth": 2, "hyper.streams": 4}),
        ("random", "duplicate", {"family": "ancre", "depth": 2, "ancre.temperature": 0.02}),
        ("tpe", "job", {"family": "wiring", "depth": 2, "wiring.edges": 1, "wiring.priority.0-2": 1.0}),
        ("tpe", "job", {"family": "wiring", "depth": 2, "wiring.edges": 2, "wiring.priority.0-out": 1.0,
                        "wiring.priority.0-2": 0.5}),
    )  # fmt: skip
    found = coverage(space, ledger)
    assert found.asks == 5
    rows = {(one.parameter, one.value): (one.declared, one.asked, one.asks, one.trained) for one in found.marginals}
    assert rows["family", "residual"] == (0.25, 0, 5, 1)
    assert rows["family", "hyper"] == (0.25, 2, 5, 1)
    assert rows["family", "ancre"] == (0.25, 1, 5, 0)
    assert rows["depth", "2"] == (0.5, 5, 5, 3)
    assert rows["depth", "3"] == (0.5, 0, 5, 1)
    assert rows["hyper.streams", "4"] == (0.5, 2, 2, 1)
    assert rows["hyper.streams", "2"] == (0.5, 0, 2, 0)
    assert rows["wiring.edges", "1"] == (1 / 3, 1, 2, 1)
    assert rows["wiring.edges", "3"] == (1 / 3, 0, 2, 0)
    temperature = [one for one in found.marginals if one.parameter == "ancre.temperature"]
    # Four bins even in the logarithm; 0.02 is in the first one.
    assert [one.value for one in temperature] == ["0.01 .. 0.03162", "0.03162 .. 0.1", "0.1 .. 0.3162", "0.3162 .. 1"]
    assert [(one.asked, one.trained) for one in temperature] == [(1, 0), (0, 0), (0, 0), (0, 0)]
    edges = {(one.depth, one.edge): (one.asked, one.asks, one.trained) for one in found.edges}
    assert edges == {(2, "0-2"): (2, 2, 2), (2, "0-out"): (1, 2, 1), (2, "1-out"): (0, 2, 0)}
    assert [one.edge for one in found.missed_edges] == ["1-out"]
    assert ("family", "ancre") in {(one.parameter, one.value) for one in found.missed}
    assert json.loads(json.dumps(found.to_dict()))["asks"] == 5
    # What is fixed has nothing to cover.
    assert not any(one.parameter == "ancre.normalise" for one in found.marginals)


def test_a_search_that_asked_for_nothing(tmp_path):
    (tmp_path / "s.yaml").write_text(SPACE)
    found = coverage(Space.parse(read(tmp_path / "s.yaml")), SimpleNamespace(asks=[]))
    assert found.asks == 0
    assert all((one.asked, one.asks, one.trained) == (0, 0, 0) for one in found.marginals)
    assert found.edges == ()
    shares = {}
    for one in found.marginals:
        shares[one.parameter] = shares.get(one.parameter, 0) + one.declared
    assert all(abs(total - 1) < 1e-9 for total in shares.values())
