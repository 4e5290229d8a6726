from nas.open_door import OpenDoor
from nas.proposers import proposers_of


def test_without_a_word_in_the_file_there_are_none(make, tmp_path):
    assert proposers_of(make(), tmp_path, tuple) == ()


def test_an_open_door_is_one(make, tmp_path):
    (door,) = proposers_of(make(search={"open": {}}), tmp_path, tuple)
    assert isinstance(door, OpenDoor)
    assert (door.share, door.wait) == (0.5, 0.0)


def test_their_order(make, tmp_path):
    experiment = make(search={"open": {}, "gates": {}, "warm_start": ["x"], "rerun": 1})
    found = proposers_of(experiment, tmp_path, tuple)
    assert [type(one).__name__ for one in found] == ["Rerun", "GateReader", "OpenDoor"]
