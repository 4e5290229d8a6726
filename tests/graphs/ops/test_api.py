import pytest
import torch

import graphs
from graphs import CompileError
from graphs.ops import ENGINES, mix
from graphs.ops.api import check_engine
from graphs.weights import CHANNEL, MATRIX, Grain

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
        ([X, X], torch.ones(1, 2, dtype=torch.complex64), "the weight has dtype torch.complex64; real numbers were"),
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


@pytest.mark.parametrize(
    ("weight", "grain", "says"),
    [
        (torch.ones(1, 2), CHANNEL, r"2 columns and entries of shape \(4,\); got \(1, 2\)"),
        (torch.ones(1, 2, 3), CHANNEL, r"entries of shape \(4,\); got \(1, 2, 3\)"),
        (torch.ones(2, 1, 4), CHANNEL, r"2 sources need a weight with 2 columns and entries .* got \(2, 1, 4\)"),
        (torch.ones(1, 2, 4), MATRIX, r"entries of shape \(4, 4\); got \(1, 2, 4\)"),
        (torch.ones(1, 2, 4, 3), MATRIX, r"entries of shape \(4, 4\); got \(1, 2, 4, 3\)"),
        (torch.ones(1, 3, 4, 4), MATRIX, r"2 sources need .* got \(1, 3, 4, 4\)"),
        (torch.ones(1, 2, 4), Grain(2), r"entries of shape \(2,\); got \(1, 2, 4\)"),
        (torch.ones(1, 2, 4, 4), Grain(2, True), r"entries of shape \(2, 2\); got \(1, 2, 4, 4\)"),
        (torch.ones(1, 2, 3), Grain(3), r"sources of shape \(3, 4\): 4 channels cannot be cut into 3 equal parts"),
        (torch.ones(1, 2, 8, 8), Grain(8, True), r"4 channels cannot be cut into 8 equal parts"),
        (torch.ones(5, 1, 2, 4), CHANNEL, r"the leading shape \(3,\) of its sources; got \(5,\)"),
        (torch.ones(3, 3, 1, 2, 4), CHANNEL, r"the leading shape \(3,\) of its sources; got \(3, 3\)"),
        (torch.ones(1, 1, 2, 4, 4), MATRIX, r"the leading shape \(3,\) of its sources; got \(1,\)"),
        (torch.ones(4), CHANNEL, r"got \(4,\)"),
        (torch.tensor(1.0), MATRIX, r"got \(\)"),
    ],
)
def test_errors_of_finer_weights_say_what_was_wrong(weight, grain, says):
    with pytest.raises(CompileError, match=says):
        mix([X, X], weight, grain=grain)


@pytest.mark.parametrize("grain", [CHANNEL, MATRIX, Grain(2), Grain(2, True)], ids=str)
def test_a_number_has_no_channels(grain):
    number = torch.tensor(2.0)
    with pytest.raises(CompileError, match=r"sources of shape \(\) have no channels, which a .* weight looks at"):
        mix([number], torch.ones(1, 1, 1), grain=grain)
    assert [out.item() for out in mix([number, number], torch.tensor([[1.0, 0.5]]))] == [3.0], "numbers can be mixed"


@pytest.mark.parametrize("grain", [CHANNEL, MATRIX, Grain(2), Grain(2, True)], ids=str)
def test_fixed_numbers_are_for_all_channels_whatever_the_grain(grain):
    (out,) = mix([X, 2 * X], ((1, 3),), grain=grain)
    assert out.unique().tolist() == [7.0]


def test_finer_weights_by_hand():
    a, b = torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([[10.0, 20.0, 30.0, 40.0]])
    gains = torch.tensor([[[1.0, 0.0, 2.0, -1.0], [0.0, 1.0, 0.5, 0.0]]])
    assert mix([a, b], gains, grain=CHANNEL)[0].tolist() == [[1, 20, 21, -4]]
    halves = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    assert mix([a, b], halves, grain=Grain(2))[0].tolist() == [[1, 2, 30, 40]]
    crossed = torch.tensor([[0.0, 1.0], [2.0, 0.0]])[None, None]  # destination first: half 0 reads half 1
    assert mix([a], crossed, grain=Grain(2, True))[0].tolist() == [[3, 4, 2, 4]]
    matrix = torch.tensor([[1.0, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 2]])[None, None]
    assert mix([a], matrix, grain=MATRIX)[0].tolist() == [[10, 0, 1, 8]]


def test_a_gain_that_does_not_fit():
    with pytest.raises(CompileError, match=r"the norm's gain has shape \(3,\); the sources have \(4,\) channels"):
        mix([X], ((1,),), norm=torch.ones(3))
    (out,) = mix([X, X], ((1, 1),), norm=torch.full((4,), 3.0))
    torch.testing.assert_close(out, torch.full((3, 4), 3.0))


def test_engines_are_named():
    assert list(ENGINES) == ["reference", "fused"]
    assert [check_engine(name) for name in ENGINES] == list(ENGINES)
    for call in (lambda: check_engine("triton"), lambda: mix([X], ((1,),), impl="triton")):
        with pytest.raises(CompileError, match="impl='triton' is not in this version; it has 'reference', 'fused'"):
            call()
    with pytest.raises(TypeError):
        ENGINES["fused"] = ENGINES["reference"]
