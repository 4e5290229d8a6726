import pickle

from trainers.errors import Diverged, unknown


def test_unknown_names_the_valid_ones_and_the_nearest() -> None:
    message = str(unknown("fruit", "aple", ["pear", "apple"]))
    assert message == "unknown fruit 'aple': choose from apple, pear; did you mean 'apple'?"


def test_unknown_makes_no_wild_guess() -> None:
    assert "did you mean" not in str(unknown("fruit", "zzz", ["pear", "apple"]))


def test_diverged_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(Diverged(7, float("inf"))))
    assert (error.step, error.value) == (7, float("inf"))
    assert str(error) == "training diverged at step 7: a loss or a gradient norm is inf"
