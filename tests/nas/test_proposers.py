from nas.open_door import OpenDoor
from nas.proposers import proposers_of


def test_without_a_word_in_the_file_there_are_none(make, tmp_path):
    assert proposers_of(make(), tmp_path) == ()


def test_an_open_door_is_one(make, tmp_path):
    (door,) = proposers_of(make(search={"open": {}}), tmp_path)
    assert isinstance(door, OpenDoor)
    assert (door.share, door.wait) == (0.5, 0.0)
