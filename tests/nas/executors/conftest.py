"""Ray on this machine for tests, and executors on it whose trainers are made up in tests."""

import contextlib
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # for odd_trials and conformance
pytest.register_assert_rewrite("conformance")


@pytest.fixture(scope="module")
def cores():
    """Ray on two cores, for the tests of a module. The path of its folder must be short: sockets are in it."""
    import ray

    folder = tempfile.mkdtemp(prefix="wl-")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=folder)
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def with_ray(trainer, **options):
    """An executor on the Ray of this process, for a trainer that no worker could import."""
    from ray import cloudpickle

    from nas.executors.ray import RayExecutor

    whole = getattr(trainer, "func", trainer)  # of a partial
    module = getattr(whole, "__module__", type(whole).__module__)
    if not module.startswith("nas."):
        cloudpickle.register_pickle_by_value(sys.modules[module])
    return RayExecutor(trainer, **options)


@pytest.fixture
def on_ray(cores):
    """Makes such executors and lets go of them."""
    with contextlib.ExitStack() as stack:
        yield lambda trainer, **options: stack.enter_context(with_ray(trainer, **options))
