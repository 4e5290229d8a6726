import pytest

from graphs import CompileError, TopologyError, UserError


@pytest.mark.parametrize("kind", [TopologyError, CompileError])
def test_one_family_of_user_errors(kind):
    assert issubclass(kind, UserError)
    assert issubclass(UserError, ValueError)
