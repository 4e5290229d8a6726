import pytest

from graphs.errors import UserError


@pytest.mark.parametrize(
    ("open_", "message"), [({"share": 0}, "share"), ({"share": 1.5}, "share"), ({"wait": -1}, "wait")]
)
def test_the_door_has_bounds(make, open_, message):
    with pytest.raises(UserError, match=rf"search\.open\.{message}: .* out of range"):
        make(search={"open": open_})
