import numpy as np
import pytest

from graphs import TopologyError, families


@pytest.mark.parametrize("depth", [1, 2, 6])
def test_a_chain_with_every_output_in_the_sum(depth):
    expected = np.eye(depth + 1)
    expected[-1] = 1
    assert families.to_output(depth).matrix().tolist() == expected.tolist()
    assert families.to_output(depth).settings == (("period", 1),)


def test_with_a_period_only_the_end_of_a_published_block_is_connected():
    matrix = families.to_output(5, period=2).matrix()
    assert matrix[:-1].tolist() == np.eye(6)[:-1].tolist()
    assert matrix[-1].tolist() == [1, 0, 1, 0, 1, 1]
    assert families.to_output(2, period=9).matrix()[-1].tolist() == [1, 0, 1]


@pytest.mark.parametrize("bad", [{"depth": 0}, {"depth": True}, {"depth": 3, "period": 0}, {"depth": 3, "period": 1.5}])
def test_bad_arguments(bad):
    with pytest.raises(TopologyError, match=r"depth is|period is"):
        families.to_output(**bad)
