"""What every executor does, here and in the processes of this machine. Through Ray Client: test_ray_client.py."""

import pytest
from conformance import AnyExecutor, does_what_serial_does, making

from nas.evaluate import evaluate
from nas.executors.serial import SerialExecutor


@pytest.fixture(params=["serial", pytest.param("ray", marks=pytest.mark.slow)])
def executor(request):
    kind = SerialExecutor if request.param == "serial" else request.getfixturevalue("on_ray")
    with making(kind) as build:
        yield build


class TestAnyExecutor(AnyExecutor):
    pass


@pytest.mark.slow
def test_one_trial_at_a_time_ray_does_what_serial_does(on_ray, make, tmp_path, rows):
    does_what_serial_does(on_ray(evaluate, most=1, folder=tmp_path), make, tmp_path, rows)
