import numpy as np
import pytest

from graphs import TopologyError, families


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_everyone_reads_the_sum_of_all_before(depth):
    topology = families.residual(depth)
    assert topology.matrix().tolist() == np.tri(depth + 1).tolist()
    assert (topology.family, topology.settings, topology.depth) == ("residual", (), depth)
    assert len(topology.mixes) == depth


@pytest.mark.parametrize("depth", [0, -1, True, 2.0, "2", None])
def test_bad_depth(depth):
    with pytest.raises(TopologyError, match=f"depth is {depth!r}"):
        families.residual(depth)
