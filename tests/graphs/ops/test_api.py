import pytest
import torch

import graphs
from graphs import CompileError
from graphs.ops import ENGINES, mix
from graphs.ops.api import check_engine

X = torch.ones(3, 4)


def test_the_operator_by_hand():
    out = mix([X, 2 * X], ((1, 1), (0, 3)))
    assert [o.unique().tolist() for o in out] == [[3.0], [6.0]]
    assert graphs.mix is mix
    (out,) = mix((X, 2 * X), torch.tensor([[1.0, 0.5]]), impl="reference")
    assert out.unique().tolist() == [2.0]


@pytest.mark.parametrize(
    ("sources", "weight", "says"),
    [
        ([], torch.ones(1, 0), "at least one source; the list is empty"),
        ([X, torch.ones(3, 5)], torch.ones(1, 2), r"source 1 has shape \(3, 5\), source 0 has \(3, 4\)"),
        ([X, torch.ones(4)], torch.ones(1, 2), r"source 1 has shape \(4,\)"),
        ([X, X.long()], torch.ones(1, 2), "source 1 has dtype torch.int64; floating point was expected"),
        ([X.bool()], torch.ones(1, 1), "source 0 has dtype torch.bool"),
        ([X.to(torch.complex64)], torch.ones(1, 1), "source 0 has dtype torch.complex64"),
        ([X, X], torch.ones(1, 3), r"2 sources need a weight with 2 columns; got \(1, 3\)"),
        ([X, X], torch.ones(2), r"2 columns; got \(2,\)"),
        ([X, X], torch.tensor(1.0), r"2 columns; got \(\)"),
        ([X, X], ((1,), (1,)), "2 columns; got 2 rows"),
        ([X, X], ((1, 1), (1,)), "2 columns; got 2 rows"),
        ([X, X], (), "2 columns; got 0 rows"),
        ([X, X], torch.ones(4, 1, 2), r"the leading shape \(3,\) of its sources; got \(4,\)"),
        ([X, X], torch.ones(1, 1, 2), r"got \(1,\)"),
        ([X, X], torch.ones(3, 4, 1, 2), r"got \(3, 4\)"),
    ],
)
def test_errors_say_what_was_wrong(sources, weight, says):
    with pytest.raises(CompileError, match=says):
        mix(sources, weight)


def test_engines_are_named():
    assert check_engine("reference") == "reference"
    assert list(ENGINES) == ["reference"]
    for call in (lambda: check_engine("fused"), lambda: mix([X], ((1,),), impl="fused")):
        with pytest.raises(CompileError, match="impl='fused' is not in this version; it has 'reference'"):
            call()
    with pytest.raises(TypeError):
        ENGINES["fused"] = ENGINES["reference"]
