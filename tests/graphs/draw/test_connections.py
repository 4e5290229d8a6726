import numpy as np
import pytest
from graph_samples import FAMILIES, sample

from graphs import Block, Constant, Mix, Parameter, Product, Softmax, Topology, TopologyError, UserError, families
from graphs.draw.connections import connections, needed
from graphs.matrix import connection_matrix
from graphs.weights import evaluate, parameters, support


def ones(*names):
    return Mix(names, ("o",), Constant(((1,) * len(names),)))


@pytest.fixture
def per_token(monkeypatch):
    """Makes parameters of chosen names behave as weights that are chosen per token: without a matrix of their own."""
    names = set()

    def refuse(weight, values=None):
        if names & {parameter.name for parameter in parameters(weight)}:
            raise TopologyError("chosen per token")
        return evaluate(weight, values)

    monkeypatch.setattr("graphs.matrix.evaluate", refuse)
    monkeypatch.setattr("graphs.draw.connections.evaluate", refuse)
    return names


@pytest.mark.parametrize("name", FAMILIES)
def test_the_weights_are_the_matrix(name):
    topology = FAMILIES[name]()
    for one in connections(topology):
        try:
            matrix = topology.matrix(one.port)
        except TopologyError:
            assert one.unknown.any()
            continue
        assert np.array_equal(one.weights, matrix)
        assert not one.unknown.any()


def moved(topology, one, seed):
    """Which entries change under other values of the learned scalars."""
    rng = np.random.default_rng(seed)
    known = {p.name: p for mix in topology.mixes for p in parameters(mix.weight)}
    result = np.zeros_like(one.learned)
    for _ in range(4):
        values = {
            name: tuple(
                tuple(float(rng.normal()) if p.trains(i, j) else entry for j, entry in enumerate(row))
                for i, row in enumerate(p.initial)
            )
            for name, p in known.items()
        }
        result |= ~np.isclose(connection_matrix(topology, values, one.port), one.weights, rtol=1e-9, atol=1e-12)
    return result


@pytest.mark.parametrize("seed", range(60))
def test_what_other_values_change_is_learned(seed):
    topology = sample(seed, uniform=False)
    for one in connections(topology):
        if one.varies.any():
            continue  # there are no other numbers to try
        assert not (moved(topology, one, seed) & ~one.learned).any()


PLAIN = ("residual", "to_output", "dense", "dense-plain", "dense-period", "hyper", "hyper-one", "hyper-tied", "ancre")


@pytest.mark.parametrize("name", [*PLAIN, "ancre-period", "wiring", "wiring-learned"])
def test_in_these_families_nothing_else_is_learned(name):
    """Elsewhere learned weights may cancel: those of x0 in a plain ancre add up to one, whatever the gates."""
    (one,) = connections(FAMILIES[name]())
    assert np.array_equal(moved(FAMILIES[name](), one, 0), one.learned)


@pytest.mark.parametrize(
    ("topology", "learned", "latent"),
    [
        (families.residual(6), 0, 0),
        (families.to_output(6), 0, 0),
        (families.dense(6), 27, 0),
        (families.dense(6, inner=False), 27, 21),
        (families.wiring(6, edges=[(0, 3), (1, 7)]), 0, 0),
        (families.wiring(6, edges=[(0, 3), (1, 7)], learned=True), 4, 0),
        (families.hyper(6), 28, 0),
    ],
    ids=str,
)
def test_what_the_families_learn(topology, learned, latent):
    (one,) = connections(topology)
    assert (one.learned.sum(), one.latent.sum()) == (learned, latent)


def test_a_softmax_of_one_source_and_of_fixed_logits_learns_nothing():
    alone = Softmax(Parameter("a", ((0,),)))
    fixed = Softmax(Constant(((0, 1),)))
    free = Softmax(Parameter("b", ((0, 0),), ((True, False),)))
    for weight, expected in ((Product(Constant(((1,), (0,))), alone), None), (fixed, 0), (free, 2)):
        if expected is not None:
            topology = Topology((Block(1, ("x0",), "y1"), Mix(("x0", "y1"), ("o",), weight)), "o", 1)
            assert connections(topology)[0].learned.sum() == expected
    topology = Topology((Block(1, ("x0",), "y1"), Mix(("y1",), ("o",), alone)), "o", 1)
    assert connections(topology)[0].learned.sum() == 0


def test_where_weights_are_per_token_the_rest_stays_known(per_token):
    topology = families.dense(4, inner=False)
    whole = topology.matrix()
    per_token |= {"average2"}
    with pytest.raises(TopologyError):
        topology.matrix()
    (one,) = connections(topology)
    assert one.unknown.sum(axis=1).tolist() == [0, 0, 3, 0, 0], "block 3 reads what average2 mixed"
    assert one.unknown[2].tolist() == [True, True, True, False, False]
    assert np.array_equal(one.weights[~one.unknown], whole[~one.unknown])
    assert not (one.latent & one.unknown).any()
    assert np.array_equal(one.varies, one.unknown)
    assert one.largest.tolist() == [1, 1, 0, 1, 1]
    assert needed((one,)).all()


def test_what_is_mixed_from_a_weight_per_token_is_unknown_too(per_token):
    topology = families.ancre(4)
    per_token |= {"gates2"}
    (one,) = connections(topology)
    tail = one.unknown[2:]
    assert tail[:, :2].all(), "h2 and all that add it up read x0 and block 1 by an unknown weight"
    assert not one.unknown[:2].any()
    assert not one.unknown[0, 0]


def test_only_support_is_unknown(per_token):
    weight = Parameter("w", ((0, 1, 5),), ((False, True, True),))
    topology = Topology(
        (Block(1, ("x0",), "y1"), Block(2, ("y1",), "y2"), Mix(("x0", "y1", "y2"), ("o",), weight)), "o", 2
    )
    per_token |= {"w"}
    assert connections(topology)[0].unknown[2].tolist() == [False, True, True]


class _PerToken:
    """A weight rule as others may add them: computed per token, with the numbers it starts at."""

    per_token = True
    shape = (1, 2)


def test_a_rule_of_another_kind_varies_and_keeps_its_start(monkeypatch):
    rule = _PerToken()
    monkeypatch.setattr(
        "graphs.draw.connections.evaluate", lambda weight: (weight is rule and ((0, 1),)) or evaluate(weight)
    )
    monkeypatch.setattr(
        "graphs.draw.connections.support", lambda weight: (weight is rule and ((1, 1),)) or support(weight)
    )
    topology = Topology((Block(1, ("x0",), "y1"), ones("x0", "y1")), "o", 1)
    object.__setattr__(topology.ops[1], "weight", rule)
    monkeypatch.setattr("graphs.topology.Topology.matrix", lambda topology, port: np.array([[1.0, 0], [0, 1]]))
    (one,) = connections(topology)
    assert one.varies.tolist() == one.learned.tolist() == [[False, False], [True, True]]
    assert not one.unknown.any()
    assert one.latent.tolist() == [[False, False], [True, False]]


def test_after_a_norm_nothing_has_a_fixed_weight(monkeypatch):
    topology = families.residual(3)
    for op in topology.mixes:
        if op.writes == ("h2",):
            object.__setattr__(op, "norm", "rms")

    def refuse(topology, port):
        raise TopologyError("normalised token by token")

    monkeypatch.setattr("graphs.topology.Topology.matrix", refuse)
    (one,) = connections(topology)
    assert one.unknown.sum(axis=1).tolist() == [0, 0, 3, 3]
    assert one.weights[:2].tolist() == [[1, 0, 0, 0], [1, 1, 0, 0]]
    assert one.weights[3, 3] == 1


def test_ports():
    blocks = (
        Block(1, ("x0",), "y1"),
        Block(2, ("x0", "y1"), "y2", ("q", "memory")),
        Block(3, ("y2", "y1"), "y3", ("memory", "q")),
    )
    topology = Topology((*blocks, ones("y1", "y3")), "o", 3)
    found = {one.port: one for one in connections(topology)}
    assert list(found) == ["in", "q", "memory"]
    assert found["q"].rows.tolist() == [False, True, True, True]
    assert found["q"].weights.tolist() == [[0] * 4, [1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 1]]
    assert found["memory"].weights.tolist() == [[0] * 4, [0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 0, 1]]


def test_blocks_that_nothing_needs():
    blocks = (Block(1, ("x0",), "y1"), Block(2, ("y1",), "y2"), Block(4, ("y1",), "y4"))
    shown = connections(Topology((*blocks, ones("x0", "y4")), "o", 4))
    assert needed(shown).tolist() == [True, True, False, False, True]
    assert shown[0].rows.tolist() == [True, True, False, True, True], "block 3 is not listed"


def test_shares_are_relative_to_the_row():
    matrix = np.array([[4.0, 0, 0], [0, 0, 0], [-2, 1, 0.5]])
    (one,) = connections(families.residual(2), matrix)
    assert one.shares.tolist() == [[1, 0, 0], [0, 0, 0], [-1, 0.5, 0.25]]
    assert one.largest.tolist() == [4, 0, 2]
    assert one.uneven
    assert not connections(families.residual(2))[0].uneven


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((2, 2)), r"shape \(2, 2\); \(3, 3\) was expected at depth 2"),
        (np.ones(3), r"shape \(3,\)"),
        (np.full((3, 3), np.nan), "not finite"),
        ({"q": np.ones((3, 3))}, "port 'q'; the ports are in"),
    ],
)
def test_a_matrix_that_does_not_belong(matrix, message):
    with pytest.raises(UserError, match=message):
        connections(families.residual(2), matrix)
