import pytest

from graphs.errors import UserError
from nas.executors.choice import Place, opened
from nas.executors.serial import SerialExecutor


def test_the_same_place_is_asked_for_when_a_run_is_continued():
    assert Place().options == []
    assert Place("ray").options == ["--executor", "ray"]
    assert Place(address="10.0.0.1:6379").options == ["--ray-address", "10.0.0.1:6379"]


@pytest.mark.parametrize(("executor", "address"), [("dask", None), ("", None), ("serial", "auto")])
def test_what_there_is_not_is_refused(executor, address):
    with pytest.raises(UserError, match="--executor"):
        Place(executor, address)


@pytest.mark.parametrize("name", [None, "serial"])
def test_without_an_address_trials_run_here(make, tmp_path, name):
    with opened(Place(name), make(), tmp_path, print) as executor:
        assert isinstance(executor, SerialExecutor)


def test_an_address_alone_means_ray(make, tmp_path):
    pytest.importorskip("ray")
    with (
        pytest.raises(UserError, match="nothing answers there"),
        opened(Place(address="127.0.0.1:1"), make(), tmp_path, print),
    ):
        pass
