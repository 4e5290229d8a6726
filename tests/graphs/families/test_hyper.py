import numpy as np
import pytest

from graphs import TopologyError, families, lower
from graphs.cost import wiring_sizes
from graphs.matrix import connection_rows
from graphs.weights import parameters


def _published(depth, n, width, write):
    """u = A_m^T X, X' = A_r^T X, X_next = B^T y + X' with the paper's source-first matrices, X_1 = n copies."""
    unit = np.eye(depth + 1)
    state, reads = np.stack([unit[0]] * n), []
    for k in range(1, depth + 1):
        a_m, a_r = width[k][0][:, None], width[k][1:].T  # stored destination first
        reads.append((a_m.T @ state)[0])
        state = write[k][None, :].T @ unit[k][None, :] + a_r.T @ state
    return np.stack([*reads, state.sum(0)])


@pytest.mark.parametrize(("depth", "n"), [(1, 1), (1, 3), (3, 2), (4, 4), (5, 3)])
def test_the_published_recursion_at_random_weights(depth, n):
    topology = families.hyper(depth, streams=n)
    rng = np.random.default_rng(n)
    width = {k: rng.standard_normal((n + 1, n)) for k in range(1, depth + 1)}
    write = {k: rng.standard_normal(n) for k in range(1, depth + 1)}
    values = {}
    for k in range(1, depth + 1):
        values[f"width{k}"] = tuple(map(tuple, width[k].tolist()))
        values[f"depth{k}"] = tuple((b, *row) for b, row in zip(write[k].tolist(), np.eye(n).tolist(), strict=True))
    rows = connection_rows(topology, values)
    got = np.array([[float(row.get(j, 0)) for j in range(depth + 1)] for row in rows])
    np.testing.assert_allclose(got, _published(depth, n, width, write), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("depth", "n"), [(1, 1), (3, 2), (2, 4), (6, 4)])
def test_count_of_weights(depth, n):
    assert sum(wiring_sizes(lower(families.hyper(depth, streams=n))).values()) == depth * n * (n + 2)


@pytest.mark.parametrize(("depth", "n"), [(1, 1), (3, 2), (5, 4), (2, 4)])
def test_it_starts_as_the_residual_network_and_n_times_at_the_end(depth, n):
    expected = np.tri(depth + 1)
    expected[-1] *= n
    assert families.hyper(depth, streams=n).matrix().tolist() == expected.tolist()


def test_initial_values():
    rules = {p.name: p for mix in families.hyper(4, streams=3).mixes for p in parameters(mix.weight)}
    for k, read in ((1, (1, 0, 0)), (2, (0, 1, 0)), (3, (0, 0, 1)), (4, (1, 0, 0))):
        assert rules[f"width{k}"].initial == (read, (1, 0, 0), (0, 1, 0), (0, 0, 1))
        assert rules[f"width{k}"].learned is None
        assert rules[f"depth{k}"].initial == ((1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 0, 1))
        assert rules[f"depth{k}"].learned == ((True, False, False, False),) * 3
    assert families.hyper(4).settings == (("streams", 4),)


@pytest.mark.parametrize("streams", [0, -1, True, 2.0, "4"])
def test_bad_streams(streams):
    with pytest.raises(TopologyError, match="streams is"):
        families.hyper(3, streams=streams)


@pytest.mark.parametrize("depth", [0, True])
def test_bad_depth(depth):
    with pytest.raises(TopologyError, match="depth is"):
        families.hyper(depth)
